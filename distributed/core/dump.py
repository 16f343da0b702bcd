"""The whole state of the cores, in values that every format knows; that of the scheduler in parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from distributed.core.entries import Entry
from distributed.core.states import Client, Function, Task, Worker
from distributed.core.story import Record, name_of
from distributed.core.worker import WorkerCore

if TYPE_CHECKING:
    from distributed.core.scheduler import SchedulerCore

# Things in one part: some tens of milliseconds' work, in which nobody else is served.
PAGE = 2000
# Of a recipe, an error, a list of neighbours, so much is told.
MAX_TOLD = 200
# Keys that one worker names of what it holds: they travel in one message.
MAX_HELD = 100_000


def pages(core: SchedulerCore) -> Iterator[dict[str, Any]]:
    """Each part is {name of a section: what is in it}; a list goes on where the last part ended. Tasks
    are those that there are now, described when their part is made."""
    yield {"scheduler": _scheduler(core)}
    yield from _section("clients", map(_client, tuple(core.members.clients.values())))
    yield from _section("workers", (_worker(core, w) for w in tuple(core.queues.workers.values())))
    yield from _section("functions", map(_function, tuple(core.lifecycle.functions.values())))
    yield from _section("tasks", map(_task, tuple(core.lifecycle.tasks.values())))
    yield from _section("story", (_record(r, core.now) for r in core.story.records()))


def _section(name: str, things: Iterator[Any]) -> Iterator[dict[str, Any]]:
    while page := list(islice(things, PAGE)):
        yield {name: page}


def _scheduler(core: SchedulerCore) -> dict[str, Any]:
    queues, requests = core.queues, core.requests
    return {
        "epoch": core.epoch,
        "now": core.now,
        "repairs": core.lifecycle.repairs,
        "next_assignment": queues.next_assignment,
        "nannies": list(core.members.nannies),
        "common_queue": len(queues.common),
        "pools": [
            {"resources": dict(needs), "workers": list(names), "entries": len(pool)}
            for (needs, names), pool in queues.pools.table.items()
        ],
        "no_worker": _some(task.key for task in queues.no_worker),
        "open_workers": [worker.name for worker in queues.open],
        "stuck": {task.key: reason for task, reason in queues.stuck.reasons.items()},
        "locks": [
            {
                "name": name,
                "holder": lock.holder[0].id if lock.holder is not None else None,
                "waiting": [client.id for client, _ in lock.waiting],
            }
            for name, lock in core.locks.table.items()
        ],
        "requests": [
            *({"calls": [w.name for w in call.waiting]} for call in requests.collects.values()),
            *({"copies": len(copies.waiting)} for copies in requests.replications),
            *({"restart": restart.expected} for restart in requests.restarts),
        ],
    }


def _client(client: Client) -> dict[str, Any]:
    return {
        "id": client.id,
        "gone_since": client.gone_since,
        "wants": len(client.wants),
        "functions": len(client.functions),
        "unsettled": len(client.unsettled),
        "ahead": len(client.ahead),
    }


def _worker(core: SchedulerCore, worker: Worker) -> dict[str, Any]:
    account = core.audits.accounts.get(worker)
    answer = account.answer if account is not None else None
    return {
        "id": worker.id,
        "name": worker.name,
        "address": worker.address,
        "pid": worker.pid,
        "nanny": worker.nanny,
        "nthreads": worker.nthreads,
        "memory": worker.memory,
        "memory_limit": worker.memory_limit,
        "resources": worker.stock.totals,
        "resources_used": worker.stock.used,
        "gone_since": worker.gone_since,
        "last_seen": worker.last_seen,
        "reported_at": worker.reported_at,
        "assigned": {
            str(a): task.key if isinstance(task, Task) else f"called off: {task}"
            for a, task in worker.assigned.items()
        },
        "incoming": {str(a): task.key for a, task in worker.incoming.items()},
        "seceded": sorted(worker.seceded),
        "queue": len(worker.queue),
        "holds": len(worker.holds),
        "hands_work_to": worker.thief.name if worker.thief is not None else None,
        "answered_at": account.answered_at if account is not None and answer is not None else None,
        "answer": answer._asdict() if answer is not None else None,
    }


def _function(function: Function) -> dict[str, Any]:
    return {
        "id": function.id,
        "bytes": len(function.blob),
        "tasks": function.tasks,
        "clients": len(function.clients),
        "seconds": function.seconds,
    }


def _task(task: Task) -> dict[str, Any]:
    error = None
    if task.error is not None:
        how, what = task.error
        error = [how, what if isinstance(what, str) else f"{len(what)} pickled bytes"]
    return {
        "key": task.key,
        "state": task.state,
        "function": task.function.id if task.function is not None else None,
        "arguments": len(task.arguments),
        "priority": task.priority,
        "worker": task.worker.name if task.worker is not None else None,
        "assignment": task.assignment,
        "holders": [holder.name for holder in task.holders],
        "nbytes": task.nbytes,
        "missing": task.missing,
        "users": task.users,
        "dependencies": _some(dependency.key for dependency in task.dependencies),
        "dependents": _some(dependent.key for dependent in task.dependents),
        "wanted_by": [client.id for client in task.wanters],
        "retries": task.retries,
        "deaths": list(task.deaths),
        "workers": list(task.options.workers),
        "resources": dict(task.options.resources),
        "error": error,
    }


def _record(record: Record, now: float) -> dict[str, Any]:
    at, kind, who, column, keys = record
    return {
        "ago": round(now - at, 6),
        "what": kind if isinstance(kind, str) else kind.__name__,
        "who": name_of(who),
        "items": _some(str(item) for item in column),
        "keys": _some(keys),
    }


def describe_worker_core(core: WorkerCore) -> dict[str, Any]:
    """All that a worker knows."""
    held = list(core.held)
    return {
        "jobs": [
            {
                "assignment": job.assignment,
                "key": job.key,
                "inputs": _some(job.inputs),
                "missing": job.missing,
                "dropped": job.dropped,
                "seceded": job.seceded,
            }
            for job in core.jobs.values()
        ],
        "inputs": [
            {
                "key": wanted.key,
                "nbytes": wanted.nbytes,
                "from": wanted.peer.address if wanted.peer is not None else None,
                "under_way": wanted.peer is not None and wanted.key not in wanted.peer.queue,
                "tried": wanted.tried,
                "jobs": len(wanted.jobs),
            }
            for wanted in core.inputs.values()
        ],
        "holds": len(held),
        "held": held[:MAX_HELD],
    }


def describe_entry(entry: Entry) -> dict[str, Any]:
    """What a client knows of a key."""
    ending = entry.ending
    return {
        "key": entry.key,
        "status": entry.status,
        "futures": entry.handles,
        "dependents": entry.dependents,
        "dependencies": _some(dependency.key for dependency in entry.dependencies),
        "function": entry.group.function if entry.group is not None else None,
        "address": entry.address,
        "nbytes": entry.nbytes,
        "inline": len(entry.inline) if entry.inline is not None else None,
        "ending": f"{len(ending)} pickled bytes" if isinstance(ending, bytes) else ending,
        "waiters": len(entry.waiters),
    }


def _some(names: Iterable[str]) -> list[str]:
    names = list(names)
    if len(names) <= MAX_TOLD:
        return names
    return [*names[:MAX_TOLD], f"and {len(names) - MAX_TOLD} more"]
