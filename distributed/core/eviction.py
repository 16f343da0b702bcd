"""Ending tasks that run. A thread cannot be interrupted, so the process of its worker ends, and another
takes its place.

That is done if a client forces a cancellation, or if a task is over its time. What else the worker was at
runs elsewhere, what it held is computed again, and nobody is blamed: no death is counted, no retry.

The order goes to the worker's nanny, for a task that keeps the interpreter lock keeps its worker from
hearing anything. A worker without a nanny is told itself, and obeys when it can.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable

from distributed.core.lifecycle import Lifecycle
from distributed.core.members import Members
from distributed.core.states import PROCESSING, Nanny, Peer, Send, Task, Worker
from distributed.messages import Kill, StartAgain

# An assignment that was called off and has not been answered for so long is running: what has not started
# is given up at once. It is the time between two ticks.
FORCE_SECONDS = 0.25
# A scheduler whose tick comes so late was held up itself: it first reads what workers have said meanwhile.
LATE_SECONDS = 1.0
# Orders that are remembered until they are known to be carried out; more than a cluster has workers.
MAX_ORDERS = 10_000


class Evictions:
    """`lose(worker, reason)` takes a worker out of all tables, `loose` takes messages to those who are in
    none."""

    def __init__(
        self,
        members: Members,
        lifecycle: Lifecycle,
        lose: Callable[[Worker, str], None],
        loose: list[Send],
    ) -> None:
        # Workers that were told to end: id -> (nanny, reason). The order may be lost with a connection.
        self.orders: dict[str, tuple[str, str]] = {}
        self.forced: deque[tuple[float, Worker, int]] = deque()  # by when, where, which assignment
        self._sought: set[str] = set()
        self._members = members
        self._lifecycle = lifecycle
        self._lose = lose
        self._loose = loose
        self._ticked = 0.0

    def tick(self, now: float) -> None:
        late = now - self._ticked > LATE_SECONDS
        self._ticked = now
        if not late:
            if self._sought:
                self._seek(now)
            self._end_forced(now)
            self._end_overdue(now)

    # Forced cancellations

    def force(
        self, dropped: Iterable[tuple[Worker, int]], unknown: Collection[str], now: float
    ) -> None:
        """End these assignments, that were dropped just now, and those of these keys, that were dropped
        earlier and nobody wants any more."""
        self.forced += [(now + FORCE_SECONDS, *place) for place in dropped]
        self._sought.update(unknown)

    def _seek(self, now: float) -> None:
        """Where the keys that were dropped earlier run. Once for all that were named since the last tick,
        for it looks at all that workers have."""
        for worker in self._members.workers.values():
            for assignment, key in worker.assigned.items():
                if key in self._sought and not self._is_claimable(worker, assignment, key):
                    self.forced.append((now + FORCE_SECONDS, worker, assignment))
        self._sought.clear()

    def _is_claimable(self, worker: Worker, assignment: int, key: Task | str) -> bool:
        """Whether another client may be about to ask for it, after a restart of ours."""
        recovery = self._lifecycle.recovery
        return not isinstance(key, str) or recovery.is_at(worker, assignment, key)

    def _end_forced(self, now: float) -> None:
        waiting: list[tuple[float, Worker, int]] = []
        while self.forced and self.forced[0][0] <= now:
            _, worker, assignment = entry = self.forced.popleft()
            key = worker.assigned.get(assignment)
            if not isinstance(key, str) or not self._is_here(worker):
                continue
            if worker.gone_since is not None:
                waiting.append(entry)  # it may have answered, and will say so when it is back
            else:
                self.replace(worker, f"{key} was cancelled by force while it ran there")
        self.forced.extendleft(reversed(waiting))

    def _is_here(self, worker: Worker) -> bool:
        return self._members.workers.get(worker.id) is worker

    # Time limits

    def _end_overdue(self, now: float) -> None:
        for worker in tuple(self._members.workers.values()):
            if worker.started and worker.gone_since is None:
                overdue = [
                    task
                    for assignment, began in worker.started.items()
                    if isinstance(task := worker.assigned.get(assignment), Task)
                    and 0 < task.options.time_limit <= now - began
                ]
                if overdue:
                    self._time_out(worker, overdue)

    def _time_out(self, worker: Worker, overdue: list[Task]) -> None:
        for task in overdue:
            del worker.assigned[task.assignment]
            task.worker = None
        self.replace(worker, f"{overdue[0].key} was over its time there")
        for task in overdue:
            if task.state is PROCESSING:
                self._lifecycle.fail_attempt(task, ("timeout", _over_time(task, worker)))

    # Processes are replaced

    def replace(self, worker: Worker, reason: str) -> None:
        """End the worker's process and have a new one started."""
        while len(self.orders) >= MAX_ORDERS:
            del self.orders[next(iter(self.orders))]
        self.orders[worker.id] = (worker.nanny, reason)
        self._order(worker.id, worker.peer)
        self._lose(worker, reason)
        if worker.gone_since is None:
            self._members.doom(worker.peer)

    def _order(self, id: str, peer: Peer) -> None:
        name, reason = self.orders[id]
        nanny = self._members.nannies.get(name)
        if nanny is not None and nanny.gone_since is None:
            nanny.out.append(Kill([id], reason))
        else:
            self._loose.append(Send(peer, [StartAgain()]))

    def insist(self, id: str, peer: Peer) -> bool:
        """A worker says hello. If it should have ended, it is told again."""
        if id not in self.orders:
            return False
        self._order(id, peer)
        self._members.doom(peer)
        return True

    def remind(self, nanny: Nanny) -> None:
        """The nanny has a new connection: what was said on the last one may not have arrived."""
        for id, (name, reason) in self.orders.items():
            if name == nanny.id:
                nanny.out.append(Kill([id], reason))

    def ended(self, id: str) -> None:
        """The worker's process is no more."""
        self.orders.pop(id, None)


def _over_time(task: Task, worker: Worker) -> str:
    return (
        f"{task.key} ran for longer than its time limit of {task.options.time_limit:g} s on "
        f"{worker.named}, whose process was ended for that"
    )
