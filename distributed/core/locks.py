"""Locks with names: who holds each, and who is next.

Whoever wants a lock is a *contender*: a number that its client has drawn for this one attempt. They get
the lock in the order in which they came. A contender that concedes, or whose client is lost, makes way
for the next, whether it held the lock or waited. A name that nobody holds or waits for is not in the table.

A scheduler that takes the place of one that died does not know who holds what, until the clients of
before have said hello. So it begins with a time of grace, in which a lock passes only from one who has
said that he holds it to the next.

What each client takes part in is kept by client, too: one that comes back or is lost costs as much as it
has contenders, whatever others have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeAlias

from distributed.core.states import Client
from distributed.messages import Concede, Contend, Denied, Granted, IsLocked, Reply

Contender: TypeAlias = tuple[Client, int]

# Contenders of one client. So many threads do not wait, and whoever holds so many locks has forgotten to
# let go of them. Each takes memory here until its client lets go or is lost.
MAX_CONTENDERS = 10_000


class NamedLock:
    """`holder` is None only in the time of grace, when somebody may hold it who has not said so yet."""

    __slots__ = ("holder", "waiting")

    def __init__(self) -> None:
        self.holder: Contender | None = None
        self.waiting: dict[Contender, None] = {}  # a dict for its order


class Locks:
    """`grace` is in seconds, from the first tick. With none, locks are given away from the beginning."""

    def __init__(self, grace: float) -> None:
        self.table: dict[str, NamedLock] = {}
        # By client, its contenders: (name, number). Dicts for their order.
        self.contenders: dict[Client, dict[tuple[str, int], None]] = {}
        self.grace_is_over = not grace
        self._grace = grace
        self._grace_ends: float | None = None

    def on_contend(self, client: Client, message: Contend) -> None:
        self._contend(client, message.name, message.contender, message.waits)

    def _contend(self, client: Client, name: str, number: int, waits: bool) -> None:
        """What is known already changes nothing, for a client says it again on each new connection."""
        lock = self.table.get(name)
        contender = (client, number)
        if lock is not None and lock.holder == contender:
            client.out.append(Granted(name, number))  # again, if the first was lost on its way
        elif self._is_too_much(client, name, number):
            client.out.append(Denied(name, number, _TOO_MUCH))
        elif lock is None and self.grace_is_over:
            lock = self._enter(client, name, number)
            lock.holder = contender
            client.out.append(Granted(name, number))
        elif not waits:
            client.out.append(Denied(name, number, ""))
        else:
            self._enter(client, name, number).waiting[contender] = None

    def _is_too_much(self, client: Client, name: str, number: int) -> bool:
        known = self.contenders.get(client, {})
        return len(known) >= MAX_CONTENDERS and (name, number) not in known

    def _enter(self, client: Client, name: str, number: int) -> NamedLock:
        self.contenders.setdefault(client, {})[name, number] = None
        return self.table.setdefault(name, NamedLock())

    def on_concede(self, client: Client, message: Concede) -> None:
        lock = self.table.get(message.name)
        if lock is not None:
            self._remove(message.name, lock, [(client, message.contender)])

    def _remove(self, name: str, lock: NamedLock, contenders: Collection[Contender]) -> None:
        for contender in contenders:
            lock.waiting.pop(contender, None)
            self._forget(contender, name)
        if lock.holder in contenders:
            lock.holder = None
            self._pass_on(name, lock)
        elif lock.holder is None and not lock.waiting:
            del self.table[name]

    def _forget(self, contender: Contender, name: str) -> None:
        client, number = contender
        known = self.contenders.get(client, {})
        known.pop((name, number), None)
        if not known:
            self.contenders.pop(client, None)

    def _pass_on(self, name: str, lock: NamedLock) -> None:
        """The lock is free: the next has it."""
        if not lock.waiting:
            del self.table[name]
            return
        client, number = lock.holder = next(iter(lock.waiting))
        del lock.waiting[lock.holder]
        client.out.append(Granted(name, number))

    def on_is_locked(self, client: Client, message: IsLocked) -> None:
        client.out.append(Reply(message.request, True, message.name in self.table))

    def greet(self, client: Client, items: Iterable[tuple[str, int, bool, bool]]) -> None:
        """The client has said hello with these `(name, contender, holds, waits)`. What else we know of it
        is over: the message that says so was lost with its last connection."""
        items = tuple(items)
        self._reduce(client, {(name, number) for name, number, _, _ in items})
        for name, number, holds, waits in items:
            if holds:
                self._claim(client, name, number)
            else:
                self._contend(client, name, number, waits)

    def _claim(self, client: Client, name: str, number: int) -> None:
        """The contender says that it holds the lock, perhaps since before our time."""
        if self._is_too_much(client, name, number):
            client.out.append(Denied(name, number, _TOO_MUCH))
            return
        lock = self._enter(client, name, number)
        contender = (client, number)
        if lock.holder is None:
            lock.waiting.pop(contender, None)
            lock.holder = contender
        elif lock.holder != contender:
            # It was given up, and the lock to another, before it came back.
            self._remove(name, lock, [contender])
            client.out.append(Denied(name, number, ""))

    def client_lost(self, client: Client) -> None:
        self._reduce(client, ())

    def _reduce(self, client: Client, keep: Collection[tuple[str, int]]) -> None:
        """Forget the client's contenders except for these."""
        over: dict[str, list[Contender]] = {}
        for name, number in self.contenders.get(client, ()):
            if (name, number) not in keep:
                over.setdefault(name, []).append((client, number))
        for name, contenders in over.items():
            self._remove(name, self.table[name], contenders)

    def tick(self, now: float) -> None:
        if self.grace_is_over:
            return
        if self._grace_ends is None:
            self._grace_ends = now + self._grace
        if now < self._grace_ends:
            return
        self.grace_is_over = True
        for name, lock in tuple(self.table.items()):
            if lock.holder is None:
                self._pass_on(name, lock)


_TOO_MUCH = (
    f"one client holds or waits for {MAX_CONTENDERS:,} locks at a time at the most; "
    "let go of some first"
)
