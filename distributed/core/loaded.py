"""Which functions a worker has."""

from __future__ import annotations

from collections.abc import Iterable

from distributed.core.jobs import Job


class Loaded:
    """The scheduler may believe that nobody needs a function any more while a job here does, one that
    came from an earlier life of the scheduler or that was given up while it waited: it stays till then."""

    def __init__(self) -> None:
        self.functions: set[str] = set()
        self.dispensable: dict[str, None] = {}  # once no job uses them

    def learn(self, function: str) -> None:
        self.functions.add(function)
        self.dispensable.pop(function, None)

    def unload(self, jobs: Iterable[Job]) -> list[str]:
        """The functions that can be forgotten now; they are, here."""
        used = {job.function for job in jobs}
        unused = [function for function in self.dispensable if function not in used]
        for function in unused:
            del self.dispensable[function]
            self.functions.discard(function)
        return unused
