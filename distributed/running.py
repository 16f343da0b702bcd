"""Which task each thread of a worker is at, in a file that outlives the process.

Whoever has ended a process cannot say so any more. So each thread writes the number of its assignment
into a slot of a file that its nanny has open too, and the nanny reads it once the process has ended: those
tasks may be why, and no others. So may a result that was just being pickled: its key is there as well.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections.abc import MutableSequence

# A worker has a slot for each of its threads (at most codec.MAX_THREADS), and one for each task that has
# given its thread away while it waits for others. What runs beyond so many is never blamed. 128 KiB.
SLOTS = 16_383

_WORD = 8  # bytes of an assignment
_SLOTS_SIZE = (1 + SLOTS) * _WORD
# Of the key of a result, in UTF-8 and after its length. A longer key is never blamed.
_KEY_SIZE = 4096
_SIZE = _SLOTS_SIZE + _WORD + _KEY_SIZE


class Running:
    """The slots in the file at `path`, which is made if it is not there; without one, in memory.

    Raises OSError if that cannot be.
    """

    def __init__(self, path: str | None = None) -> None:
        buffer = bytearray(_SIZE) if path is None else _mapped(path)
        view = memoryview(buffer)
        # The first word says whether the end of the process is ordered.
        self._words: MutableSequence[int] = view[:_SLOTS_SIZE].cast("Q")
        self._key_length: MutableSequence[int] = view[_SLOTS_SIZE : _SLOTS_SIZE + _WORD].cast("Q")
        self._key: memoryview = view[_SLOTS_SIZE + _WORD :]
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

    def pickles(self, key: str) -> None:
        """One thread is about to pickle the result of this key; of none if it is empty."""
        name = key.encode()
        self._key_length[0] = 0
        if len(name) <= _KEY_SIZE:
            self._key[: len(name)] = name
            self._key_length[0] = len(name)

    def absolve(self) -> None:
        """The process is about to end as somebody wants it to. No task has done that."""
        self._words[0] = 1

    # In the nanny

    def assignments(self) -> list[int]:
        """Those that were running when the process ended."""
        return [] if self._words[0] else [word for word in self._words if word]

    def pickled(self) -> str:
        """The key of the result that was being pickled when the process ended; empty if none was."""
        return "" if self._words[0] else bytes(self._key[: self._key_length[0]]).decode()


def _mapped(path: str) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Written, not only made this long: a store into a page that finds no room on the disk kills. Where
        # there is room for a part of it, that is what is written.
        is_short = os.fstat(descriptor).st_size < _SIZE
        if is_short and os.pwrite(descriptor, bytes(_SIZE), 0) < _SIZE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return mmap.mmap(descriptor, _SIZE)
    finally:
        os.close(descriptor)
