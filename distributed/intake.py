"""What the scheduler takes in, a turn's worth at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from distributed.codec import decode
from distributed.core.states import Gone, Nonsense, Peer
from distributed.errors import ProtocolError
from distributed.messages import Message

# Of one turn: others, and time, wait no longer than this takes. Only a frame that has more by itself is
# taken whole; see `codec.MAX_OBJECTS`.
TURN_MESSAGES = 20_000
TURN_BYTES = 16 << 20

Event = tuple[Peer, Message]


class Intake:
    """Frames that have come, and peers that have gone, as events for the core.

    `ignores(peer)` says whose frames are not even decoded.
    """

    def __init__(self, ignores: Callable[[Peer], bool]) -> None:
        self._ignores = ignores
        self._frames: deque[tuple[Peer, list[Any]]] = deque()
        self._gone: list[Peer] = []

    @property
    def waits(self) -> bool:
        """Whether there is something left for the next turn."""
        return bool(self._frames)

    def add(self, frames: Iterable[tuple[Peer, list[Any]]], gone: Iterable[Peer]) -> None:
        self._frames.extend(frames)
        self._gone.extend(gone)

    def take(self) -> list[Event]:
        """The events of one turn, in order. What a peer had sent before it went still counts: those that
        have gone are named once all frames have been taken."""
        events: list[Event] = []
        frames, nbytes = self._frames, 0
        while frames and len(events) < TURN_MESSAGES and nbytes < TURN_BYTES:
            peer, parts = frames.popleft()
            nbytes += len(parts[0])
            if not self._ignores(peer):
                events += _decode(peer, parts)
        if not frames and self._gone:
            events += [(peer, Gone()) for peer in self._gone]
            self._gone.clear()
        return events


def _decode(peer: Peer, frames: list[Any]) -> list[Event]:
    if len(frames) != 1:
        return [(peer, Nonsense(f"a message of {len(frames)} frames"))]
    try:
        return [(peer, message) for message in decode(frames[0])]
    except ProtocolError as error:
        return [(peer, Nonsense(str(error)))]
