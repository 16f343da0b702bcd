"""What has happened lately, so that the history of a key can be told.

Most of it can be read off the messages, so those are kept: only their keys and numbers, in columns, without
arguments and results, and mostly the very lists that were sent or came. That is why a task costs next to
nothing here. All is looked through when somebody asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

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
    Free,
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

# Keys and numbers that are remembered: the last forty thousand tasks or so, in some 20 MB.
MAX_ITEMS = 200_000


class Record(NamedTuple):
    """One message, or a note. `column` has the keys, the assignments, or items that begin with these;
    `keys` those that belong to the assignments, where it is the only place to know."""

    at: float
    kind: Any  # the class of a message, or the text of a note
    who: Member | None
    column: Sequence[Any]
    keys: Sequence[str] | None = None


class Story:
    def __init__(self) -> None:
        self.records: deque[Record] = deque()
        self.now = 0.0
        self._items = 0

    def heard(self, member: Any, message: Message) -> None:
        """A message has come."""
        column = _HEARD.get(type(message))
        if column is not None:
            self._keep(Record(self.now, type(message), member, column(message)))

    def said(self, member: Member) -> None:
        """What is about to go out to the member."""
        for message in member.out:
            kind = type(message)
            if kind is Run:
                items = message[2]
                numbers, keys = [i[0] for i in items], [i[1] for i in items]
                self._keep(Record(self.now, kind, member, numbers, keys))
            else:
                column = _SAID.get(kind)
                if column is not None:
                    self._keep(Record(self.now, kind, member, column(message)))

    def note(self, text: str, keys: Sequence[str]) -> None:
        """Something else has happened to these."""
        if keys:
            self._keep(Record(self.now, text, None, keys))

    def _keep(self, record: Record) -> None:
        records = self.records
        records.append(record)
        self._items += 1 + len(record.column)
        while self._items > MAX_ITEMS:
            self._items -= 1 + len(records.popleft().column)

    def of(self, key: str) -> list[tuple[float, str]]:
        """What has happened to the key: (seconds ago, text), in order."""
        return [(self.now - record.at, text) for record, text in self._about(key)]

    def _about(self, key: str) -> Iterator[tuple[Record, str]]:
        assignments: dict[int, None] = {}
        for record in self.records:
            kind, column = record.kind, record.column
            if kind is Run:
                if key in (record.keys or ()):
                    number = column[(record.keys or ()).index(key)]
                    assignments[number] = None
                    yield record, f"given to {name_of(record.who)} as assignment {number}"
            elif kind in _BY_KEY:
                if key in column:
                    yield record, _BY_KEY[kind].format(name_of(record.who))
            elif kind in _BY_ASSIGNMENT:
                for number in assignments:
                    if number in column:
                        text = _BY_ASSIGNMENT[kind].format(name_of(record.who))
                        yield record, f"{text} (assignment {number})"
            elif kind in _BY_ITEM:
                for item in column:
                    if item[0] == key or item[0] in assignments:
                        yield record, _BY_ITEM[kind](name_of(record.who), item)
            elif key in column:
                yield record, kind


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
    Drop: _whole,
    Retract: _whole,
    Free: _whole,
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
    Free: "{} is to delete its data",
    Acquire: "{} is to get a copy",
    Pending: "its data is lost and is computed again: {} is told",
    Failed: "failed: {} is told",
}
_BY_ASSIGNMENT = {
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
