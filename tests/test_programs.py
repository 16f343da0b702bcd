"""Several nodes of a graph as one call."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from functools import partial
from operator import add, mul
from typing import Any

import pytest
from dask._task_spec import Alias, DataNode, Dict, GraphNode, List, Set, Task, TaskRef, Tuple

from distributed.packing import Handle, Ref
from distributed.programs import Compiler, Constant, Nested, Program, Step, references
from distributed.recipes import function_of
from distributed.unpickling import unpickle

X, Y = TaskRef("x"), TaskRef("y")


def same(x: Any) -> Any:
    return x


class Scope:
    """Gives every name an operand."""

    def __init__(self, compiler: Compiler) -> None:
        self.compiler = compiler
        self.parts: dict[Any, Any] = {}

    def __call__(self, name: Any) -> Any:
        if name not in self.parts:
            self.parts[name] = self.compiler.operand(Ref(name))
        return self.parts[name]


def compiled(node: GraphNode) -> tuple[Compiler, Any]:
    compiler = Compiler()
    return compiler, compiler.add(node, Scope(compiler))


def run(node: GraphNode, **data: Any) -> Any:
    """What a worker would make of the program."""
    compiler, result = compiled(node)
    program = unpickle(compiler.program(result).blob)
    operands = [data[v.wire] if isinstance(v, Ref) else v for v in compiler.operands]
    return program(*operands)


@pytest.mark.parametrize(
    "node, value",
    [
        (Task("z", add, X, 2), 3),
        (Task("z", add, Task(None, mul, X, Y), Task(None, mul, Y, Y)), 6),
        (Task("z", same, List(X, Tuple(Y, 3), Set(X))), [1, (2, 3), {1}]),
        (Task("z", same, Dict({"a": X, "b": [1]})), {"a": 1, "b": [1]}),
        (Task("z", dict, a=X, b=Task(None, add, Y, Y)), {"a": 1, "b": 4}),
        (Task("z", map, partial(add, 1), List(X, Y)), None),
        (List(X, Y), [1, 2]),
        (Alias("z", "x"), 1),
        (DataNode("z", "text"), "text"),
        (DataNode("z", len), len),
    ],
)
def test_programs_compute_what_their_nodes_do(node: GraphNode, value: Any) -> None:
    found = run(node, x=1, y=2)
    assert (list(found) == [2, 3]) if value is None else (found == value)


def test_what_comes_down_to_one_call_is_a_call() -> None:
    compiler, result = compiled(Task("z", add, List(X, Y), b=Tuple(1, 2)))
    func, args, kwargs = compiler.single_call(result)
    assert func is add
    assert [ref.wire for ref in args[0]] == ["x", "y"]
    assert kwargs == {"b": (1, 2)}


class Words(list):  # type: ignore[type-arg]
    pass


class Marked(List):
    klass = constructor = Words


@pytest.mark.parametrize(
    "node",
    [
        Task("z", add, Task(None, add, X, Y), 1),
        Task("z", map, len, X),
        Task("z", same, Dict([(X, 1)])),
        Task("z", same, Marked(X)),
        List(X),
        Alias("z", "x"),
    ],
)
def test_what_does_not_is_a_program(node: GraphNode) -> None:
    compiler, result = compiled(node)
    assert compiler.single_call(result) is None


def shape(node: GraphNode) -> Any:
    compiler, result = compiled(node)
    return compiler.shape(result)


def program_id(node: GraphNode) -> str:
    compiler, result = compiled(node)
    return compiler.program(result).id


def nested(first: Any, second: Any, data: Any) -> Task:
    return Task("z", first, Task(None, second, X, data), len)


def test_tasks_that_differ_in_data_have_one_program() -> None:
    assert shape(nested(add, mul, 1)) == shape(nested(add, mul, [2]))
    assert program_id(nested(add, mul, 1)) == program_id(nested(add, mul, [2]))


@pytest.mark.parametrize(
    "one, other",
    [
        (nested(add, mul, 1), nested(mul, add, 1)),
        (nested(add, mul, 1), nested(add, mul, len)),
        (Task("z", same, len), Task("z", same, max)),
        (Task("z", same, List(1, len)), Task("z", same, Tuple(1, len))),
        (Task("z", dict, a=len), Task("z", dict, b=len)),
        (Task("z", same, partial(add, 1)), Task("z", same, partial(add, 2))),
        (Task("z", same, partial(add, 1)), Task("z", same, partial(add, True))),
        (Task("z", map, len, List(X, Y)), Task("z", map, len, List(Y, List(X)))),
        (Task("z", same, List(X, X)), Task("z", same, List(X, Y))),
    ],
)
def test_other_programs_are_told_apart(one: Task, other: Task) -> None:
    assert shape(one) != shape(other)
    assert program_id(one) != program_id(other)


def test_equal_functions_may_be_in_other_places() -> None:
    """Their shapes may differ, the programs may not: the results have one key."""
    one, other = (Task("z", same, partial(add, 1), Task(None, partial(add, 2), X)) for _ in "ab")
    assert program_id(one) == program_id(other)


def test_programs_have_one_name_in_all_processes() -> None:
    script = """
