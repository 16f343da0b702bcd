"""docs/guarantees.md promises nothing that no test shows, and its numbers are those of the code."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
NUMBER = re.compile(r"^\| `([\w/]+)\.py::([A-Z_]+)` \| ([\d.]+) \|", re.MULTILINE)
CONSTANT = re.compile(r"\b[A-Z]+_[A-Z_]+\b")


@cache
def names_in(path: str) -> frozenset[str]:
    file = ROOT / "tests" / path
    if not file.exists():
        return frozenset()
    nodes = ast.parse(file.read_text()).body
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef))


def unknown_tests(text: str) -> Iterator[str]:
    yield from (
        f"{path}::{name}" for path, name in TEST.findall(text) if name not in names_in(path)
    )


def wrong_numbers(text: str) -> Iterator[str]:
    for path, name, value in NUMBER.findall(text):
        module = importlib.import_module(f"distributed.{path.replace('/', '.')}")
        if getattr(module, name, None) != float(value):
            yield f"{path}.py::{name}"


def unlisted_constants(text: str) -> set[str]:
    return set(CONSTANT.findall(text)) - {name for _, name, _ in NUMBER.findall(text)}


def test_every_test_that_is_named_exists() -> None:
    assert list(unknown_tests(PAGE)) == []


def test_every_promise_names_a_test() -> None:
    """All that looks like a name is read as one, and each row of the tables with such a column has one."""
    assert PAGE.count("::test_") == len(TEST.findall(PAGE))
    proved = False
    for line in PAGE.splitlines():
        if line.startswith("| ") and line.endswith("| shown by |"):
            proved = True
        elif not line.startswith("|"):
            proved = False
        elif proved and not line.startswith("|---"):
            assert TEST.search(line.rpartition(" | ")[2]), line


def test_the_numbers_are_those_of_the_code() -> None:
    assert list(wrong_numbers(PAGE)) == []
    assert unlisted_constants(PAGE) == set()


def test_mistakes_are_found() -> None:
    text = "`core/test_audit.py::test_nothing` `nowhere.py::test_x` "
    text += "`test_local.py::test_it_fits_the_machine`"
    assert list(unknown_tests(text)) == ["core/test_audit.py::test_nothing", "nowhere.py::test_x"]
    text = "| `core/patience.py::LOCK_SECONDS` | 6 |\n| `nanny.py::GONE` | 1 |\nLATE_SECONDS"
    assert list(wrong_numbers(text)) == ["core/patience.py::LOCK_SECONDS", "nanny.py::GONE"]
    assert unlisted_constants(text) == {"LATE_SECONDS"}
