"""Memory is short: the results that are wanted take more than the workers may use.

Results stay in the memory of workers, so what does not fit cannot be kept. When a nanny ends a worker for
its memory, and its results were most of that, making them again would only end the next one. They fail with
a text that names the sizes and the limits, and nobody is blamed for the death.
"""

from __future__ import annotations

from collections import Counter

from distributed.core.lifecycle import Lifecycle
from distributed.core.states import ACTIVE, Task, Worker

# Results that were at least this share of the limit of a worker are why it was ended, not what it ran.
HELD_SHARE = 0.5
# Memory is short if results are at least this share of the limits of all workers. The rest is what a
# process takes by itself, and what tasks use while they run.
FULL_SHARE = 0.6
# It is as well if the same result was lost this often with a worker that was ended for its memory: its size
# may not be what was estimated.
MAX_LOSSES = 3


class Shortage:
    """Decides which results are not made again. `log` has what happened, in words."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._losses: Counter[Task] = Counter()
        self.log: list[str] = []

    def unkeepable(self, worker: Worker, used: int) -> dict[Task, str]:
        """What is lost with this worker and cannot be kept, and why. Nothing if memory is not short, or if
        it was not ended for the bytes that it used (then these are 0)."""
        if not used:
            return {}
        lost = [task for task in worker.holds if task.holders == worker.alone]
        self._losses = Counter({t: n for t, n in self._losses.items() if self._is_known(t)})
        self._losses.update(lost)
        if not (lost and (self._is_full(worker) or self._is_repeated(lost))):
            return {}
        why = self._explain(worker, used)
        self.log.append(f"{len(lost)} results are lost, and not made again: {why}")
        return {task: f"{task.key} ({_shown(task.nbytes)}) is lost: {why}" for task in lost}

    def end(self, unkeepable: dict[Task, str]) -> None:
        """These have been lost with their worker, and are not to be made again."""
        for task, why in unkeepable.items():
            if task.state in ACTIVE:
                self._lifecycle.fail(task, ("memory", why))

    def _is_known(self, task: Task) -> bool:
        return self._lifecycle.tasks.get(task.key) is task

    def _is_full(self, worker: Worker) -> bool:
        held = sum(task.nbytes for task in worker.holds)
        total, limit = self._held_and_limit()
        return held >= HELD_SHARE * worker.memory_limit and total >= FULL_SHARE * limit

    def _is_repeated(self, lost: list[Task]) -> bool:
        return any(self._losses[task] >= MAX_LOSSES for task in lost)

    def _held_and_limit(self) -> tuple[int, int]:
        """Of all workers together, in bytes; copies count."""
        workers = self._lifecycle.queues.workers.values()
        held = sum(task.nbytes for worker in workers for task in worker.holds)
        return held, sum(worker.memory_limit for worker in workers)

    def _explain(self, worker: Worker, used: int) -> str:
        held, limit = self._held_and_limit()
        count = len(self._lifecycle.queues.workers)
        workers = f"{count} workers that we have" if count > 1 else "one worker that we have"
        return (
            f"memory is short. The results that are wanted so far take {_shown(held)}; the {workers} "
            f"may use {_shown(limit)} in all, for results and for what runs. Worker {worker.named} was "
            f"ended when it used {_shown(used)} of {_shown(worker.memory_limit)}. Let go of results, work "
            "in smaller pieces, or give workers more memory (--memory-limit, more machines)"
        )


def _shown(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB"
