"""Ready tasks in the order in which they go: by priority, and by turns where several clients have work.

A client's own tasks go by their priorities. Between clients these say nothing, so each client has a lane
of its own, and the one for which workers were given the least so far (`Client.served`) is next. So nobody
waits behind all that another has submitted, nor behind its chain of follow-ups. Only the users' own
priorities are compared across clients.

Most tasks come in the order in which they go: the tasks of a `map`, of a loop of submits, the leaves of a
graph. Those stand in line. For the others there is a heap, which would take as long for each task as half
of all else that is done for it if a million stood in it.

Entries are deleted lazily: one whose task has left the state `ready`, or has got another recipe since, is
skipped when it comes up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush

from distributed.core.priority import Priority
from distributed.core.states import NO_OWNER, READY, Client, Task

Entry = tuple[Priority, Task]


def is_live(entry: Entry) -> bool:
    priority, task = entry
    return task.state is READY and priority is task.priority


def goes_before(entry: Entry, other: Entry) -> bool:
    """Whether the first of these is served before the second."""
    owner, rival = entry[1].owner, other[1].owner
    if owner is rival:
        return entry < other
    return (entry[0][0], owner.served, entry) < (other[0][0], rival.served, other)


class Lane:
    """Entries that go by their priorities alone."""

    __slots__ = ("heap", "line")

    def __init__(self) -> None:
        self.line: deque[Entry] = deque()
        self.heap: list[Entry] = []

    def push(self, task: Task) -> None:
        line, entry = self.line, (task.priority, task)
        if line and entry < line[-1]:
            heappush(self.heap, entry)
        else:
            line.append(entry)

    def head(self) -> Entry | None:
        """The first live entry; those before it are removed."""
        line, heap = self.line, self.heap
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
        line, heap = self.line, self.heap
        if line and not (heap and heap[0] < line[0]):
            line.popleft()
        else:
            heappop(heap)

    def __len__(self) -> int:
        return len(self.line) + len(self.heap)

    def __iter__(self) -> Iterator[Entry]:
        """All entries, live or not, in no order."""
        yield from self.line
        yield from self.heap


class Backlog(Lane):
    """The entries of all clients, the next one first.

    It is the lane of the client whose turn it is, so a queue with work of only one client costs no more
    than a lane does.
    """

    __slots__ = ("_others", "_owner")

    def __init__(self) -> None:
        super().__init__()
        self._owner = NO_OWNER
        self._others: dict[Client, Lane] = {}

    def push(self, task: Task) -> None:
        if task.owner is self._owner or self._admits(task.owner):
            Lane.push(self, task)
        else:
            self._others[task.owner].push(task)

    def _admits(self, owner: Client) -> bool:
        """Whether this lane is empty and can be the owner's; otherwise the owner has another lane."""
        if owner in self._others:
            return False
        if self._others or Lane.__len__(self):
            self._others[owner] = Lane()
            return False
        self._owner = owner
        return True

    def head(self) -> Entry | None:
        if self._others:
            self._take_turns()
        return Lane.head(self)

    def _take_turns(self) -> None:
        """Change places with the lane that is next; lanes without entries go."""
        first, owner = Lane.head(self), self._owner
        for other, lane in tuple(self._others.items()):
            entry = lane.head()
            if entry is None:
                del self._others[other]
            elif first is None or goes_before(entry, first):
                first, owner = entry, other
        if owner is not self._owner:
            lane = self._others.pop(owner)
            if Lane.__len__(self):
                self._others[self._owner] = mine = Lane()
                mine.line, mine.heap = self.line, self.heap
            self.line, self.heap, self._owner = lane.line, lane.heap, owner

    def __len__(self) -> int:
        size = len(self.line) + len(self.heap)
        return size + sum(map(len, self._others.values())) if self._others else size

    def __iter__(self) -> Iterator[Entry]:
        yield from Lane.__iter__(self)
        for lane in self._others.values():
            yield from lane
