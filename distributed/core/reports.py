"""What workers report of their tasks and their data, and what that means for both."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from distributed.core.lifecycle import Lifecycle
from distributed.core.outgoing import free
from distributed.core.requests import Requests
from distributed.core.states import ACTIVE, MEMORY, PROCESSING, RELEASED, Task, Worker
from distributed.messages import (
    Abandoned,
    Done,
    Errors,
    Holds,
    Returned,
    Seceded,
    Started,
    Stuck,
    Unfetchable,
    Unknown,
)

# Weight of the newest task in the moving averages of how long tasks take.
NEWEST = 0.2


class Reports:
    """Takes them in. A report on an assignment that was given up counts for nothing."""

    def __init__(self, lifecycle: Lifecycle, requests: Requests) -> None:
        self.lifecycle = lifecycle
        self.queues = lifecycle.queues
        self.requests = requests

    # Tasks end

    def on_done(self, worker: Worker, message: Done) -> None:
        assigned, finish, recovery = worker.assigned, self.lifecycle.finish, self.queues.recovery
        average = worker.seconds
        for assignment, nbytes, microseconds, value, kind in message.items:
            task = assigned.pop(assignment, None)
            if task is None:
                self._arrived(worker, assignment, nbytes, kind)
            elif isinstance(task, Task):
                seconds = microseconds * 1e-6
                average += NEWEST * (seconds - average)
                function = task.function
                assert function is not None
                if function.seconds is None:
                    function.seconds = seconds
                else:
                    function.seconds += NEWEST * (seconds - function.seconds)
                finish(task, worker, nbytes, value, kind)
            elif recovery.is_at(worker, assignment, task):
                del recovery.at_work[task]
                self.adopt(worker, task, nbytes, assignment)
            else:
                self._discard_result(worker, task, assignment)
        worker.seconds = average
        self._ended(worker, (item[0] for item in message.items))

    def _ended(self, worker: Worker, assignments: Iterable[int]) -> None:
        worker.reported_at = self.queues.now
        stock = worker.stock
        if worker.seceded or worker.started or stock.taken or stock.strays:
            ended = tuple(assignments)
            worker.seceded.difference_update(ended)
            stock.give_back(ended)
            for assignment in ended:
                worker.started.pop(assignment, None)
        self.queues.relieved(worker)

    def _arrived(self, worker: Worker, assignment: int, nbytes: int, kind: bytes | None) -> None:
        """Scattered data is there, or a report is stale."""
        task = worker.incoming.pop(assignment, None)
        if task is not None:
            self.lifecycle.finish(task, worker, nbytes, None, kind)

    def _discard_result(self, worker: Worker, key: str, assignment: int) -> None:
        """A result came that had been given up; delete it, unless the worker has a newer."""
        task = self.lifecycle.tasks.get(key)
        if task is None or worker not in task.holders:
            free(worker, key, assignment)

    def on_errors(self, worker: Worker, message: Errors) -> None:
        for assignment, exception in message.items:
            task = worker.assigned.pop(assignment, None)
            if not isinstance(task, Task):
                continue
            self.lifecycle.fail_attempt(task, ("raised", exception))
        self._ended(worker, (item[0] for item in message.items))

    def on_unfetchable(self, worker: Worker, message: Unfetchable) -> None:
        for assignment, missing in message.items:
            task = worker.assigned.pop(assignment, None)
            if isinstance(task, Task):
                task.worker = None
            places = by_key(missing)
            for key, addresses in places.items():
                self.distrust(key, addresses, by=worker)
            for key in places:
                self.requests.not_copied(worker, key)
            if isinstance(task, Task) and task.state is PROCESSING:
                self.lifecycle.requeue(task)
        self._ended(worker, (item[0] for item in message.items))

    def on_unknown(self, worker: Worker, message: Unknown) -> None:
        """It has lost them on the way, or has been told to unload them."""
        worker.functions.difference_update(message.functions)

    def on_returned(self, worker: Worker, message: Returned) -> None:
        back = []
        for assignment in message.assignments:
            task = worker.assigned.pop(assignment, None)
            if not isinstance(task, Task):
                continue
            task.worker = None
            if all(dependency.state is MEMORY for dependency in task.dependencies):
                back.append(task)
            else:
                self.lifecycle.requeue(task)
        self.queues.returned(worker, back)
        self._ended(worker, message.assignments)

    def on_abandoned(self, worker: Worker, message: Abandoned) -> None:
        for assignment in message.assignments:
            task = worker.assigned.pop(assignment, None)
            if isinstance(task, Task):
                self.lifecycle.requeue(task)
        self._ended(worker, message.assignments)

    def on_seceded(self, worker: Worker, message: Seceded) -> None:
        worker.seceded.update(a for a in message.assignments if a in worker.assigned)
        self.queues.relieved(worker)

    def on_started(self, worker: Worker, message: Started) -> None:
        """Kept for what is not known yet, too: after a restart of ours its task may still be to come."""
        for assignment in message.assignments:
            if assignment in worker.assigned:
                worker.started.setdefault(assignment, self.queues.now)

    # Data comes and goes

    def on_holds(self, worker: Worker, message: Holds) -> None:
        for key, nbytes, version in message.items:
            self.adopt(worker, key, nbytes, version)
            task = self.lifecycle.tasks.get(key)
            if task is not None and worker in task.holders:
                self.requests.copied(worker, task)

    def on_stuck(self, worker: Worker, message: Stuck) -> None:
        for key, reason in message.items:
            task = self.lifecycle.tasks.get(key)
            if task is not None:
                self.queues.stuck.add(task, reason)
                self.queues.rebind(task)
                self.requests.task_stuck(task, reason)

    def adopt(self, worker: Worker, key: str, size: int, version: int) -> None:
        """The worker holds data, expected or not: count it, or have it deleted."""
        task = self.lifecycle.tasks.get(key)
        if task is not None and version < task.since:
            free(worker, key, version)  # everybody had let go of it
        elif task is not None and task.state is MEMORY:
            if worker not in task.holders:
                task.holders = (*task.holders, worker)
                worker.holds[task] = None
        elif task is not None and task.state in ACTIVE:
            self.lifecycle.take_over(task, worker, size)
        elif self._may_be_claimed(task, version):
            self.queues.recovery.keep(worker, key, size)
        else:
            free(worker, key, version)

    def _may_be_claimed(self, task: Task | None, version: int) -> bool:
        """Whether it is from an earlier life, and a client may be about to ask for it again."""
        known = task is not None and task.state is not RELEASED
        return self.queues.recovery.is_under_way and version <= self.queues.inherited and not known

    def distrust(self, key: str, addresses: Collection[str], by: Worker | None = None) -> None:
        """Somebody could not get the data from where we said it is."""
        task = self.lifecycle.tasks.get(key)
        if task is None or task.state is not MEMORY:
            return
        doubtful = [worker for worker in task.holders if worker.address in addresses]
        kept = () if len(doubtful) < len(task.holders) else _irreplaceable(task, by)
        for worker in doubtful:
            if worker not in kept:
                free(worker, key, self.queues.newest)
                if self.lifecycle.remove_holder(task, worker):
                    self.lifecycle.lose([task])


def by_key(missing: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The addresses at which each key could not be had."""
    places: dict[str, list[str]] = {}
    for key, address in missing:
        places.setdefault(key, []).append(address)
    return places


def _irreplaceable(task: Task, by: Worker | None) -> list[Worker]:
    """Those that hold what nobody can compute. Likely it is there, and only the way to it is cut; if not,
    the audit finds out."""
    if task.function is not None:
        return []
    return [worker for worker in task.holders if worker.gone_since is None and worker is not by]
