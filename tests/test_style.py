"""Rules of this house that a machine can check."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = sorted((ROOT / "distributed" / "core").glob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# The cores decide. They have no clock, no chance, no threads, and no way to the outside: what they need
# comes in with events.
PURE = {
    "__future__",
    "collections",
    "collections.abc",
    "heapq",
    "itertools",
    "typing",
    "distributed.errors",
    "distributed.messages",
}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__", "hash", "id"}


def impurities(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "."]
        yield from (n for n in names if n not in PURE and not n.startswith("distributed.core."))
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", "")
            yield from {called} & IMPURE_CALLS


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_cores_are_pure(path: Path) -> None:
    assert list(impurities(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    ["import zmq", "import time", "from threading import Lock", "from distributed import worker",
     "print(1)", "def f():\n    import os", "import random as heapq"],
)  # fmt: skip
def test_impurities_are_found(source: str) -> None:
    assert list(impurities(source)) != []


def sleeps(source: str) -> Iterator[int]:
    """Lines that sleep. A function to be run on a worker says so in a comment on its line."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name == "sleep" and "# on a worker" not in lines[node.lineno - 1]:
                yield node.lineno


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_tests_wait_for_conditions_not_for_time(path: Path) -> None:
    assert list(sleeps(path.read_text())) == []


def test_sleeps_are_found() -> None:
    assert list(sleeps("import time\ntime.sleep(1)\nsleep(2)\nsleep(3)  # on a worker")) == [2, 3]


def test_modules_are_small() -> None:
    """A module that grows past this wants to be two."""
    long = {p.name: len(p.read_text().splitlines()) for p in (ROOT / "distributed").rglob("*.py")}
    assert {name: lines for name, lines in long.items() if lines > 650} == {}
