"""Calls that come one by one become few messages."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.core import singles as module
from distributed.core.singles import Singles


def item(key: str, order: int, *inputs: str) -> Any:
    return key, b"", inputs or None, order


def added(*calls: tuple[Any, ...]) -> Singles:
    singles = Singles()
    for order, (function, options, key, *inputs) in enumerate(calls):
        singles.add(function, options, item(key, order, *inputs))
    return singles


def test_there_are_none_at_first_and_after_they_were_taken() -> None:
    singles = added(("f", None, "a"), ("f", None, "b"))
    assert len(singles) == 2
    assert singles.take() == [[("f", None, True, [item("a", 0), item("b", 1)])]]
    assert len(singles) == 0
    assert singles.take() == []
    singles.add("f", None, item("c", 2))
    assert singles.take() == [[("f", None, True, [item("c", 2)])]]


def test_calls_of_several_functions_in_turn_take_one_group_for_each() -> None:
    singles = added(("f", None, "a"), ("g", None, "b"), ("f", None, "c"), ("g", None, "d"))
    assert singles.take() == [
        [
            ("f", None, True, [item("a", 0), item("c", 2)]),
            ("g", None, True, [item("b", 1), item("d", 3)]),
        ]
    ]


def test_what_has_inputs_stands_behind_them() -> None:
    singles = added(
        ("f", None, "a"),
        ("g", None, "b", "a"),
        ("f", None, "c", "b"),
        ("f", None, "d"),
        ("f", None, "e", "d"),
        ("g", None, "h", "e"),
    )
    (groups,) = singles.take()
    keys = [found[0] for group in groups for found in group[3]]
    for group in groups:
        for key, _, inputs, _ in group[3]:
            assert all(keys.index(name) < keys.index(key) for name in inputs or ())
    assert [group[0] for group in groups] == ["f", "g", "f", "g"]


def test_options_are_of_the_calls_they_came_with() -> None:
    options = {"retries": 1}
    singles = added(
        ("f", None, "a"), ("f", options, "b"), ("f", dict(options), "c"), ("f", None, "d")
    )
    assert singles.take() == [
        [
            ("f", None, True, [item("a", 0), item("d", 3)]),
            ("f", options, True, [item("b", 1), item("c", 2)]),
        ]
    ]


def test_so_many_become_one_message_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SINGLES", 2)
    singles = added(*(("f", None, key) for key in "abcde"))
    assert len(singles) == 5
    messages = singles.take()
    assert [[found[0] for found in groups[0][3]] for groups in messages] == [
        ["a", "b"],
        ["c", "d"],
        ["e"],
    ]
