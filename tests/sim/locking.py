"""Locks: people who want them, and whether two ever have the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distributed.broker import LOCK_GRACE_SECONDS
from distributed.core.client_events import Conceding, Contending
from distributed.core.contenders import DENIED, HOLDING, WAITING, Contender
from distributed.core.entries import CANCELLED, LOST
from distributed.core.patience import LOCK_SECONDS
from tests.sim.client import Client, Watch

if TYPE_CHECKING:
    from tests.sim.cluster import Cluster

NAMES = ("printer", "scanner")
# What somebody does with a lock takes up to so long; some do not wait for it longer than so long.
IMPATIENT_SHARE = 0.3
HOLD_SECONDS = (0.5, 12.0)
PATIENCE_SECONDS = 4.0


class Holder:
    """A contender that has got its lock."""

    def __init__(self, client: Client, contender: Contender) -> None:
        self.client = client
        self.contender = contender
        self.disputed = False  # another has had the lock meanwhile, and may have

    @property
    def holds(self) -> bool:
        return self.client.alive and self.contender.status == HOLDING


class Witness:
    """Sees every lock that is got. At most one has it at a time; except that a client that the scheduler
    has given up, or has not heard of for its time of grace, may not know yet that another has the lock."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._holders: dict[str, list[Holder]] = {}

    def granted(self, client: Client, contender: Contender) -> None:
        name = contender.name
        others = [holder for holder in self._holders.get(name, []) if holder.holds]
        fresh = Holder(client, contender)
        for other in others:
            # Or this news is old: it has been on its way for longer than its connection has been there.
            late = self._is_away(other.client) or self._is_away(client)
            assert other.disputed or late, (
                f"{client.name} has got {name} while {other.client.name} holds it"
            )
            other.disputed = fresh.disputed = True
        self._holders[name] = [*others, fresh]

    def _is_away(self, client: Client) -> bool:
        """Whether the scheduler that is there now has been without the client for its time of grace."""
        scheduler = self._cluster.scheduler
        if scheduler.forgotten.get(client.name, -1.0) >= client.welcomed_at:
            return True  # it was silent for too long
        if client.away_since is None:
            return False
        life, moment = client.away_since
        if life != scheduler.life:
            return scheduler.clock.now() - scheduler.started >= LOCK_GRACE_SECONDS
        return scheduler.clock.now() - moment >= LOCK_SECONDS


def contend(witness: Witness, client: Client, name: str, waits: bool) -> None:
    """Ask for a lock; hold it for a while; or give up."""
    random = client.world.random

    had = False

    def wake() -> None:
        nonlocal had
        if contender.status == HOLDING:
            had = True
            witness.granted(client, contender)
            client.later(random.random() * random.choice(HOLD_SECONDS), concede)
        elif not had:
            excuses = {CANCELLED: True, LOST: client.was_alone, DENIED: not waits}
            assert excuses[contender.status], (client.name, name, contender.status)

    def concede() -> None:
        client.handle(Conceding(contender))

    def give_up() -> None:
        if contender.status == WAITING:
            concede()

    contender = Contender(name, waits, Watch(wake))
    client.world.say(client.name, "would like to have", name)
    client.handle(Contending(contender))
    if random.random() < IMPATIENT_SHARE:
        client.later(random.random() * PATIENCE_SECONDS, give_up)
