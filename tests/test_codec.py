"""The wire format: what is sent arrives, and what is not a message is refused."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed import codec, messages
from distributed.codec import decode, encode, encode_parts
from distributed.errors import ProtocolError
from distributed.messages import (
    CODES,
    MESSAGES,
    PROTOCOL,
    PYTHON,
    Answer,
    Done,
    Finished,
    Goodbye,
    Release,
    Reply,
    Run,
    Submit,
)

EXAMPLES: dict[str, tuple[Any, ...]] = {
    "ClientHello": ("C", "epoch", PROTOCOL, PYTHON, ("x",), (("l", 1, True, False),), "W"),
    "Submit": ({"f": b""}, (("f", {"workers": ("a",), "resources": {"GPU": 1.0}, "time_limit": 2.5}, True,
                             (("x", b"", ("y",), 0),)),), False),
    "Scatter": (1, (("x", 8),), ("w",)),
    "Replicate": (1, ("x",), None),
    "Ask": (1, "ncores", None),
    "Broadcast": (1, b"call", ("w",)),
    "Upload": (1, "m.py", b""),
    "Missing": ((("x", "tcp://a:1"),),),
    "Welcome": ("epoch", {"m.py": b""}),
    "Finished": ("tcp://a:1", (("x", 8, b"v", None),)),
    "Reply": (1, True, {"x": (1, None)}),
    "WorkerHello": ("W", "epoch", "w", "tcp://a:1", 1, 0, {"GPU": 1.0}, 1, "N", PROTOCOL, PYTHON,
                    (("x", 8, 1),), ((1, "x"),)),
    "Done": (((1, 8, 10, None, b"type"),),),
    "Errors": (((1, b"e"),),),
    "Holds": ((("x", 8, 1),),),
    "Stuck": ((("x", "why"),),),
    "Unfetchable": (((1, (("x", "tcp://a:1"),)),),),
    "Answer": (1, False, b""),
    "Run": ("f", None, True, ((1, "x", b"", (("y", 8, ("tcp://a:1",), 1),), True),)),
    "Call": (1, b""),
    "PutFile": (1, "m.py", b""),
    "NannyHello": ("N", PROTOCOL, PYTHON),
    "Died": ("W", "why", "its last words", (1, 2), "x"),
    "Get": (1, ("x",)),
    "Part": (1, False, None, True),
    "More": (1, True),
}  # fmt: skip
# Fields of the others, by their type.
DEFAULTS = {int: 1, str: "s", bytes: b"b", bool: True, tuple: (), dict: {}, float: 1.0}


def example(kind: Any) -> Any:
    values = EXAMPLES.get(kind.__name__)
    if values is None:
        fields = codec._FIELD_TYPES[CODES[kind]]
        values = tuple(DEFAULTS[allowed[0]] for allowed in fields)
    return kind(*values)


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_every_message_arrives_as_it_was_sent(kind: Any) -> None:
    message = example(kind)
    assert decode(encode([message, Goodbye()])) == [message, Goodbye()]


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_a_field_of_the_wrong_type_is_refused(kind: Any) -> None:
    message = example(kind)
    for position, allowed in enumerate(codec._FIELD_TYPES[CODES[kind]]):
        if object in allowed:
            continue
        fields = list(message)
        fields[position] = 1.5 if float not in allowed else "x"
        with pytest.raises(ProtocolError):
            decode(msgpack.packb([[CODES[kind], *fields]]))
    with pytest.raises(ProtocolError):
        decode(msgpack.packb([[CODES[kind], *message, "one more"]]))


@pytest.mark.parametrize(
    "message",
    [
        Release((1,)),
        Submit({"f": "text"}, (), False),
        Submit({}, (("f", {"color": 1}, True, ()),), False),
        Submit({}, (("f", {"retries": "2"}, True, ()),), False),
        Submit({}, (("f", {"resources": ("GPU",)}, True, ()),), False),
        Submit({}, (("f", {"resources": {1: 1.0}}, True, ()),), False),
        Submit({}, (("f", {"resources": {"GPU": "1"}}, True, ()),), False),
        Submit({}, (("f", {"resources": {"GPU": True}}, True, ()),), False),
        Submit({}, (("f", {"resources": {"GPU": 0}}, True, ()),), False),
        Submit({}, (("f", {"resources": {"GPU": float("nan")}}, True, ()),), False),
        Submit({}, (("f", {"resources": {"GPU": float("inf")}}, True, ()),), False),
        Submit({}, (("f", None, True, (("x", "args", None, 0),)),), False),
        Submit({}, (("f", None, True, (("x", b"", (7,), 0),)),), False),
        Submit({}, (("f", None, True),), False),
        Done(((1, 2),)),
        Done(((1, 2, 3, "value", None),)),
        messages.Get(1, ({"x": 1},)),
        example(messages.ClientHello)._replace(wants=(1,)),
        example(messages.ClientHello)._replace(locks=(("l", 1, True),)),
        example(messages.ClientHello)._replace(locks=((b"l", 1, True, False),)),
        example(messages.ClientHello)._replace(locks=(("l", 1, 1, False),)),
        Submit({}, (("f", None, True, (("x", b"", ("y", "x"), 0),)),), False),
        Submit({}, (("f", {"priority": float("nan")}, True, ()),), False),
        Submit({}, (("f", {"time_limit": 0}, True, ()),), False),
        Submit({}, (("f", {"time_limit": float("inf")}, True, ()),), False),
        example(messages.WorkerHello)._replace(nthreads=0),
        example(messages.WorkerHello)._replace(nthreads=1 << 40),
        example(messages.WorkerHello)._replace(holds=(("x",),)),
        example(messages.WorkerHello)._replace(resources={"GPU": -1.0}),
        example(messages.WorkerHello)._replace(assigned=(1,)),
        example(messages.Stuck)._replace(items=(("x", 1),)),
        example(messages.Errors)._replace(items=((1, "e"),)),
    ],
)
def test_malformed_items_are_refused(message: Any) -> None:
    with pytest.raises(ProtocolError):
        decode(encode([message]))


@given(st.binary(max_size=200))
def test_noise_is_refused_and_nothing_worse_happens(noise: bytes) -> None:
    try:
        decode(noise)
    except ProtocolError:
        pass


@given(st.sampled_from(MESSAGES), st.integers(0, 300), st.integers(0, 255))
def test_damaged_messages_are_refused_or_well_formed(kind: Any, place: int, byte: int) -> None:
    frame = bytearray(encode([example(kind)]))
    frame[place % len(frame)] = byte
    try:
        for message in decode(bytes(frame)):
            assert type(message) in CODES
    except ProtocolError:
        pass


@given(st.sampled_from(MESSAGES), st.integers(0, 300))
def test_cut_messages_are_refused(kind: Any, length: int) -> None:
    frame = encode([example(kind)])
    with pytest.raises(ProtocolError):
        decode(frame[: length % len(frame)])


def test_what_is_too_large_is_cut_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_BATCH_BYTES", 100)
    items = [(n, "x" * 10, b"", None, False) for n in range(20)]
    frames = encode_parts([Goodbye(), Run("f", b"blob", False, items), Finished("a", [])])
    assert all(len(frame) <= 100 for frame in frames)
    arrived = [message for frame in frames for message in decode(frame)]
    assert [item for m in arrived if isinstance(m, Run) for item in m.items] == items
    assert (arrived[0], arrived[-1]) == (Goodbye(), Finished("a", ()))
    with pytest.raises(ProtocolError, match=r"send large data with scatter"):
        encode_parts([Run("f", None, False, [(1, "x" * 200, b"", None, False)])])


def test_a_large_graph_is_cut_into_submits_that_belong_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(codec, "MAX_BATCH_BYTES", 200)
    items = [(f"k{n}", b"x" * 20, None, n) for n in range(20)]
    submit = Submit({"f": b"blob"}, (("f", None, False, items), ("f", None, True, items)), False)
    arrived: list[Any] = [m for frame in encode_parts([submit]) for m in decode(frame)]
    assert [m.more for m in arrived] == [True] * (len(arrived) - 1) + [False]
    assert [m.functions for m in arrived[:2]] == [{"f": b"blob"}, {}]
    assert [i for m in arrived for group in m.groups for i in group[3]] == items + items


def test_what_is_submitted_again_is_so_in_both_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_BATCH_BYTES", 400)
    items = [(f"x{n}", bytes(100), None, n) for n in range(5)]
    submit = Submit({"f": b"f"}, (("f", None, True, items),), False, again=True, call=7)
    parts = [message for frame in encode_parts([submit]) for message in decode(frame)]
    assert len(parts) > 1
    assert {(part.again, part.call) for part in parts} == {(True, 7)}


def test_a_reply_that_is_too_large_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_BATCH_BYTES", 300)
    frames = encode_parts([Goodbye(), Reply(7, True, "x" * 400), Reply(8, True, 1)])
    messages = [message for frame in frames for message in decode(frame)]
    assert messages[::2] == [Goodbye(), Reply(8, True, 1)]
    assert messages[1][:2] == (7, False)
    assert messages[1][2].startswith("the answer is too large: a message of 4")


@pytest.mark.parametrize("value", [(), ("x",), (1, "x"), ("x", 1, 2)])
def test_an_answer_that_is_malformed_data_is_refused(value: Any) -> None:
    with pytest.raises(ProtocolError, match="Answer with malformed data"):
        decode(encode([Answer(1, True, value)]))


# Bytes of those who mean it

NESTED = b"\x91" * 1000
HOSTILE = {
    "nested": NESTED + b"\xc0\xc0",
    "nested too deep": b"\x91" * 100_000,
    "a nested code": b"\x91\x92" + NESTED + b"\xc0\xc0",
    "a nested field": b"\x91\x92" + bytes([CODES[Goodbye]]) + NESTED + b"\xc0",
    "nested keys": b"\x91\x92" + bytes([CODES[messages.Want]]) + b"\x91" + NESTED + b"\xc0",
    "zeros": bytes(30 << 20),
    "a map as a key": b"\x81\x80\xc0",
    "text that is none": b"\x91\xa2\xff\xfe",
    "a promise": b"\xdd\xff\xff\xff\xff",
    "a large promise of text": b"\xdb\xff\xff\xff\xffx",
    "a time out of range": b"\x91\xc7\x0c\xff" + b"\xff" * 12,
    "another type": b"\x91\xd4\x05\x00",
    "a negative code": b"\x91\x91\xff",
    "no code": b"\x91\x90",
    "text for a message": b"\x91\xa3abc",
    "a message of 10 MB of maps": b"\xdd\x00\xa0\x00\x00" + b"\x80" * (10 << 20),
    "500,000 messages": b"\xdd\x00\x07\xa1\x20" + b"\x91\x11" * 500_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_error_about_input_is_a_protocol_error_that_quotes_little_of_it(name: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(HOSTILE[name])
    assert 0 < len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "value", ["x" * (1 << 20), b"x" * (1 << 20), 1 << 60, 1.5, ((1,),), {"x": 1}]
)
def test_input_is_quoted_briefly(value: Any) -> None:
    for options in ({"x": value}, {"resources": {"GPU": value}}):
        name = codec.quoted(value)
        assert len(name) < 2 * codec.MAX_QUOTED
        if type(value) in (int, float) and "resources" in options:
            continue  # an amount like any other
        with pytest.raises(ProtocolError) as caught:
            decode(encode([Submit({}, (("f", options, True, ()),), False)]))
        assert len(str(caught.value)) < 300


def test_a_deliberate_bug_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error quotes what has come."""
    monkeypatch.setattr(codec, "quoted", repr)
    with pytest.raises(AssertionError):
        test_input_is_quoted_briefly("x" * (1 << 20))


