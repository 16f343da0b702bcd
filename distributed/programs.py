"""Several nodes of a dask graph as one call.

Dask's own optimizations, and ours, put nodes into each other: a chunk is made, indexed and summed in one
task. `Compiler` turns such nodes into a `Program`, a straight line of calls, and its operands: the data and
the inputs that it is called with. Tasks of the same shape (as those of all chunks of an array) have one
program, so it is pickled, sent and unpickled once, like any other function.
"""

from __future__ import annotations

import marshal
import types
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from graphlib import TopologicalSorter
from hashlib import blake2b
from typing import Any, NamedTuple, TypeAlias

from dask._task_spec import (
    Alias,
    DataNode,
    GraphNode,
    NestedContainer,
    Task,
    TaskRef,
    _execute_subgraph,
    _identity_cast,
)

from distributed.recipes import Function, Handle, function_of
from distributed.serialize import pickle_function


class Nested(NamedTuple):
    """A container of parts; those of a dict are keys and values in turn."""

    kind: type
    parts: tuple[Part, ...]


class Constant(NamedTuple):
    """A function that is an argument: it belongs to the program, so that it is not sent with each task."""

    value: Any


# Where the value of an argument comes from: an operand by its number, the result of a step by the
# complement (~) of its number, or one of the two classes above.
Part: TypeAlias = "int | Nested | Constant"


class Step(NamedTuple):
    """One call. `dead` are the results that no later step uses."""

    func: Callable[..., Any]
    args: tuple[Part, ...]
    kwargs: tuple[tuple[str, Part], ...]
    dead: tuple[int, ...]


class Program:
    """Call it with the operands."""

    __slots__ = ("result", "steps")

    def __init__(self, steps: tuple[Step, ...], result: Part) -> None:
        self.steps = steps
        self.result = result

    def __call__(self, *operands: Any) -> Any:
        results: list[Any] = []
        for func, args, kwargs, dead in self.steps:
            given = [_value(part, operands, results) for part in args]
            named = {name: _value(part, operands, results) for name, part in kwargs}
            results.append(func(*given, **named))
            del given, named  # or they would keep what dies here alive
            for number in dead:
                results[number] = None
        return _value(self.result, operands, results)

    def __reduce__(self) -> tuple[Any, ...]:
        return Program, (self.steps, self.result)


def _value(part: Part, operands: tuple[Any, ...], results: list[Any]) -> Any:
    if type(part) is int:
        return operands[part] if part >= 0 else results[~part]
    if type(part) is Nested:
        return container(part.kind, [_value(inner, operands, results) for inner in part.parts])
    assert type(part) is Constant
    return part.value


def container(kind: type, items: list[Any]) -> Any:
    """What a `Nested` stands for.

    >>> container(dict, ["a", 1, "b", 2])
    {'a': 1, 'b': 2}
    """
    if kind is dict:
        return dict(zip(items[::2], items[1::2], strict=True))
    return items if kind is list else kind(items)


# Compiling -------------------------------------------------------------------------------------

# Arguments of these types belong to the program.
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, partial, type)

Scope = Callable[[Any], Part]


