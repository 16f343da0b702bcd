"""The functions of a client: what they are, which of them the scheduler has, and which it may forget."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from distributed.core.entries import Group
from distributed.messages import Forget

# Functions without tasks that the scheduler keeps for us, so that a loop of submit and result does not
# send its function each time.
MAX_IDLE_FUNCTIONS = 256


class Functions:
    """Pickled functions by their ids, and how many entries refer to each."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.groups: dict[str, Group] = {}  # of their tasks without options
        self.sent: set[str] = set()  # that the scheduler has
        self._uses: dict[str, int] = {}
        self._idle: dict[str, None] = {}  # without uses, the one that has been so longest first

    def meet(self, id: str, blobs: Mapping[str, bytes]) -> None:
        """A function is about to be used; `blobs` has it, if it is new."""
        if id not in self.blobs:
            self.blobs[id] = blobs[id]
            self.groups[id] = Group(id, None)
            self._uses[id] = 0

    def unsent(self, ids: Collection[str]) -> dict[str, bytes]:
        """Those of them that have to be sent to the scheduler now."""
        if self.sent.issuperset(ids):
            return {}
        fresh = {id: self.blobs[id] for id in ids if id not in self.sent}
        self.sent.update(fresh)
        return fresh

    def use(self, id: str, count: int) -> None:
        """So many uses more."""
        self._uses[id] += count
        self._idle.pop(id, None)

    def disuse(self, id: str) -> list[Forget]:
        """One use less. Returns what to tell the scheduler."""
        self._uses[id] -= 1
        return self.spare(id)

    def spare(self, id: str) -> list[Forget]:
        """If nothing uses the function, forget those that have been idle longest."""
        if self._uses[id]:
            return []
        self._idle[id] = None
        if len(self._idle) <= MAX_IDLE_FUNCTIONS:
            return []
        oldest = next(iter(self._idle))
        del self._idle[oldest], self.blobs[oldest], self.groups[oldest], self._uses[oldest]
        if oldest not in self.sent:
            return []
        self.sent.discard(oldest)
        return [Forget((oldest,))]
