"""What callers write."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distributed.arguments import option_finder, task_options

GIVEN: dict[str, Any] = {"workers": None, "allow_other_workers": False, "retries": 0, "priority": 0}


def options(key: Any, annotations: Any = None, everywhere: Any = None, **given: Any) -> Any:
    return option_finder({**GIVEN, **given}, annotations or {}, everywhere or {})(key)


def test_without_any_there_are_none() -> None:
    assert options("x") is None


def test_options_of_the_call_are_for_all_tasks() -> None:
    assert options("x", workers="alice", retries=2) == {"workers": ("alice",), "retries": 2}


def test_annotations_are_for_their_keys() -> None:
    annotations = {"retries": {"x": 3}, "priority": {("y", 0): 5}}
    assert options("x", annotations) == {"retries": 3}
    assert options(("y", 0), annotations) == {"priority": 5}
    assert options("z", annotations) is None


def test_the_nearest_wins() -> None:
    annotations = {"priority": {"x": 3}}
    assert options("x", annotations, {"priority": 2}, priority=1) == {"priority": 3}
    assert options("y", annotations, {"priority": 2}, priority=1) == {"priority": 1}
    assert options("y", annotations, {"priority": 2}) == {"priority": 2}


def test_an_annotation_can_take_an_option_away() -> None:
    annotations = {"priority": {"x": 0}, "workers": {"x": None}}
    assert options("x", annotations, priority=1, workers="alice") is None


def test_functions_stand_for_values() -> None:
    everywhere = {"priority": lambda key: key[1], "retries": 1}
    assert options(("x", 7), None, everywhere) == {"priority": 7, "retries": 1}
    assert options(("x", 0), None, everywhere) == {"retries": 1}


def test_annotations_for_others_are_left_alone() -> None:
    annotations = {"resources": {"x": {"GPU": 1}}, "span": {"x": "a"}}
    assert options("x", annotations, {"note": "text"}) is None


def test_tasks_with_equal_options_share_them_if_all_do() -> None:
    find = option_finder({**GIVEN, "retries": 1}, {}, {"priority": 2})
    assert find("x") is find("y")


def test_workers_of_an_annotation_may_be_a_list() -> None:
    annotations = {"workers": {"x": ["a", "b"]}, "allow_other_workers": {"x": True}}
    assert options("x", annotations) == {"workers": ("a", "b"), "loose": True}


def test_mistakes_are_named() -> None:
    with pytest.raises(TypeError, match="workers are names or addresses"):
        options("x", {"workers": {"x": [1]}})
    with pytest.raises(ValueError, match="allow_other_workers goes with workers"):
        options("x", {"allow_other_workers": {"x": True}})


def test_numbers_of_any_kind_and_nothing_that_cannot_be_sent() -> None:
    assert task_options(None, False, np.int64(2), np.float32(1.5)) == {
        "retries": 2,
        "priority": 1.5,
    }
    assert task_options(None, False, 0, 0, None, np.float32(1.5)) == {"time_limit": 1.5}
    for options in (
        (None, False, 2.0, 0),
        (None, False, 0, "high"),
        (None, False, -1, 0),
        (None, False, 0, float("nan")),
        (None, False, 0, 0, {"\ud800": 1}),
        (None, False, 0, 0, None, 0),
        (None, False, 0, 0, None, float("inf")),
        (None, False, 0, 0, None, "1 parsec"),
        ("\ud800", False, 0, 0),
    ):
        with pytest.raises((TypeError, ValueError)):
            task_options(*options)


def test_other_workers_that_are_allowed_to_all_mean_those_that_have_a_restriction() -> None:
    annotations = {"workers": {"x": "a"}}
    find = option_finder({**GIVEN, "allow_other_workers": True}, annotations, {})
    assert find("x") == {"workers": ("a",), "loose": True}
    assert find("y") is None