def test_a_frame_of_many_messages_is_cut_into_several() -> None:
    batch: list[Any] = [Goodbye()] * (2 * codec.MAX_MESSAGES + 1)
    frames = encode_parts(batch)
    assert len(frames) > 2
    assert [message for frame in frames for message in decode(frame)] == batch


def test_a_frame_of_many_items_is_cut_into_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_ITEMS", 10_000)
    items = [(f"task-{n:060}", b"arguments", None, n) for n in range(35_000)]
    submit = Submit({"f": b"blob"}, (("f", None, True, items),), False)
    frames = encode_parts(
        [submit, Run("f", None, False, [(1, "x" * 60, b"", None, True)] * 35_000)]
    )
    arrived: list[Any] = [message for frame in frames for message in decode(frame)]
    submits = [message for message in arrived if type(message) is Submit]
    assert [item for message in submits for item in message.groups[0][3]] == items
    assert sum(len(message.items) for message in arrived if type(message) is Run) == 35_000
    assert len(submits) > 3


def test_objects_are_counted_while_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = encode([messages.Want(tuple(f"task-{n:060}" for n in range(30_000)))])
    assert len(frame) > codec.SMALL_FRAME
    assert len(decode(frame)[0].keys) == 30_000  # type: ignore[attr-defined]
    monkeypatch.setattr(codec, "MAX_OBJECTS", 29_000)
    with pytest.raises(ProtocolError, match="more than 29,000 objects in one frame"):
        decode(frame)
