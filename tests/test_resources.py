"""Resources as people write them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.resources import as_option, check_resources, parse_resources


@pytest.mark.parametrize(
    ("text", "resources"),
    [
        ("", {}),
        (" GPU=2 ", {"GPU": 2.0}),
        ("GPU=1 MEM=16e9", {"GPU": 1.0, "MEM": 16e9}),
        ("GPU=1,MEM=16e9", {"GPU": 1.0, "MEM": 16e9}),
        ("GPU=1, MEM=0.5,", {"GPU": 1.0, "MEM": 0.5}),
        ("GPU=0 MEM=1", {"MEM": 1.0}),
    ],
)
def test_what_a_command_says(text: str, resources: dict[str, float]) -> None:
    assert parse_resources(text) == resources


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("GPU", "'GPU' is not a resource: write NAME=NUMBER"),
        ("GPU=", "write NAME=NUMBER"),
        ("GPU=one", "write NAME=NUMBER"),
        ("GPU=1=2", "write NAME=NUMBER"),
        ("GPU = 1", "write NAME=NUMBER"),
        ("MEM=16GB", "write NAME=NUMBER"),
        ("=1", "'' is not a name"),
        ("GPU=-1", "positive number"),
        ("GPU=nan", "positive number"),
        ("GPU=inf", "positive number"),
        ("GPU=1 GPU=2", "the resource GPU is there twice"),
    ],
)
def test_what_a_command_cannot_say(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_resources(text)


def test_numbers_of_all_kinds() -> None:
    checked = check_resources({"a": 1, "b": 0.5, "c": np.int64(2), "d": np.float32(0.5)})
    assert checked == {"a": 1.0, "b": 0.5, "c": 2.0, "d": 0.5}
    assert {type(amount) for amount in checked.values()} == {float}


@pytest.mark.parametrize("name", ["", "my GPU", "a,b", "a=b", "a\n"])
def test_names_that_no_command_could_say(name: str) -> None:
    with pytest.raises(ValueError, match="not a name for a resource"):
        check_resources({name: 1})


@pytest.mark.parametrize("wrong", ["GPU=1", 1, ["GPU"], {1: 1}, {"GPU": "1"}, {"GPU": True}])
def test_what_is_not_a_dict_of_numbers(wrong: object) -> None:
    with pytest.raises(TypeError, match="resources are"):
        check_resources(wrong)


@given(st.dictionaries(st.from_regex(r"[^\s,=]+", fullmatch=True), st.floats(1e-300, 1e300)))
def test_what_is_written_for_a_command_is_read_the_same(resources: dict[str, float]) -> None:
    assert parse_resources(as_option(resources)) == resources
