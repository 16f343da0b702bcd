"""Which task each thread of a worker is at, in a file that outlives the process.

Whoever has ended a process cannot say so any more. So each thread writes the number of its assignment
into a slot of a file that its nanny has open too, and the nanny reads it once the process has ended: those
tasks may be why, and no others.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import MutableSequence

# A worker has a slot for each of its threads (at most codec.MAX_THREADS), and one for each task that has
# given its thread away while it waits for others. What runs beyond so many is never blamed. 128 KiB.
SLOTS = 16_383

_WORD = 8  # bytes of an assignment
_SIZE = (1 + SLOTS) * _WORD


class Running:
    """The slots in the file at `path`, which is made if it is not there; without one, in memory.

    Raises OSError if that cannot be.
    """

    def __init__(self, path: str | None = None) -> None:
        buffer = bytearray(_SIZE) if path is None else _mapped(path)
        # The first word says whether the end of the process is ordered.
        self._words: MutableSequence[int] = memoryview(buffer).cast("Q")
        self._free: list[int] = []
        self._taken = 0  # at one time, at most
        self._lock = threading.Lock()

    # In the worker

    def take(self) -> tuple[MutableSequence[int], int]:
        """A slot for a thread: where it writes its assignment, and 0 when that has ended."""
        with self._lock:
            if self._free:
                return self._words, self._free.pop()
            if self._taken == SLOTS:
                return [0], 0
            self._taken += 1
            return self._words, self._taken

    def give_back(self, slot: tuple[MutableSequence[int], int]) -> None:
        """The thread ends."""
        words, number = slot
        words[number] = 0
        if words is self._words:
            with self._lock:
                self._free.append(number)

    def absolve(self) -> None:
        """The process is about to end as somebody wants it to. No task has done that."""
        self._words[0] = 1

    # In the nanny

    def assignments(self) -> list[int]:
        """Those that were running when the process ended."""
        return [] if self._words[0] else [word for word in self._words if word]


def _mapped(path: str) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size < _SIZE:
            # Written, not only made so long: a store into a page that finds no room on the disk kills.
            os.pwrite(descriptor, bytes(_SIZE), 0)
        return mmap.mmap(descriptor, _SIZE)
    finally:
        os.close(descriptor)
