"""Ready tasks in the order of their priorities.

Most come in the order in which they go: the tasks of a `map`, of a loop of submits, the leaves of a graph.
Those stand in line. For the others there is a heap, which would take as long for each task as half of all
else that is done for it if a million stood in it.

Entries are deleted lazily: one whose task has left the state `ready`, or has got another recipe since, is
skipped when it comes up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush

from distributed.core.states import READY, Task

Entry = tuple[tuple[float, int, int], Task]


def is_live(entry: Entry) -> bool:
    priority, task = entry
    return task.state is READY and priority is task.priority


class Backlog:
    """A queue of entries, the most urgent one first."""

    __slots__ = ("_heap", "_line")

    def __init__(self) -> None:
        self._line: deque[Entry] = deque()
        self._heap: list[Entry] = []

    def push(self, task: Task) -> None:
        line, entry = self._line, (task.priority, task)
        if line and entry < line[-1]:
            heappush(self._heap, entry)
        else:
            line.append(entry)

    def head(self) -> Entry | None:
        """The first live entry; those before it are removed."""
        line, heap = self._line, self._heap
        while True:
            if line and not (heap and heap[0] < line[0]):
                if is_live(line[0]):
                    return line[0]
                line.popleft()
            elif heap:
                if is_live(heap[0]):
                    return heap[0]
                heappop(heap)
            else:
                return None

    def pop(self) -> None:
        """Remove the first entry."""
        line, heap = self._line, self._heap
        if line and not (heap and heap[0] < line[0]):
            line.popleft()
        else:
            heappop(heap)

    def __len__(self) -> int:
        return len(self._line) + len(self._heap)

    def __iter__(self) -> Iterator[Entry]:
        """All entries, live or not, in no order."""
        yield from self._line
        yield from self._heap
