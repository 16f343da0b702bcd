"""Work that could start: where it queues, and which worker gets what.

A ready task stands in one backlog, by priority: in the queue of the worker where its inputs lie, in the
common one if it has none, or in a pool if it asks for resources (`pools.py`). Work stays here until a
worker has room for it (late binding), so stealing is a pop from another backlog, and there is little to
take back when a worker dies.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from distributed.core.backlog import Backlog, goes_before, is_live
from distributed.core.outgoing import append
from distributed.core.placement import (
    UNKNOWN_SECONDS,
    choose,
    may_run,
    move_seconds,
    near,
    parcels_of,
    seconds_of,
    wait_seconds,
)
from distributed.core.pools import Pools
from distributed.core.recovery import Recovery, is_void
from distributed.core.states import NO_WORKER, PROCESSING, READY, Function, Task, Worker
from distributed.core.stuck import Stuck
from distributed.messages import Drop, Retract, Run

# A worker is given so much work ahead of its threads that it stays busy while its reports travel
# here and new work back. With the interpreter's lock in between (switch interval: 5 ms at each end)
# a round trip under load is about 10 ms.
PREFETCH_SECONDS = 0.020
MAX_PREFETCH = 2_000  # for the shortest tasks: more would only be more to take back
# Work is taken back from a worker only if it would otherwise wait there longer than the asking takes:
# by what such tasks take, or because the worker has been at something for so long.
RETRACT_SECONDS = 0.005
STALLED_SECONDS = 0.050
# Tasks whose durations are added up to know how long the others wait.
MAX_ESTIMATED = 50
# Queues looked at by an idle worker that looks for something to steal.
MAX_VICTIMS = 8
# Places named for each input; a worker that finds none of them alive says so and gets new ones.
MAX_ADDRESSES = 3


class Queues:
    """The common queue, the workers' own, the pools, and the workers with room."""

    def __init__(self, first_assignment: int, recovery: Recovery) -> None:
        self.workers: dict[str, Worker] = {}
        self.common = Backlog()
        self.pools = Pools()
        self.no_worker: dict[Task, None] = {}
        self.stuck = Stuck()
        # Workers that may take more, least recently fed first. One leaves when it is found full.
        self.open: dict[Worker, None] = {}
        self.backlogged: dict[Worker, None] = {}  # with entries in a queue of their own
        self.stocked: dict[Worker, None] = {}  # with more assigned than they have threads
        # What the client that was served last had been given before, see `Client.served`.
        self.turn = 0.0
        self.recovery = recovery
        self._first_assignment = self.next_assignment = first_assignment
        self.now = 0.0

    # Workers come and go

    def join(self, worker: Worker) -> None:
        self.workers[worker.id] = worker
        self.open[worker] = None
        self.pools.relieved(worker)
        waiting, self.no_worker = self.no_worker, {}
        for task in waiting:
            self.push(task)

    def leave(self, worker: Worker) -> None:
        """The worker's own queue moves to others'; what was assigned to it is its caller's business."""
        del self.workers[worker.id]
        self.suspend(worker)
        self.backlogged.pop(worker, None)
        entries, worker.queue = worker.queue, Backlog()
        for entry in entries:
            if is_live(entry):
                self.push(entry[1])
        if worker.stock.totals:
            self.pools.seekers.discard(worker)
            for task in self.pools.orphans(self.workers.values()):
                self._set_aside(task)

    def suspend(self, worker: Worker) -> None:
        """Assign nothing to it: its connection is broken. Others may take what stands in its queue."""
        for table in (self.open, self.stocked):
            table.pop(worker, None)
        for other in self.workers.values():
            if other.thief is worker:
                other.thief = None

    def relieved(self, worker: Worker) -> None:
        """The worker has fewer assignments than before."""
        if worker.gone_since is None:
            self.open[worker] = None
        if worker.busy <= worker.nthreads:
            self.stocked.pop(worker, None)
        if self.pools.table:
            self.pools.relieved(worker)

    # Tasks come

    def push(self, task: Task) -> None:
        """Queue a task whose inputs are all in memory; its state becomes ready or no-worker."""
        if task.owner.served < self.turn:
            # A client without work for a while must not make up for that at the cost of the others.
            task.owner.served = self.turn
        if self.recovery.at_work and self._resume(task):
            return
        if self.stuck.reasons and not self._confine(task):
            self._set_aside(task)
            return
        options = task.options
        if options.resources:
            if self.pools.push(task, self.workers.values()):
                task.state = READY
            else:
                self._set_aside(task)
        elif options.workers:
            eligible = [worker for worker in self.workers.values() if may_run(task, worker)]
            if options.loose:
                eligible = [w for w in eligible if not w.aliases.isdisjoint(options.workers)]
            if not eligible and not options.loose:
                self._set_aside(task)
                return
            self._push_to(choose(parcels_of(task), eligible, self.now), task)
        elif task.dependencies:
            parcels = parcels_of(task)
            candidates = near(parcels)
            for worker in islice(self.open, 1):
                candidates[worker] = None
            present = [w for w in candidates if w.gone_since is None]
            self._push_to(choose(parcels, present, self.now), task)
        else:
            task.state = READY
            self.common.push(task)

    def _confine(self, task: Task) -> bool:
        """Let it run only where its stuck inputs are; false if it cannot run there."""
        if not self.stuck.inputs(task):
            return True
        # A new tuple: its entries in queues of other workers are dead.
        task.priority = (*task.priority,)
        if self.stuck.confine(task):
            return True
        self.stuck.homeless.append(task)
        return False

    def rebind(self, task: Task) -> None:
        """The task is stuck, and where is news: so is where its dependents may run."""
        for dependent in task.dependents:
            if dependent.state is READY or dependent.state is NO_WORKER:
                self.discard(dependent)
                self.push(dependent)
            elif dependent.state is PROCESSING:
                # If it is there, it must not be taken elsewhere; if not, it will come back.
                self.stuck.confine(dependent)

    def _resume(self, task: Task) -> bool:
        """Whether a worker has been at it since an earlier life of the scheduler."""
        worker, assignment = self.recovery.at_work.pop(task.key, (None, 0))
        if worker is None or is_void(worker, assignment, task.key):
            return False
        if assignment < task.since:  # it is asked for anew
            append(worker, Drop, assignment)
            return False
        # It may still have what it was given before it was called off.
        worker.stock.give_back((assignment,))
        if task.options.resources:
            worker.stock.take(assignment, task.options.resources)
        self._book(worker, task, assignment)
        if task.options.resources:
            self.pools.prune(task)
        return True

    def _push_to(self, worker: Worker | None, task: Task) -> None:
        task.state = READY
        if worker is None:
            self.common.push(task)
        else:
            worker.queue.push(task)
            self.backlogged[worker] = None

    def _set_aside(self, task: Task) -> None:
        task.state = NO_WORKER
        self.no_worker[task] = None

    def discard(self, task: Task) -> None:
        """The task does not wait for a worker any more."""
        self.no_worker.pop(task, None)

    # Work is handed out

    @property
    def has_assigned(self) -> bool:
        """Whether any work has been given out yet."""
        return self.next_assignment != self._first_assignment

    @property
    def inherited(self) -> int:
        """The largest number that an assignment of an earlier life may have had."""
        return self._first_assignment - 1

    @property
    def newest(self) -> int:
        """The largest number that an assignment has had."""
        return self.next_assignment - 1

    def new_assignment(self) -> int:
        self.next_assignment += 1
        return self.next_assignment - 1

    def assign(self, now: float) -> None:
        """Give work to all workers that have room: a task for each free thread, then prefetch."""
        self.now = now
        if now < self.recovery.paused_until:
            return
        for prefetch in (False, True):
            while self._may_find_work and self._assign_round(prefetch):
                pass

    @property
    def _may_find_work(self) -> bool:
        return bool(self.common or self.backlogged or self.pools.seekers)

    def _assign_round(self, prefetch: bool) -> bool:
        """Give every open worker its share; true if anything was given."""
        given = False
        share = 1 + len(self.common) // (len(self.open) or 1) if prefetch else 1
        # The one that was fed last comes first: one task at a time stays where it is warm.
        for worker in reversed(tuple(self.open)):
            if not (self.common or self.backlogged):
                if not self.pools.seekers:
                    break
                if worker not in self.pools.seekers:
                    continue
            if not prefetch and worker.busy >= worker.nthreads:
                continue
            if self._feed(worker, share):
                given = True
        return given

    def _feed(self, worker: Worker, share: int) -> bool:
        """Give the worker up to so many of the most urgent tasks, while it has room; true if any."""
        function: Function | None = None
        room = 0  # for so many more of that function
        for given in range(share):
            best = self._best(worker)
            if best is None:
                task = self._steal(worker)
                if task is None:
                    return given > 0
            else:
                task, queue = best
                if not room or task.function is not function or task.deaths:
                    room, function = _room(worker, task), task.function
                    if not room:
                        self.open.pop(worker, None)
                        return given > 0
                room -= 1
                queue.pop()
                if not queue and queue is worker.queue:
                    self.backlogged.pop(worker, None)
            self._assign_to(worker, task)
        return True

    def _best(self, worker: Worker) -> tuple[Task, Backlog] | None:
        """The most urgent of the tasks for the worker, and the queue that it is the first of."""
        own, common = worker.queue.head(), self.common.head()
        if own is None:
            self.backlogged.pop(worker, None)
        queue = worker.queue
        if own is None or (common is not None and goes_before(common, own)):
            own, queue = common, self.common
        seekers = self.pools.seekers
        if seekers and worker in seekers:
            pool = self.pools.best(worker)
            if pool is not None and (own is None or goes_before(pool[0], own)):
                own, queue = pool
        return None if own is None else (own[1], queue)

    def _steal(self, thief: Worker) -> Task | None:
        """Take a task from another worker's queue if it can start here sooner, all moving included."""
        if thief.busy >= thief.nthreads:
            return None
        for victim in tuple(islice(self.backlogged, MAX_VICTIMS)):
            entry = victim.queue.head()
            if entry is None:
                self.backlogged.pop(victim, None)
            elif _better_at(thief, victim, entry[1], self.now) and _room(thief, entry[1]):
                victim.queue.pop()
                return entry[1]
        return None

    def _assign_to(self, worker: Worker, task: Task) -> None:
        function = task.function
        assert function is not None, "scattered data is never queued"
        assignment = self.new_assignment()
        if task.options.resources:
            worker = self._nearest(worker, task)
            worker.stock.take(assignment, task.options.resources)
            self.pools.prune(task)
        self._book(worker, task, assignment)
        owner, seconds = task.owner, function.seconds
        if owner.served > self.turn:
            self.turn = owner.served
        owner.served += UNKNOWN_SECONDS if seconds is None else seconds
        # Back to the end of the line.
        self.open.pop(worker, None)
        self.open[worker] = None
        inputs = _inputs(task, worker) if task.dependencies else None
        item = (assignment, task.key, task.arguments, inputs, bool(task.wanters))
        timed = task.options.time_limit > 0
        last = worker.out[-1] if worker.out else None
        if type(last) is Run and last.function == function.id and last.timed is timed:
            last.items.append(item)  # type: ignore[union-attr]
            return
        blob = None
        if function.id not in worker.functions:
            worker.functions.add(function.id)
            blob = function.blob
        worker.out.append(Run(function.id, blob, timed, [item]))

    def _book(self, worker: Worker, task: Task, assignment: int) -> None:
        busy = worker.busy
        if not busy:
            worker.reported_at = self.now
        elif busy >= worker.nthreads:
            self.stocked[worker] = None
        task.state = PROCESSING
        task.worker = worker
        task.assignment = assignment
        worker.assigned[assignment] = task

    def _nearest(self, worker: Worker, task: Task) -> Worker:
        """Where to run a task that the worker has taken from a pool: rather than there on a worker that
        could start it as well, and that its caller wishes for or that has its inputs."""
        parcels = parcels_of(task)
        if task.options.loose:
            wanted = task.options.workers
            better = [w for w in self.open if not w.aliases.isdisjoint(wanted)]
        else:
            better = list(near(parcels))
        free = [w for w in better if self._could_start(w, task)]
        if not task.options.loose or not free:
            free.append(worker)
        return choose(parcels, free, self.now) or worker

    def _could_start(self, worker: Worker, task: Task) -> bool:
        """Whether it has a thread free for the task, and the resources."""
        return (
            worker in self.open
            and worker.busy < worker.nthreads
            and may_run(task, worker)
            and worker.stock.fits(task.options.resources)
            and _room(worker, task) > 0
        )

    # Work is taken back

    def retract(self, now: float) -> None:
        """Ask workers that hold a stock for some of it, where a thread stands idle with nothing here
        for it to do."""
        if not self.stocked or self.common or self.backlogged:
            return
        for thief in tuple(self.open):
            if not self.stocked:
                return
            if thief.busy < thief.nthreads:
                self._retract_for(thief, now)

    def _retract_for(self, thief: Worker, now: float) -> None:
        for victim in tuple(self.stocked):
            if victim.thief is not None or victim is thief or not _keeps_waiting(victim, now):
                continue
            surplus = [
                task
                for assignment, task in islice(victim.assigned.items(), victim.nthreads, None)
                if isinstance(task, Task) and assignment not in victim.begun
            ]
            wanted = [task for task in surplus if _better_at(thief, victim, task, now)]
            share = wanted[len(wanted) // 2 :]
            if share:
                victim.thief = thief
                # Most come back; what does not has begun, perhaps before others that wait for inputs.
                victim.begun = {a for a in victim.begun if a in victim.assigned}
                victim.begun.update(task.assignment for task in share)
                victim.out.append(Retract([task.assignment for task in share]))
                return

    def returned(self, victim: Worker, tasks: Iterable[Task]) -> None:
        """The victim has handed these back (they are ready again): they go to whom they were for. What else
        it was asked for has begun, and it is not asked for that again."""
        thief, victim.thief = victim.thief, None
        for task in tasks:
            if thief is not None and not task.options.resources and may_run(task, thief):
                self._push_to(thief, task)
            else:
                self.push(task)


def _room(worker: Worker, task: Task) -> int:
    """How many tasks like this one to assign now; others are kept here until the worker has done more.

    A task under which a worker has died runs alone: if another dies, it is clear who did it.
    """
    busy = worker.busy
    if busy == 0:
        return 1
    if task.deaths or _runs_suspect(worker):
        return 0
    return max(0, worker.nthreads + _prefetch(worker, task) - busy)


def _runs_suspect(worker: Worker) -> bool:
    first = next(iter(worker.assigned.values()))
    return isinstance(first, Task) and bool(first.deaths)


def _keeps_waiting(worker: Worker, now: float) -> bool:
    """Whether what the worker has not started yet is better taken elsewhere."""
    if now - worker.reported_at > STALLED_SECONDS:
        return True
    tasks = islice(worker.assigned.values(), MAX_ESTIMATED)
    return sum(_seconds(task) for task in tasks) >= RETRACT_SECONDS * worker.nthreads


def _seconds(assigned: Task | str) -> float:
    return seconds_of(assigned.function) if isinstance(assigned, Task) else 0.0


def _prefetch(worker: Worker, task: Task) -> int:
    """How many tasks of this kind the worker may hold beyond its threads: at least one, so that it need
    not wait for the round trip. No more than that behind a task that takes long."""
    ahead = next(iter(worker.assigned.values()))
    if _seconds(ahead) >= PREFETCH_SECONDS:
        return 1
    seconds = seconds_of(task.function)
    return max(1, min(MAX_PREFETCH, int(PREFETCH_SECONDS / max(seconds, 1e-6))))


def _better_at(thief: Worker, victim: Worker, task: Task, now: float) -> bool:
    return (
        may_run(task, thief)
        and thief.stock.fits(task.options.resources)
        and move_seconds(parcels_of(task), thief) < wait_seconds(victim, now)
    )


def _inputs(task: Task, worker: Worker) -> list[tuple[str, int, tuple[str, ...], int]]:
    """(key, nbytes, addresses, since) of each input; no addresses for what the worker holds itself."""
    found = []
    for dependency in task.dependencies:
        holders = dependency.holders
        if worker in holders:
            addresses: tuple[str, ...] = ()
        elif len(holders) == 1:
            addresses = holders[0].addresses
        else:
            addresses = tuple([holder.address for holder in holders[:MAX_ADDRESSES]])
        found.append((dependency.key, dependency.nbytes, addresses, dependency.since))
    return found
