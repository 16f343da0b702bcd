"""Results that cannot leave their worker: locks, sockets, database handles, whatever cannot be pickled.

Nobody knows before another worker has asked for one and was told why it cannot have it (`messages.Stuck`).
From then on whatever uses it may run only where it lies, as if the caller had asked for that: its options
are replaced by stricter ones whenever it is queued, and everything else that looks for a place for it goes
by these. If there is no such worker it fails: nothing that could still happen would bring its inputs
together, and to compute them again would do twice what may have side effects.
"""

from __future__ import annotations

from distributed.core.placement import may_run
from distributed.core.resources import in_words
from distributed.core.states import Options, Task, Worker

# What is kept of why it cannot be pickled: it may show the whole object.
MAX_REASON = 500


class Stuck:
    """What is known to be stuck. Empty for nearly everybody: look at `reasons` before calling anything."""

    def __init__(self) -> None:
        self.reasons: dict[Task, str] = {}
        # Queued since the last sweep, and there was no worker for them.
        self.homeless: list[Task] = []

    def add(self, task: Task, reason: str) -> None:
        self.reasons[task] = reason[:MAX_REASON]

    def inputs(self, task: Task) -> list[Task]:
        """Those of its inputs that are stuck."""
        return [dependency for dependency in task.dependencies if dependency in self.reasons]

    def confine(self, task: Task) -> bool:
        """Let the task run only where its stuck inputs are. False if it may not run on any of these."""
        inputs = self.inputs(task)
        if not inputs:
            return True
        asked = task.options = _asked(task)
        homes = [worker for worker in _common_holders(inputs) if may_run(task, worker)]
        if asked.loose:
            wanted = [home for home in homes if not home.aliases.isdisjoint(asked.workers)]
            homes = wanted or homes
        if not homes:
            return False
        ids = tuple(home.id for home in homes)
        task.options = asked._replace(workers=ids, loose=False, asked=asked)
        return True

    def explain(self, task: Task) -> str:
        """Why the task cannot run anywhere."""
        places = "; ".join(self._describe(dependency) for dependency in self.inputs(task))
        return (
            f"{task.key} cannot run: no {_wanted(_asked(task))} has all of its inputs that cannot be "
            f"sent to another: {places}. Let these tasks and those that use their results run on the "
            "same worker, with workers=, or let them return what can be pickled"
        )

    def _describe(self, task: Task) -> str:
        places = ", ".join(f"{holder.name} at {holder.address}" for holder in task.holders)
        return f"{task.key}, on {places} ({self.reasons[task]})"


def _asked(task: Task) -> Options:
    """What its caller asked for."""
    return task.options.asked or task.options


def _common_holders(tasks: list[Task]) -> list[Worker]:
    first, *others = tasks
    return [w for w in first.holders if all(w in other.holders for other in others)]


def _wanted(options: Options) -> str:
    """The workers that the caller allows, in words."""
    words = "worker"
    if options.workers and not options.loose:
        words += f" among {', '.join(options.workers)}"
    if options.resources:
        words += f" with {in_words(options.resources)}"
    return words
