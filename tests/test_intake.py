"""A turn of the scheduler takes in so much and no more."""

from __future__ import annotations

from typing import Any

import pytest

from distributed import intake
from distributed.codec import encode
from distributed.core.states import Gone, Nonsense
from distributed.intake import Intake
from distributed.messages import Goodbye, Heartbeat


def heartbeats(*numbers: int) -> list[Any]:
    return [encode([Heartbeat(number) for number in numbers])]


def taken(frames: Intake) -> list[Any]:
    return [(peer.decode(), *message) for peer, message in frames.take()]


def test_frames_become_events_in_their_order() -> None:
    frames = Intake(lambda peer: False)
    frames.add([(b"a", heartbeats(1, 2)), (b"b", heartbeats(3)), (b"a", heartbeats(4))], [])
    assert taken(frames) == [("a", 1), ("a", 2), ("b", 3), ("a", 4)]
    assert not frames.waits and frames.take() == []


@pytest.mark.parametrize(("name", "value"), [("TURN_MESSAGES", 3), ("TURN_BYTES", 12)])
def test_what_is_over_the_budget_waits_and_so_does_word_of_who_has_gone(
    monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    monkeypatch.setattr(intake, name, value)
    frames = Intake(lambda peer: False)
    frames.add([(b"a", heartbeats(n, n)) for n in range(3)], [b"a"])
    first = taken(frames)
    assert 0 < len(first) < 6 and frames.waits
    rest = frames.take()
    assert len(first) + len(rest) == 7
    assert rest[-1] == (b"a", Gone())


def test_a_frame_that_is_over_the_budget_by_itself_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake, "TURN_MESSAGES", 3)
    frames = Intake(lambda peer: False)
    frames.add([(b"a", heartbeats(*range(9)))], [])
    assert len(frames.take()) == 9


def test_what_is_nonsense_is_told_as_such() -> None:
    frames = Intake(lambda peer: False)
    frames.add([(b"a", [b"\xc1"]), (b"b", [encode([Goodbye()]), b"more"])], [])
    (_, first), (_, second) = frames.take()
    assert isinstance(first, Nonsense) and isinstance(second, Nonsense)
    assert second.reason == "a message of 2 frames"


def test_frames_of_those_to_whom_nobody_listens_are_not_decoded() -> None:
    frames = Intake(lambda peer: peer == b"a")
    frames.add([(b"a", [b"\xc1"]), (b"b", heartbeats(1))], [b"a"])
    assert frames.take() == [(b"b", Heartbeat(1)), (b"a", Gone())]
