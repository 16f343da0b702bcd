"""Keys on the wire."""

from __future__ import annotations

import enum
from collections import namedtuple
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.keys import shown_key, shown_text, wire_key
from distributed.recipes import call_key, function_of

Point = namedtuple("Point", "x y")


class Number(enum.IntEnum):
    ONE = 1


KEYS = st.recursive(
    st.text(st.characters(categories=None))
    | st.text("\x1f\ud800a")
    | st.integers()
    | st.floats(allow_nan=False)
    | st.binary(),
    lambda k: st.tuples(k, k),
    max_leaves=5,
)


@given(KEYS)
def test_users_get_their_keys_back(key: Any) -> None:
    wire = wire_key(key, "0" * 32)
    assert msgpack.unpackb(msgpack.packb(wire)) == wire
    shown = shown_key(wire)
    assert shown == key
    assert type(shown) is type(key)


@given(KEYS, KEYS)
def test_different_keys_stay_different(one: Any, other: Any) -> None:
    assert (wire_key(one, "0") == wire_key(other, "0")) is (repr(one) == repr(other))


def test_a_key_of_a_pure_call_is_shown_as_it_is() -> None:
    key = call_key(function_of(len), ([],), {})
    assert shown_key(key) == key


def test_a_key_with_other_work_is_another_key() -> None:
    assert wire_key("x", "1" * 32) != wire_key("x", "2" * 32)
    with pytest.raises(TypeError, match="a key is a string"):
        wire_key(["x"], "")


class Text(str):
    def __str__(self) -> str:
        return "not this"


@pytest.mark.parametrize(
    "key, plain",
    [
        (("x", np.int64(3)), ("x", 3)),
        (np.int32(3), 3),
        (np.float64(0.5), 0.5),
        (np.str_("x"), "x"),
        (Text("x"), "x"),
        ((Text("x"), (np.int8(1), 2)), ("x", (1, 2))),
        (Point("x", 0), ("x", 0)),
        (Number.ONE, 1),
    ],
)
def test_keys_of_other_types_are_the_plain_ones_that_they_are_equal_to(
    key: Any, plain: Any
) -> None:
    shown = shown_key(wire_key(key, "0" * 32))
    assert repr(shown) == repr(plain)
    assert wire_key(key, "0" * 32) == wire_key(plain, "0" * 32)
    assert {key: 1}[shown] == 1


@pytest.mark.parametrize("key", [["x"], {"x"}, object(), ("x", [1]), len, np.zeros(2)])
def test_what_is_no_key_is_refused(key: Any) -> None:
    with pytest.raises(TypeError, match="a key is a string"):
        wire_key(key, "")


@given(KEYS, KEYS)
def test_texts_show_keys_as_the_user_knows_them(one: Any, other: Any) -> None:
    def shown(key: Any) -> str:
        return key if wire_key(key, "").startswith(f"{key}\x1f") else repr(key)

    text = f"the input {wire_key(one, '0' * 32)} of {wire_key(other, 'f' * 32)} is lost"
    if "\x1f" not in f"{shown(one)}{shown(other)}":
        assert shown_text(text) == f"the input {shown(one)} of {shown(other)} is lost"


def test_texts_without_keys_stay() -> None:
    for text in ("", "x", "\x1f", "\x1fxyz\x1f", f"f-{'0' * 32}"):
        assert shown_text(text) == text
