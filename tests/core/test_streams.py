"""Bulk data in parts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.codec import decode, encode
from distributed.core import streams
from distributed.core.streams import WINDOW, Incoming, Outgoing
from distributed.errors import ProtocolError
from distributed.messages import (
    Part,
)

CONTENTS = (
    st.none() | st.text(max_size=5) | st.lists(st.binary(max_size=40), min_size=1, max_size=6)
)
ITEMS = st.lists(st.tuples(st.text(max_size=3), st.integers(0, 9), CONTENTS), max_size=8)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PART_BYTES", 16)
    monkeypatch.setattr(streams, "PART_PIECES", 3)


def transfer(items: list[Any]) -> tuple[list[Any], int]:
    """Send the items through the codec; what arrives, and in how many parts."""
    outgoing, incoming = Outgoing(1, False, items), Incoming()
    arrived: list[Any] = []
    parts = 0
    while not incoming.ended:
        sent = list(outgoing.parts())
        assert len(sent) <= WINDOW
        for part, pieces in sent:
            parts += 1
            assert sum(piece.nbytes for piece in pieces) <= 16
            (received,) = decode(encode([part]))
            arrived += incoming.feed(received, [bytes(piece) for piece in pieces])
            outgoing.acknowledge()
    assert outgoing.taken
    return arrived, parts


@given(ITEMS)
def test_what_is_sent_arrives(items: list[Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "PART_BYTES", 16)
        arrived, _ = transfer(items)
    shown = [
        (k, a, [bytes(frame) for frame in c] if isinstance(c, list) else c) for k, a, c in arrived
    ]
    assert sorted(shown, key=repr) == sorted(items, key=repr)


def test_what_is_in_the_layout_does_not_wait_for_what_is_not() -> None:
    incoming = Incoming()
    layout = [("a", 0, [2]), ("b", 1, b"b"), ("c", 2, None), ("d", 3, "why"), ("e", 4, [1])]
    here = [("b", 1, [b"b"]), ("c", 2, None), ("d", 3, "why")]
    assert incoming.feed(Part(1, False, layout, False), []) == here
    pieces = [b"aa", b"e"]
    assert incoming.feed(Part(1, False, None, True), pieces) == [
        ("a", 0, [b"aa"]),
        ("e", 4, [b"e"]),
    ]


def test_small_things_travel_in_one_part() -> None:
    assert transfer([("a", 0, [b"123", b"456"]), ("b", 0, None)])[1] == 1


def test_small_things_are_in_the_layout_up_to_the_size_of_a_part() -> None:
    outgoing = Outgoing(1, False, [("a", 0, [b"12345678"]), ("b", 0, [b"123456789"])])
    ((part, pieces),) = outgoing.parts()
    assert part.layout == [("a", 0, b"12345678"), ("b", 0, [9])]
    assert [bytes(piece) for piece in pieces] == [b"123456789"]
    arrived = Incoming().feed(part, pieces)
    assert arrived == [("a", 0, [b"12345678"]), ("b", 0, [b"123456789"])]


def test_the_sender_waits_for_the_receiver() -> None:
    outgoing = Outgoing(1, True, [("a", 0, [bytes(16 * (WINDOW + 3))])])
    assert len(list(outgoing.parts())) == WINDOW
    assert list(outgoing.parts()) == []
    outgoing.acknowledge()
    assert len(list(outgoing.parts())) == 1
    assert not outgoing.taken


def test_whole_frames_are_not_copied() -> None:
    incoming = Incoming()
    piece = memoryview(bytearray(b"12345"))
    ((_, _, frames),) = incoming.feed(Part(1, False, [("a", 0, [5])], True), [piece])
    assert frames[0].obj is piece.obj  # type: ignore[union-attr, index]


@pytest.mark.parametrize(
    ("layout", "pieces", "last"),
    [
        (None, [b"1"], True),  # no layout
        ([("a", 0, [3])], [b"1234"], True),  # too much
        ([("a", 0, [3])], [b"12"], True),  # too little
        ([("a", 0, [3])], [b"123", b"4"], True),  # more than there should be
        ([("a", 0, [3])], [b""], False),  # nothing
        ([("a", 0, [1 << 62])], [b"1"], False),  # more than any memory
        ([("a", 0, [1 << 63])], [b"1"], False),  # more than any address
        ([("a", 0, ["3"])], [], False),
        ([("a", 0, [-3])], [], False),
        ([("a", "0", [3])], [], False),
        ([("a", 0)], [], False),
        ([7], [], False),
        ([("a", 0, [1] * 2_000_000)], [], False),
    ],
)
def test_nonsense_is_refused(layout: Any, pieces: list[bytes], last: bool) -> None:
    with pytest.raises(ProtocolError):
        Incoming().feed(Part(1, False, layout, last), pieces)


def test_nothing_comes_after_the_end() -> None:
    incoming = Incoming()
    incoming.feed(Part(1, False, [], True), [])
    with pytest.raises(ProtocolError, match="after the last one"):
        incoming.feed(Part(1, False, None, True), [])
    with pytest.raises(ProtocolError, match="more parts acknowledged"):
        Outgoing(1, False, []).acknowledge()
