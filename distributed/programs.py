"""Several nodes of a dask graph as one call.

Dask's own optimizations, and ours, put nodes into each other: a chunk is made, indexed and summed in one
task. `Compiler` turns such nodes into a `Program`, a straight line of calls, and its operands: the data and
the inputs that it is called with. Tasks of the same shape (as those of all chunks of an array) have one
program, so it is pickled, sent and unpickled once, like any other function.
"""

from __future__ import annotations

import marshal
import types
from collections.abc import Callable, Iterable, Iterator
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

from distributed.coroutines import AWAITED
from distributed.function_state import Composed
from distributed.iterators import fresh, repeatable
from distributed.keys import PLAIN
from distributed.packing import Handle, binds_futures
from distributed.recipes import Function, function_of, unbind
from distributed.serialize import pickle_function
from distributed.tasks import completed


class Nested(NamedTuple):
    """A container of parts; those of a dict are keys and values in turn."""

    kind: type
    parts: tuple[Part, ...]


class Constant:
    """A function that is an argument: it belongs to the program, so that it is not sent with each task."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    # By identity: there are functions and types that cannot be compared.

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


# Where the value of an argument comes from: an operand by its number, the result of a step by the
# complement (~) of its number, or one of the two classes above.
Part: TypeAlias = "int | Nested | Constant"


class Step(NamedTuple):
    """One call. `dead` are the results that no later step uses; its own is used `again` if it is used
    more than once."""

    func: Callable[..., Any]
    args: tuple[Part, ...]
    kwargs: tuple[tuple[str, Part], ...]
    dead: tuple[int, ...]
    again: bool = False


class Program(Composed):
    """Call it with the operands."""

    __slots__ = ("result", "steps")

    def __init__(self, steps: tuple[Step, ...], result: Part) -> None:
        self.steps = steps
        self.result = result

    def __call__(self, *operands: Any) -> Any:
        results: list[Any] = []
        for func, args, kwargs, dead, again in self.steps:
            given = [_value(part, operands, results) for part in args]
            named = {name: _value(part, operands, results) for name, part in kwargs}
            value = func(*given, **named)
            if type(value) in AWAITED:
                value = completed(value)
            results.append(repeatable(value) if again else value)
            del given, named, value  # or they would keep what dies here alive
            for number in dead:
                results[number] = None
        return _value(self.result, operands, results)

    def held(self) -> Iterator[Any]:
        for step in self.steps:
            yield step.func
            yield from _held((*step.args, *[part for _, part in step.kwargs]))
        yield from _held((self.result,))

    def __reduce__(self) -> tuple[Any, ...]:
        return Program, (self.steps, self.result)


def _held(parts: Iterable[Part]) -> Iterator[Any]:
    for part in parts:
        if type(part) is Constant:
            yield part.value
        elif type(part) is Nested:
            yield part.kind
            yield from _held(part.parts)


def _value(part: Part, operands: tuple[Any, ...], results: list[Any]) -> Any:
    if type(part) is int:
        return operands[part] if part >= 0 else fresh(results[~part])
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


def references(node: GraphNode) -> list[Any]:
    """The names that a node refers to, without those of the futures that it holds. A future's name may
    be that of another node, or of the node itself."""
    found = []
    stack = [node]
    while stack:
        value = stack.pop()
        if type(value) is TaskRef:
            found.append(value.key)
        elif isinstance(value, TaskRef):
            if not isinstance(value, Handle):
                found.append(value.key)
        elif isinstance(value, Task):
            stack += value.args
            stack += value.kwargs.values()
        elif isinstance(value, Alias):
            found.append(value.target)
    return found


class Compiler:
    """Compiles nodes, one `add` after the other, to steps and operands.

    A `scope` says which part stands for a name that a node refers to.
    """

    def __init__(self) -> None:
        self.operands: list[Any] = []
        self.simple = True  # as far as its arguments go, it can be sent as a call
        self.steps: list[tuple[Callable[..., Any], tuple[Part, ...], tuple[Any, ...]]] = []

    def operand(self, value: Any) -> int:
        """A value that the program will be called with."""
        self.operands.append(value)
        return len(self.operands) - 1

    def add(self, node: GraphNode, scope: Scope) -> Part:
        """Compile a node; the part that stands for its value."""
        if not isinstance(node, Task):
            return self._add_other(node, scope)
        if isinstance(node, NestedContainer):
            return self._nested(node.klass, self._arguments(node.args, scope))
        if node.func is _identity_cast:
            return self._nested(node.kwargs["typ"], self._arguments(node.args, scope))
        if node.func is _execute_subgraph:
            return self._subgraph(*node.args, scope=scope)
        func, given, named = unbind(node.func, node.args, node.kwargs)
        args = self._arguments(given, scope)
        kwargs = ()
        if named:
            values = self._arguments(named.values(), scope)
            kwargs = tuple(zip(named, values, strict=True))
        self.steps.append((func, args, kwargs))
        return ~(len(self.steps) - 1)

    def _add_other(self, node: GraphNode, scope: Scope) -> Part:
        if isinstance(node, Alias):
            return scope(node.target)
        if isinstance(node, DataNode):
            return self._argument(node.value, scope)
        raise TypeError(f"{node!r:.100} is not a task that can be sent to a worker")

    def _nested(self, kind: type, parts: tuple[Part, ...]) -> Nested:
        if kind is dict:
            # The worker puts data in place of values, not of keys.
            keys = (self.operands[part] for part in parts[::2] if type(part) is int and part >= 0)
            self.simple &= not any(isinstance(key, Handle) for key in keys)
        elif kind not in (list, tuple, set, frozenset):
            self.simple = False  # who knows what it does with futures in place of data
        return Nested(kind, parts)

    def _arguments(self, args: Iterable[Any], scope: Scope) -> tuple[Part, ...]:
        # Not in functions of its own: nested tasks can be half as deep as Python's stack, as for dask.
        parts: list[Part] = []
        for arg in args:
            if type(arg) is TaskRef:
                parts.append(scope(arg.key))
            elif isinstance(arg, GraphNode):
                parts.append(self.add(arg, scope))
            else:
                parts.append(self._argument(arg, scope))
        return tuple(parts)

    def _argument(self, arg: Any, scope: Scope) -> Part:
        if type(arg) in PLAIN or isinstance(arg, Handle):
            return self.operand(arg)  # a future may have the name of another task
        if isinstance(arg, TaskRef):
            return scope(arg.key)
        if isinstance(arg, _FUNCTIONS) and not binds_futures(arg):
            self.simple = False
            return Constant(arg)
        return self.operand(arg)

    def _subgraph(
        self, inner: dict[Any, GraphNode], outkey: Any, inkeys: Any, *inputs: Any, scope: Scope
    ) -> Part:
        """Nodes that dask has fused: they see each other and the inputs, and nothing else."""
        local = dict(zip(inkeys, self._arguments(inputs, scope), strict=True))
        for key in _needed_first(inner, local):
            if key not in local:
                local[key] = self.add(inner[key], local.__getitem__)
        return local[outkey]

    def single_call(self, result: Part) -> tuple[Any, tuple[Any, ...], dict[str, Any]] | None:
        """If it comes down to one call, with arguments that `packing.py` can pack: its function and
        arguments. None if it does not."""
        if result != -1 or len(self.steps) != 1 or not self.simple:
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
        uses: list[list[int]] = [[] for _ in self.steps]  # where each result is used
        for number, (_, args, kwargs) in enumerate(self.steps):
            for used in _results_in((*args, *(part for _, part in kwargs))):
                uses[used].append(number)
        for used in _results_in((result,)):
            uses[used].append(len(self.steps))
        dead: list[list[int]] = [[] for _ in self.steps]
        for used, places in enumerate(uses):
            if places and places[-1] < len(self.steps):
                dead[places[-1]].append(used)
        steps = [
            Step(*step, tuple(ends), len(places) > 1)
            for step, ends, places in zip(self.steps, dead, uses, strict=True)
        ]
        program = Program(tuple(steps), result)
        described = [_describe((Constant(step[0]), *step[1:])) for step in self.steps]
        encoded = marshal.dumps((described, _describe(result)), 0)
        digest = blake2b(encoded, digest_size=16).hexdigest()
        return Function(digest, "program", pickle_function(program))


def _needed_first(nodes: dict[Any, GraphNode], known: Iterable[Any]) -> Iterable[Any]:
    # As a rule dask has them in this order, or in the opposite one.
    for keys in (list(nodes), list(reversed(nodes))):
        if _is_sorted(keys, nodes, set(known)):
            return keys
    needs = {key: references(node) for key, node in nodes.items()}
    return TopologicalSorter(needs).static_order()


def _is_sorted(keys: list[Any], nodes: dict[Any, GraphNode], known: set[Any]) -> bool:
    """Whether what each needs comes before it, or is known."""
    for key in keys:
        if not known.issuperset(nodes[key].dependencies):
            return False
        known.add(key)
    return True


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
        return function_of(part.kind).id, _describe(part.parts)
    return tuple(map(_describe, part)) if type(part) is tuple else part
