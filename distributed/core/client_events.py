"""What a client's core takes in from its own shell, and what it has the shell do."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from distributed.core.contenders import Contender
from distributed.core.entries import Entry, Item, Waiter
from distributed.messages import Message

# Events that come from the client's own shell.


class Calls(NamedTuple):
    """Work to submit: as `messages.Submit`, but with all functions that it uses. Every wanted item gets one
    more handle. Parts of one `graph` belong together; other work may come between them."""

    functions: dict[str, bytes]
    groups: list[tuple[str, dict[str, Any] | None, bool, list[Item]]]
    more: bool = False
    ahead: tuple[str, ...] = ()
    complete: tuple[str, ...] = ()
    graph: Hashable = None

    def inputs(self) -> set[str]:
        """What it needs and does not bring."""
        items = [item for group in self.groups for item in group[3]]
        needed = {key for item in items for key in item[2] or ()}
        return needed.difference(item[0] for item in items)


class Sending(NamedTuple):
    """All that there is to tell is about to be sent, calls too."""


class Adopt(NamedTuple):
    """Futures that came from elsewhere, or data about to be scattered: one more handle each."""

    keys: list[str]
    announce: bool  # to the scheduler; not needed if another message says that we want them


class Dropped(NamedTuple):
    """One handle less for each."""

    entries: list[Entry]


class Firing(NamedTuple):
    """These are to be done even if nobody has a future for them, and when this client has left."""

    entries: list[Entry]


class Again(NamedTuple):
    """Those of these that have failed are to run again, and what failed before them."""

    entries: list[Entry]


class Await(NamedTuple):
    """The waiter wants to know when these end."""

    waiter: Waiter
    entries: list[Entry]


class Desist(NamedTuple):
    """The waiter does not want to know any more."""

    waiter: Waiter
    entries: list[Entry]


class Unreachable(NamedTuple):
    """Results that their worker did not give us: `(key, address)`."""

    items: list[tuple[str, str]]


class CallOff(NamedTuple):
    """`force`: also what runs; entries that were called off before are meant as well."""

    entries: list[Entry]
    force: bool = False


class Contending(NamedTuple):
    """A new contender would like to have its lock."""

    contender: Contender


class Conceding(NamedTuple):
    """The contender lets go of its lock, or does not wait for it any more."""

    contender: Contender


class Connected(NamedTuple):
    """There is a connection, on which nothing has been said. Nothing comes any more from an earlier one:
    it has been handled, or is lost."""


class Abandon(NamedTuple):
    """Nothing will be heard any more: end what is pending."""

    status: str
    reason: str


# Effects.


class Tell(NamedTuple):
    """Send to the scheduler."""

    batch: list[Message]


class Wake(NamedTuple):
    waiters: list[Waiter]


class Answered(NamedTuple):
    request: int
    ok: bool
    value: Any


class Introduced(NamedTuple):
    """Hello has been said: what has been asked and not been answered is to be asked again."""


class Welcomed(NamedTuple):
    epoch: str


class Rejected(NamedTuple):
    reason: str


class Caution(NamedTuple):
    """A text for the user."""

    text: str


Effect = Tell | Wake | Answered | Introduced | Welcomed | Rejected | Caution
