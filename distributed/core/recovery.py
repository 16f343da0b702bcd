"""After the death of a scheduler: what its members bring to the next one, until that has found its place.

A client brings recipes, a worker data and work that it is at, in any order. So for a time

- data that nobody has asked for yet is kept (`unclaimed`),
- work that nobody has asked for yet goes on (`at_work`),
- who wants data that nobody has brought yet, and nobody can compute, waits for it (`expected`),

and at the very beginning nothing new is given to workers, lest they compute what another is about to bring.
"""

from __future__ import annotations

from distributed.core.states import Task, Worker

# It takes at least so long, however short others' patience: members redial at least every two seconds.
MIN_SECONDS = 5.0
# So long after the first arrival nothing is given to workers: the others redial meanwhile.
PAUSE_SECONDS = 2.0


def is_void(worker: Worker, assignment: int, key: str) -> bool:
    """Whether it counts no more: the worker's books have another entry for the assignment."""
    return worker.assigned.get(assignment) != key


class Recovery:
    """The tables of what has not found its place; all are empty in the ordinary life of a scheduler.

    So many `seconds` after the newest arrival from an earlier life it is let go, or is lost: the same time
    for which a member that is away would be waited for.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = max(MIN_SECONDS, seconds)
        self.unclaimed: dict[str, dict[Worker, int]] = {}  # key -> who has it, and its size
        # key -> an assignment of an earlier life, that may be void by now.
        self.at_work: dict[str, tuple[Worker, int]] = {}
        # Data without a recipe; no-worker while it is needed, for the worker that has it is not here.
        self.expected: dict[Task, None] = {}
        self.ends_at: float | None = None
        self.paused_until = 0.0

    @property
    def is_under_way(self) -> bool:
        return self.ends_at is not None

    def arrival(self, now: float, is_first_work: bool) -> None:
        """A member of an earlier life is here. `is_first_work`: nothing has been given to workers yet."""
        if is_first_work and not self.is_under_way:
            self.paused_until = now + PAUSE_SECONDS
        self.ends_at = now + self.seconds

    def is_over(self, now: float) -> bool:
        return self.ends_at is not None and now >= self.ends_at

    def end(self) -> None:
        self.unclaimed, self.at_work, self.expected = {}, {}, {}
        self.ends_at = None

    def keep(self, worker: Worker, key: str, nbytes: int) -> None:
        self.unclaimed.setdefault(key, {})[worker] = nbytes

    def let_go(self, worker: Worker) -> None:
        """The worker is gone, or about to say anew what it has."""
        if not self.is_under_way:
            return
        for key, found in tuple(self.unclaimed.items()):
            found.pop(worker, None)
            if not found:
                del self.unclaimed[key]
        self.at_work = {key: at for key, at in self.at_work.items() if at[0] is not worker}

    def go_on(self, worker: Worker, assignment: int, key: str) -> tuple[Worker, int] | None:
        """The worker goes on with the assignment. If another is at the same, the later assignment counts:
        the earlier had been called off, and word of that was lost. Returns the one to drop."""
        here, other = (worker, assignment), self.at_work.get(key)
        if other is not None and is_void(*other, key):
            other = None
        elif other is not None and other[1] > assignment:
            here, other = other, here
        self.at_work[key] = here
        return other

    def is_at(self, worker: Worker, assignment: int, key: str) -> bool:
        """Whether the worker may go on with the assignment, although nobody has asked for it yet."""
        return self.at_work.get(key) == (worker, assignment)
