"""What has happened lately, so that the history of a key can be told.

Most of it can be read off the messages, so those are kept: only their keys and numbers, in columns, without
arguments and results, and mostly the very lists that were sent or came. That is why a task costs next to
nothing here. All is looked through when somebody asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from distributed.core.states import Client, Member, Worker
from distributed.messages import (
    Abandoned,
    Acquire,
    Cancel,
    Done,
    Drop,
    Ended,
    Errors,
    Failed,
    Holds,
    Message,
    Missing,
    Pending,
    Release,
    Retract,
    Returned,
    Run,
    Scatter,
    Seceded,
    Stuck,
    Submit,
    Unfetchable,
    Want,
)

# What is remembered, in keys, numbers and so on: the last forty thousand tasks or so, in some 20 MB.
MAX_WORDS = 200_000
# So much is forgotten at once.
CHUNK_WORDS = 20_000

# One message, or a note: (when, the class of the message or the text, who, column, keys). The column has
# the keys, the assignments, or items that begin with these. `keys` has the keys of assignments, where that
# is the only place to know them.
Record = tuple[float, Any, "Member | None", Sequence[Any], Sequence[str]]


class Story:
    """Records are laid end to end in long lists, so that there is no object for each: what the garbage
    collector has to look through costs more than to write it down."""

    def __init__(self) -> None:
        self.now = 0.0
        self._chunk: list[Any] = []
        self._older: deque[list[Any]] = deque()
        self._words = 0  # in those

    # These two are called for every message

    def heard(self, member: Any, message: Message) -> None:
        """A message has come."""
        kind = type(message)
        column_of = _HEARD.get(kind)
        if column_of is not None:
            column = column_of(message)
            chunk = self._chunk
            chunk += (self.now, kind, member, len(column))
            chunk += column

    def said(self, member: Member) -> None:
        """What is about to go out to the member."""
        chunk = self._chunk
        for message in member.out:
            kind = type(message)
            column_of = _SAID.get(kind)
            if column_of is not None:
                column = column_of(message)
                chunk += (self.now, kind, member, len(column))
                chunk += column
                if kind is Run:
                    chunk += [item[1] for item in message[-1]]

    def note(self, text: str, keys: Sequence[str]) -> None:
        """Something else has happened to these."""
        if keys:
            self._chunk += (self.now, text, None, len(keys))
            self._chunk += keys

    def trim(self) -> None:
        """Forget what is too long ago. Called after every batch."""
        if len(self._chunk) < CHUNK_WORDS:
            return
        self._older.append(self._chunk)
        self._words += len(self._chunk)
        self._chunk = []
        while self._words > MAX_WORDS:
            self._words -= len(self._older.popleft())

    def records(self) -> Iterator[Record]:
        for chunk in (*self._older, self._chunk):
            end = 0
            while end < len(chunk):
                at, kind, who, count = chunk[end : end + 4]
                start, end = end + 4, end + 4 + count
                column = chunk[start:end]
                start, end = end, end + (count if kind is Run else 0)
                yield at, kind, who, column, chunk[start:end]

    def of(self, key: str) -> list[tuple[float, str]]:
        """What has happened to the key: (seconds ago, text), in order."""
        found = []
        assignments: list[int] = []
        for at, kind, who, column, keys in self.records():
            if key in keys:
                assignments.append(column[keys.index(key)])
            for text in _lines(kind, name_of(who), column, key, assignments):
                found.append((self.now - at, text))
        return found


def _lines(
    kind: Any, who: str, column: Sequence[Any], key: str, assignments: list[int]
) -> Iterator[str]:
    """What a record says of the key, which has had these assignments."""
    if kind in _BY_ASSIGNMENT:
        for number in assignments:
            if number in column:
                yield f"{_BY_ASSIGNMENT[kind].format(who)} (assignment {number})"
    elif kind in _BY_ITEM:
        for item in column:
            if item[0] == key or item[0] in assignments:
                yield _BY_ITEM[kind](who, item)
    elif key in column:
        yield _BY_KEY[kind].format(who) if kind in _BY_KEY else kind


def name_of(member: Member | None) -> str:
    if isinstance(member, Worker):
        return f"worker {member.name}"
    return f"client {member.id}" if isinstance(member, Client) else "somebody"


def _first(message: Any) -> list[Any]:
    return [item[0] for item in message.items]


def _whole(message: Any) -> Any:
    return message[0]


_HEARD: dict[Any, Callable[[Any], Sequence[Any]]] = {
    Submit: lambda message: [item[0] for group in message.groups for item in group[3]],
    Scatter: _first,
    Want: _whole,
    Release: _whole,
    Cancel: lambda message: message.keys,
    Missing: _whole,
    Done: _first,
    Errors: _first,
    Holds: _whole,
    Stuck: _whole,
    Unfetchable: _whole,
    Returned: _whole,
    Abandoned: _whole,
    Seceded: _whole,
}
_SAID: dict[Any, Callable[[Any], Sequence[Any]]] = {
    Run: lambda message: [item[0] for item in message.items],
    Drop: _whole,
    Retract: _whole,
    Acquire: _first,
    Pending: _whole,
    Failed: _first,
    Ended: _whole,
}

_BY_KEY = {
    Submit: "submitted by {}",
    Scatter: "{} is about to send the data",
    Want: "{} wants it",
    Release: "{} has dropped its last future",
    Cancel: "cancelled by {}",
    Acquire: "{} is to get a copy",
    Pending: "its data is lost and is computed again: {} is told",
    Failed: "failed: {} is told",
}
_BY_ASSIGNMENT = {
    Run: "given to {}",
    Done: "finished on {}",
    Errors: "raised an exception on {}",
    Drop: "{} is to give it up",
    Retract: "{} is asked to hand it back",
    Returned: "{} has handed it back",
    Abandoned: "{} has given it up",
    Seceded: "waits for other tasks, and has given its thread on {} back",
}
_BY_ITEM: dict[Any, Callable[[str, Any], str]] = {
    Missing: lambda who, item: f"{who} could not get the data from {item[1]}",
    Holds: lambda who, item: f"{who} holds it, {item[1]:,} bytes",
    Stuck: lambda who, item: f"{who} cannot get it from those who have it: {item[1]}",
    Unfetchable: lambda who, item: f"{who} could not get its inputs{_places(item[1])}",
    Ended: lambda who, item: f"ended as {item[1]}: {who} is told{_because(item[2])}",
}


def _places(missing: Sequence[tuple[str, str]]) -> str:
    return ": " + ", ".join(f"{key} from {address}" for key, address in missing) if missing else ""


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