class Compiler:
    """Compiles nodes, one `add` after the other, to steps and operands.

    A `scope` says which part stands for a name that a node refers to.
    """

    def __init__(self) -> None:
        self.operands: list[Any] = []
        self.constant = False  # whether any argument is a function
        self.steps: list[tuple[Callable[..., Any], tuple[Part, ...], tuple[Any, ...]]] = []

    def operand(self, value: Any) -> int:
        """A value that the program will be called with."""
        self.operands.append(value)
        return len(self.operands) - 1

    def add(self, node: GraphNode, scope: Scope) -> Part:
        """Compile a node; the part that stands for its value."""
        if isinstance(node, Alias):
            return scope(node.target)
        if isinstance(node, DataNode):
            return self._argument(node.value, scope)
        if isinstance(node, NestedContainer):
            return Nested(node.klass, self._arguments(node.args, scope))
        if not isinstance(node, Task):
            raise TypeError(f"{node!r:.100} is not a task that can be sent to a worker")
        if node.func is _identity_cast:
            return Nested(node.kwargs["typ"], self._arguments(node.args, scope))
        if node.func is _execute_subgraph:
            return self._subgraph(*node.args, scope=scope)
        args = self._arguments(node.args, scope)
        kwargs = tuple((name, self._argument(arg, scope)) for name, arg in node.kwargs.items())
        self.steps.append((node.func, args, kwargs))
        return ~(len(self.steps) - 1)

    def _arguments(self, args: Iterable[Any], scope: Scope) -> tuple[Part, ...]:
        return tuple([self._argument(arg, scope) for arg in args])

    def _argument(self, arg: Any, scope: Scope) -> Part:
        if isinstance(arg, Handle):
            return self.operand(arg)  # a future, that may have the name of another task
        if isinstance(arg, TaskRef):
            return scope(arg.key)
        if isinstance(arg, GraphNode):
            return self.add(arg, scope)
        if isinstance(arg, _FUNCTIONS):
            self.constant = True
            return Constant(arg)
        return self.operand(arg)

    def _subgraph(
        self, inner: Mapping[Any, GraphNode], outkey: Any, inkeys: Any, *inputs: Any, scope: Scope
    ) -> Part:
        """Nodes that dask has fused: they see each other and the inputs, and nothing else."""
        local = {key: self._argument(arg, scope) for key, arg in zip(inkeys, inputs, strict=True)}
        names = {key: node.dependencies for key, node in inner.items()}
        for key in TopologicalSorter(names).static_order():
            if key not in local:
                local[key] = self.add(inner[key], local.__getitem__)
        return local[outkey]

    def single_call(self, result: Part) -> tuple[Any, tuple[Any, ...], dict[str, Any]] | None:
        """If it comes down to one call, without functions among the arguments: its function and
        arguments. None if it does not."""
        if result != -1 or len(self.steps) != 1 or self.constant:
            return None
        func, args, kwargs = self.steps[0]
        operands = tuple(self.operands)
        given = tuple([_value(part, operands, []) for part in args])
        return func, given, {name: _value(part, operands, []) for name, part in kwargs}

    def shape(self, result: Part) -> Any:
        """Equal for programs that differ in their operands only, as long as their functions live."""
        return tuple((id(func), args, kwargs) for func, args, kwargs in self.steps), result

    def program(self, result: Part) -> Function:
        """The function that is to be called with the operands."""
        last_use = dict[int, int]()
        for number, (_, args, kwargs) in enumerate(self.steps):
            for used in _results_in((*args, *(part for _, part in kwargs))):
                last_use[used] = number
        for used in _results_in((result,)):
            last_use.pop(used, None)
        dead: list[list[int]] = [[] for _ in self.steps]
        for used, number in last_use.items():
            dead[number].append(used)
        steps = zip(self.steps, dead, strict=True)
        program = Program(tuple(Step(*step, tuple(ends)) for step, ends in steps), result)
        described = [_describe((Constant(step[0]), *step[1:])) for step in self.steps]
        encoded = marshal.dumps((described, _describe(result)), 0)
        digest = blake2b(encoded, digest_size=16).hexdigest()
        return Function(digest, "program", pickle_function(program))


def _results_in(parts: Iterable[Part]) -> Iterable[int]:
    """The numbers of the steps whose results occur in the parts."""
    for part in parts:
        if type(part) is int:
            if part < 0:
                yield ~part
        elif type(part) is Nested:
            yield from _results_in(part.parts)


def _describe(part: Any) -> Any:
    """The same for equal parts of programs, in any process."""
    if type(part) is Constant:
        return "function", function_of(part.value).id
    if type(part) is Nested:
        return part.kind.__name__, _describe(part.parts)
    return tuple(map(_describe, part)) if type(part) is tuple else part
