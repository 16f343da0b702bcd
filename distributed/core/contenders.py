"""A client's part in locks: which it holds, and which it would like to have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distributed.messages import Concede, Contend, Message

if TYPE_CHECKING:
    from distributed.core.entries import Waiter

WAITING, HOLDING, DENIED, CONCEDED = "waiting", "holding", "denied", "conceded"


class Contender:
    """One attempt to get the lock of that name, from asking for it to letting go. Only ClientCore changes
    it; anyone may read. The waiter is woken when it is decided. `waits`: its turn may come later.

    `status` is one of the above, or what `core.client.Abandon` says; then `reason` says more.
    """

    __slots__ = ("name", "number", "reason", "status", "waiter", "waits")

    def __init__(self, name: str, waits: bool, waiter: Waiter) -> None:
        self.name = name
        self.waits = waits
        self.waiter = waiter
        self.number = 0
        self.status = WAITING
        self.reason = ""


class Contenders:
    """Those that hold a lock or wait for one, by their numbers."""

    def __init__(self) -> None:
        self.table: dict[int, Contender] = {}
        self._last = 0

    def enter(self, contender: Contender) -> list[Message]:
        self._last += 1
        contender.number = self._last
        self.table[contender.number] = contender
        return [Contend(contender.name, contender.number, contender.waits)]

    def leave(self, contender: Contender) -> list[Message]:
        """It does not want the lock any more. If that was decided otherwise, nothing happens."""
        if self.table.pop(contender.number, None) is None:
            return []
        contender.status = CONCEDED
        return [Concede(contender.name, contender.number)]

    def end(self, contender: Contender, status: str, reason: str) -> None:
        """It neither has the lock nor gets it, and the scheduler need not be told."""
        del self.table[contender.number]
        contender.status = status
        contender.reason = reason

    def listed(self) -> tuple[tuple[str, int, bool, bool], ...]:
        """As in `ClientHello`. Holders come first: their locks are not free for those who wait."""
        found = sorted(self.table.values(), key=lambda contender: contender.status is not HOLDING)
        return tuple((c.name, c.number, c.status is HOLDING, c.waits) for c in found)
