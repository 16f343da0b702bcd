"""The ready tasks that ask for resources.

All tasks that ask for the same stand in one backlog, a *pool*. If a worker may run the first of a pool and
has free what that asks for, the same is true of all others in it: so a worker that looks for work looks at
the first of each pool, however many wait behind. That takes time by the number of different requirements,
of which there should be few. A worker that has found nothing looks again when something has been returned
to it, or there is a new pool: until then nothing can fit that did not.

What fits overtakes what does not: nothing is kept free for a task that asks for more than is left. To
keep it would idle what others could use; and if those that have taken the rest wait for such others, as
tasks do that submit tasks, it would be for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from distributed.core.backlog import Backlog, Entry, goes_before, is_live
from distributed.core.placement import allows, may_run
from distributed.core.resources import Needs
from distributed.core.states import Options, Task, Worker

Requirement = tuple[Needs, tuple[str, ...]]


class Pools:
    """Ready tasks that ask for resources. There is a worker for each that may run it, free or not."""

    def __init__(self) -> None:
        self.table: dict[Requirement, Backlog] = {}
        # Workers that may find something. None if there are no pools.
        self.seekers: set[Worker] = set()

    def push(self, task: Task, workers: Collection[Worker]) -> bool:
        """False, and nothing has changed, if none of the workers may run it."""
        requirement = requirement_of(task.options)
        pool = self.table.get(requirement)
        if pool is None:
            able = [worker for worker in workers if may_run(task, worker)]
            if not able:
                return False
            self.seekers.update(able)
            pool = self.table[requirement] = Backlog()
        pool.push(task)
        return True

    def best(self, worker: Worker) -> tuple[Entry, Backlog] | None:
        """The most urgent of the entries that could start on the worker, and its pool."""
        fits = worker.stock.fits
        best: tuple[Entry, Backlog] | None = None
        for requirement, pool in tuple(self.table.items()):
            entry = pool.head()
            if entry is None:
                self._remove(requirement)
            elif best is not None and goes_before(best[0], entry):
                continue
            elif fits(requirement[0]) and allows(entry[1], worker):
                best = (entry, pool)
        if best is None:
            self.seekers.discard(worker)
        return best

    def _remove(self, requirement: Requirement) -> None:
        del self.table[requirement]
        if not self.table:
            self.seekers.clear()

    def relieved(self, worker: Worker) -> None:
        """The worker may have more free than before."""
        if self.table and worker.stock.totals:
            self.seekers.add(worker)

    def prune(self, task: Task) -> None:
        """The task has left its pool."""
        requirement = requirement_of(task.options)
        pool = self.table.get(requirement)
        if pool is not None and pool.head() is None:
            self._remove(requirement)

    def orphans(self, workers: Collection[Worker]) -> Iterator[Task]:
        """Those that none of the workers that are left may run; they are removed."""
        for requirement, pool in tuple(self.table.items()):
            first = pool.head()
            if first is None:
                self._remove(requirement)
            elif not any(may_run(first[1], worker) for worker in workers):
                self._remove(requirement)
                yield from (entry[1] for entry in pool if is_live(entry))


def requirement_of(options: Options) -> Requirement:
    return options.resources, () if options.loose else options.workers
