"""How long a worker or a client may be silent before the scheduler gives it up."""

from __future__ import annotations

from collections.abc import Iterable

from distributed.core.states import Client, Member, Worker

# A worker, on an open connection, if nobody has said otherwise. With a nanny, signs of life come from
# there, and a task that never releases the interpreter lock does not stop them.
SILENCE_SECONDS = 30.0
# Without one such a task is as silent as a machine that is off, so there is so many times as much patience.
WITHOUT_NANNY = 10.0
# A client whose connection broke may come back within this time and find its results.
CLIENT_GRACE_SECONDS = 30.0
# One that is silent on an open connection has so many times as long: most likely the session is busy, as
# with a computation that never releases the interpreter lock, and it will go on.
ON_OPEN_CONNECTION = 5.0
# What a client held or waited for so long after its connection broke: others stand still for it.
LOCK_SECONDS = 5.0
# Ticks come at least so often. If one is late by more, we have stood still ourselves, and so heard nobody.
TICK_SECONDS = 0.5
LATE_SECONDS = 1.0


class Patience:
    """`worker_timeout` and `client_timeout`, in seconds, take the place of the first and third of these."""

    def __init__(self, worker_timeout: float, client_timeout: float) -> None:
        self.worker_timeout = worker_timeout
        self.client_timeout = client_timeout
        self._ticked_at: float | None = None

    def tick(self, members: Iterable[Member], now: float) -> None:
        """Time has passed; if we have stood still, that is nobody's silence but ours."""
        late = 0.0 if self._ticked_at is None else now - self._ticked_at - TICK_SECONDS
        self._ticked_at = now
        if late <= LATE_SECONDS:
            return
        for member in members:
            member.last_seen = min(now, member.last_seen + late)
            if member.gone_since is not None:
                member.gone_since = min(now, member.gone_since + late)

    def has_ended(self, member: Worker | Client, now: float) -> bool:
        """Whether it has been silent for too long."""
        silence = now - member.last_seen
        if isinstance(member, Worker):
            return silence > self.worker_timeout * (1.0 if member.nanny else WITHOUT_NANNY)
        if gone_for(member, now) > self.client_timeout:
            return True
        return silence > self.client_timeout * ON_OPEN_CONNECTION


def gone_for(member: Member, now: float) -> float:
    """Seconds since its connection broke; 0 if it has one."""
    return 0.0 if member.gone_since is None else now - member.gone_since
