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


def as_submitted(entries: Iterable[Entry]) -> tuple[Any, ...]:
    """The recipes of these, all of them from here, as groups of `messages.Submit`."""
    groups: list[tuple[str, Options, bool, list[Item]]] = []
    for entry in entries:
        assert entry.item is not None and entry.group is not None
        head = (*entry.group, entry.handles > 0)
        if not groups or groups[-1][:3] != head:
            groups.append((*head, []))
        groups[-1][3].append(entry.item)
    return tuple(groups)
