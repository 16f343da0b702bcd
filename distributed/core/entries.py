"""What a client keeps of each key that it knows of, and who waits for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import Any, NamedTuple

PENDING, FINISHED, ERROR, CANCELLED, LOST = "pending", "finished", "error", "cancelled", "lost"

# As in `messages.Submit`.
Item = tuple[str, bytes, "tuple[str, ...] | None", int]
Options = dict[str, Any] | None


class Group(NamedTuple):
    """What tasks have in common that are submitted together."""

    function: str
    options: Options


class Waiter:
    """Counts entries that have not ended, and remembers in what order they did.

    Whoever waits is woken when all have ended; with `each` at every one that ends, with `eager` at
    the first that ends in any other way than finished.
    """

    __slots__ = ("done", "each", "eager", "remaining")

    def __init__(self, each: bool = False, eager: bool = False) -> None:
        self.each = each
        self.eager = eager
        self.remaining = 0
        self.done: list[Entry] = []


class Entry:
    """One key and what has become of it. Only ClientCore changes it; anyone may read."""

    __slots__ = (
        "address",
        "call",
        "dependencies",
        "dependents",
        "ending",
        "group",
        "handles",
        "inline",
        "item",
        "key",
        "kind",
        "known",
        "life",
        "nbytes",
        "since",
        "status",
        "waiters",
    )

    def __init__(self, key: str) -> None:
        self.key = key
        # Its recipe, if it was submitted here.
        self.item: Item | None = None
        self.group: Group | None = None
        self.call = 0  # the number of the call that it was submitted with
        self.status = PENDING
        self.handles = 0
        self.dependents = 0
        self.dependencies: tuple[Entry, ...] = ()
        self.known = True  # in the table; an entry that was cancelled is not
        # Names this entry among all of its key, once a token of it has been asked for; see `futures.py`.
        self.life = ""
        self.since = 0  # the number of the last release before it was asked for
        self.address = ""  # of a worker that holds the result
        self.nbytes = 0
        self.inline: bytes | None = None  # the pickled result
        self.kind: bytes | None = None  # its pickled type, where there is no inline result
        # A pickled exception, or why it ended: a text, or (how, text) if how is not clear from the status.
        self.ending: bytes | str | tuple[str, str] = b""
        self.waiters: tuple[Waiter, ...] = ()

    def __repr__(self) -> str:
        return f"<Entry {self.key} {self.status}>"


# Tasks in one message when everything is submitted again.
RESUBMIT_TASKS = 2000


def in_chunks(entries: Iterable[Entry], heard: int) -> Iterator[tuple[int, bool, list[Entry]]]:
    """Those with a recipe, in their order, for one message each: the number of their call; whether they are
    submitted again, for the scheduler has heard of all that was let go of before; and the entries."""
    ours = (entry for entry in entries if entry.item is not None)
    for (call, again), group in groupby(ours, lambda entry: (entry.call, entry.since <= heard)):
        while chunk := list(islice(group, RESUBMIT_TASKS)):
            yield call, again, chunk


def to_run_again(failed: Iterable[Entry], known: Iterable[Entry]) -> list[Entry]:
    """Those, and of what they need all that has failed too or that no future keeps, in their order."""
    needed: dict[Entry, None] = {}
    stack = [entry for entry in failed if entry.status is ERROR and entry.item is not None]
    while stack:
        entry = stack.pop()
        if entry not in needed and entry.item is not None:
            needed[entry] = None
            stack += [d for d in entry.dependencies if d.status is ERROR or not d.handles]
    return [entry for entry in known if entry in needed]


def as_submitted(entries: Iterable[Entry], wanted: bool = True) -> tuple[Any, ...]:
    """The recipes of these, all of them from here, as groups of `messages.Submit`; wanted if they have
    futures."""
    groups: list[tuple[str, Options, bool, list[Item]]] = []
    for entry in entries:
        assert entry.item is not None and entry.group is not None
        head = (*entry.group, wanted and entry.handles > 0)
        if not groups or groups[-1][:3] != head:
            groups.append((*head, []))
        groups[-1][3].append(entry.item)
    return tuple(groups)


def with_futures(unsettled: Iterable[Entry]) -> list[Entry]:
    """Of what is to be used by what is to come: those whose futures may go before that comes."""
    return [e for e in dict.fromkeys(unsettled) if e.handles and e.item is not None]


# Of fired work, those that have ended are looked for when there are as many, and then twice as many.
MIN_FIRED = 100


class FiredEntries:
    """What was fired and has not ended, or has since somebody last looked."""

    def __init__(self) -> None:
        self._entries: dict[Entry, None] = {}
        self._look_at = MIN_FIRED

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those of them that have not been cancelled."""
        fired = [entry for entry in entries if entry.known]
        self._entries.update(dict.fromkeys(fired))
        if len(self._entries) >= self._look_at:
            self._entries = dict.fromkeys(self.unended())
            self._look_at = max(MIN_FIRED, 2 * len(self._entries))
        return fired

    def unended(self) -> list[Entry]:
        return [entry for entry in self._entries if entry.known and entry.status is PENDING]