from functools import partial
from operator import add
from tests.test_programs import *
print(program_id(Task("z", same, partial(add, 1), int, Task(None, mul, X, {"a", "b", "c"}))))
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(found) == 1


class Odd(type):
    def __eq__(cls, other: object) -> bool:
        raise TypeError("not comparable")

    __hash__ = None  # type: ignore[assignment]


class Loner(metaclass=Odd):
    pass


def test_functions_and_types_are_told_apart_by_identity() -> None:
    assert Constant(Loner) == Constant(Loner)
    assert Constant(Loner) != Constant(int)
    assert len({Constant(Loner), Constant(Loner), Constant(int)}) == 2


class Big:
    pass


def test_results_are_let_go_after_their_last_use() -> None:
    alive: list[Any] = []

    def make(*args: Any) -> Big:
        big = Big()
        alive.append(weakref.ref(big))
        gc.collect()
        counts.append(sum(ref() is not None for ref in alive))
        return big

    counts: list[int] = []
    steps = [Step(make, (), (), ())]
    steps += [Step(make, (~n,), (), (n,)) for n in range(9)]
    Program(tuple(steps), ~9)()
    assert max(counts) == 2


def test_references_are_names_but_not_those_of_futures() -> None:
    class Future(Handle, TaskRef):  # type: ignore[misc]
        def __init__(self) -> None:
            self.key = "f"

    node = Task("z", same, X, List(Y, Future()), Task(None, same, Alias("a", "b"), k=TaskRef("c")))
    assert sorted(references(node)) == ["b", "c", "x", "y"]
    assert "f" in node.dependencies


def test_fused_nodes_come_in_any_order() -> None:
    nodes = [
        Task("a", add, X, 1),
        Task("b", add, TaskRef("a"), 1),
        Task("c", add, TaskRef("b"), TaskRef("a")),
    ]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]):
        fused = Task.fuse(*[nodes[place] for place in order], key="z")
        assert run(fused, x=1) == 5


def test_unknown_nodes_are_refused() -> None:
    class Strange(GraphNode):  # type: ignore[misc]
        key = "z"

    with pytest.raises(TypeError, match="is not a task that can be sent"):
        compiled(Strange())


def test_nested_containers_are_built_anew_each_time() -> None:
    program = Program((Step(same, (Nested(list, (0,)),), (), ()),), ~0)
    one, other = program(1), program(1)
    assert one == other == [1]
    assert one is not other


def test_functions_that_are_arguments_belong_to_the_program() -> None:
    compiler, result = compiled(Task("z", map, len, X))
    assert len(compiler.operands) == 1
    assert function_of(len).id not in compiler.program(result).id
