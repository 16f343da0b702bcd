"""Work that cannot run, and the words in which its clients are told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from distributed.core.queues import Queues
from distributed.core.resources import in_words
from distributed.core.states import READY, Client, Task, Worker

# Workers may just be starting: nobody is told before work has waited for so long.
STUCK_SECONDS = 2.0


class Complaints:
    """Remembers since when tasks have waited for a worker that is not there."""

    def __init__(self) -> None:
        self._since: dict[Task, float] = {}
        self._told: set[Task] = set()

    def due(self, queues: Queues, now: float) -> Iterator[tuple[Client, str]]:
        """What to tell to whom. Each task is complained of once, those with one cause together."""
        stuck = dict(queues.no_worker)
        if not queues.workers:
            stuck.update((task, None) for _, task in queues.common if task.state is READY)
        self._since = {task: self._since.get(task, now) for task in stuck}
        self._told.intersection_update(stuck)
        late = [task for task, since in self._since.items() if now - since > STUCK_SECONDS]
        texts: dict[str, dict[Client, None]] = {}
        for task in late:
            if task not in self._told:
                self._told.add(task)
                clients = texts.setdefault(complaint(task, queues), {})
                clients.update(dict.fromkeys(clients_behind(task)))
        for text, clients in texts.items():
            for client in clients:
                yield client, text


def complaint(task: Task, queues: Queues) -> str:
    """Why no worker that is here may run the task."""
    needs = in_words(task.options.resources)
    if not queues.workers:
        how = f"dworker ADDRESS --resources '{needs}'" if needs else "dworker ADDRESS"
        return f"there is work but no worker: start one with `{how}`"
    if not needs:
        wanted = f"a worker named {', '.join(task.options.workers)}"
        present = ", ".join(worker.name for worker in queues.workers.values())
        return f"there is work for {wanted}, but there are only: {present}"
    named = task.options.workers if not task.options.loose else ()
    whom = f"worker named {', '.join(named)}" if named else "worker"
    present = ", ".join(map(_described, queues.workers.values()))
    return f"there is work that needs {needs}, but no {whom} has {needs}; there are only: {present}"


def _described(worker: Worker) -> str:
    resources = in_words(worker.stock.totals.items())
    return f"{worker.name} ({resources or 'no resources'})"


def clients_behind(task: Task) -> Iterable[Client]:
    """All clients that wait for the task or for what depends on it."""
    seen = {task: None}
    stack = [task]
    while stack:
        found = stack.pop()
        yield from found.wanters
        for dependent in found.dependents:
            if dependent not in seen:
                seen[dependent] = None
                stack.append(dependent)
