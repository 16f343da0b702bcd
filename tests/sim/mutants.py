"""Deliberate bugs: does the simulator find them? `python -m tests.sim.mutants` (`make mutants`) tells.

Each is a function that breaks one thing in the cores, or in what stands for a shell; it is undone after.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from distributed.core import lifecycle
from distributed.core.answers import Answers
from distributed.core.client import ClientCore
from distributed.core.client_events import Tell
from distributed.core.entrusted import Entrusted
from distributed.core.jobs import Job
from distributed.core.lifecycle import Lifecycle
from distributed.core.locks import Locks
from distributed.core.queues import Queues
from distributed.core.reports import Reports
from distributed.core.requests import Requests
from distributed.core.resources import Stock
from distributed.core.scheduler import SchedulerCore
from distributed.core.states import PROCESSING, Task, Worker
from distributed.core.stuck import Stuck
from distributed.core.worker import WorkerCore
from distributed.messages import Died, Submit
from tests.sim.client import Client
from tests.sim.run import run

MAX_SEEDS = 200

Replaced = tuple[Any, str, Any]  # an object, the name of a thing in it, and what takes its place


def no_attempt_check() -> Replaced:
    """The result of an attempt that had been given up counts for the one that runs now."""

    def discard_result(reports: Reports, worker: Worker, key: str) -> None:
        task = reports.lifecycle.tasks.get(key)
        if task is not None and task.state is PROCESSING:
            reports.lifecycle.finish(task, worker, 28, None, None)

    return Reports, "_discard_result", discard_result


def forgotten_location() -> Replaced:
    """A worker is lost; one of the results that lay there is still believed to."""

    def lose_worker(life: Lifecycle, worker: Worker, *rest: Any) -> None:
        if worker.holds:
            worker.holds.popitem()
        _lose_worker(life, worker, *rest)

    return Lifecycle, "lose_worker", lose_worker


def double_decrement() -> Replaced:
    """A dependent is counted down twice when an input is there."""

    def finish(life: Lifecycle, task: Task, *rest: Any) -> None:
        for dependent in task.dependents:
            if dependent.missing > 1:
                dependent.missing -= 1
        _finish(life, task, *rest)

    return Lifecycle, "finish", finish


def no_resubmit() -> Replaced:
    """After a reconnect the client says hello and submits nothing."""

    def on_connected(core: ClientCore, event: Any) -> None:
        _on_connected(core, event)
        for effect in core._effects:
            if isinstance(effect, Tell):
                effect.batch[:] = [said for said in effect.batch if type(said) is not Submit]

    return ClientCore, "_on_connected", on_connected


def lost_requeue() -> Replaced:
    """A task that was prefetched by a worker that dies is not run elsewhere."""

    def requeue(life: Lifecycle, task: Task) -> None:
        if task.state is PROCESSING and task.assignment % 3 == 0:
            task.worker = None
        else:
            _requeue(life, task)

    return Lifecycle, "requeue", requeue


def never_freed() -> Replaced:
    """Data that nobody needs stays on its worker."""

    def on_free(core: WorkerCore, message: Any) -> None:
        _on_free(core, message._replace(keys=message.keys[1:]))

    return WorkerCore, "_on_free", on_free


def freed_in_use() -> Replaced:
    """Data is deleted though a job there is about to use it."""

    def on_free(core: WorkerCore, message: Any) -> None:
        for key in message.keys:
            if key in core.held:
                core._delete(key)

    return WorkerCore, "_on_free", on_free


def no_comparison() -> Replaced:
    """A worker that comes back is believed to run all that it was given."""
    return SchedulerCore, "_compare_assigned", lambda core, worker, has: None


def silent_unfetchable() -> Replaced:
    """An input cannot be had, and nobody is told."""

    def give_back(core: WorkerCore, job: Job, missing: Any) -> None:
        core._remove(job)

    return WorkerCore, "_give_back", give_back


def no_acknowledgement() -> Replaced:
    """A worker gives a task up, and does not say so."""

    def on_drop(core: WorkerCore, message: Any) -> None:
        for assignment in message.assignments:
            if assignment in core.jobs:
                core._take_back(core.jobs[assignment])

    return WorkerCore, "_on_drop", on_drop


def failure_not_inherited() -> Replaced:
    """What waits for a task that has failed goes on waiting."""

    def fail(life: Lifecycle, task: Task, error: Any) -> None:
        dependents, task.dependents = task.dependents, ()
        _fail(life, task, error)
        task.dependents = dependents

    return Lifecycle, "fail", fail


def forgotten_queue() -> Replaced:
    """What stood in the queue of a worker is lost with it."""

    def leave(queues: Queues, worker: Worker) -> None:
        worker.queue = []
        _leave(queues, worker)

    return Queues, "leave", leave


def lost_release() -> Replaced:
    """Some releases are not said."""

    def on_dropped(core: ClientCore, event: Any) -> None:
        before = len(core._out)
        _on_dropped(core, event)
        if len(event.entries) > 1:
            del core._out[before:]

    return ClientCore, "_on_dropped", on_dropped


def deaf_waiters() -> Replaced:
    """Whoever waits is not woken if data was lost and is there again."""

    def on_pending(core: ClientCore, message: Any) -> None:
        _on_pending(core, message)
        for key in message.keys:
            if key in core.entries:
                core.entries[key].waiters = ()

    return ClientCore, "_on_pending", on_pending


def reused_numbers() -> Replaced:
    """The next life of the scheduler counts assignments and requests from the start again."""

    def init(core: SchedulerCore, *arguments: Any, **options: Any) -> None:
        _init(core, *arguments, **{**options, "first_assignment": 1})

    return SchedulerCore, "__init__", init


def no_lock_grace() -> Replaced:
    """A scheduler that takes another's place gives locks away at once, whoever may hold them."""

    def init(locks: Locks, grace: float) -> None:
        _locks_init(locks, 0.0)

    return Locks, "__init__", init


def forgotten_claim() -> Replaced:
    """Who says that he holds a lock is not believed."""
    return Locks, "_claim", lambda locks, client, name, number: None


def idle_strays() -> Replaced:
    """What a worker has been at since before our time is taken to use no resources."""

    def fits(stock: Stock, needs: Any) -> bool:
        strays, stock.strays = stock.strays, set()
        found = _fits(stock, needs)
        stock.strays = strays
        return found

    return Stock, "fits", fits


def lost_question() -> Replaced:
    """What was asked of a worker on a connection that broke is not asked again."""
    return Requests, "ask_again", lambda requests, worker: None


def calls_run_twice() -> Replaced:
    """A worker that is asked again does it again."""
    return Answers, "is_new", lambda answers, number: True


def unconfined() -> Replaced:
    """Whatever uses a result that is stuck may run anywhere."""
    return Stuck, "confine", lambda stuck, task: True


def blamed_bystanders() -> Replaced:
    """A worker dies, and all that it had been given is blamed, run or not."""

    def on_died(core: SchedulerCore, nanny: Any, message: Died) -> None:
        worker = core.members.workers.get(message.worker)
        if worker is not None:
            message = message._replace(running=tuple(worker.assigned))
        _on_died(core, nanny, message)

    return SchedulerCore, "_on_died", on_died


def follow_ups_wait() -> Replaced:
    """What goes on with earlier results waits for everything that was submitted before it."""
    return lifecycle, "follow_up", lambda priority, owner, inputs: priority


def old_news() -> Replaced:
    """What was said of a key before it was let go of counts when it is asked for anew."""

    def on_finished(core: ClientCore, message: Any) -> None:
        core._heard = core._taken_back
        _on_finished(core, message)

    return ClientCore, "_on_finished", on_finished


def late_release() -> Replaced:
    """A key that is let go of and asked for at once is asked for first."""

    def release(client: Client, kept: Any = ()) -> None:
        if not client._release_is_due:
            _release(client, kept)

    return Client, "_release", release


def any_version() -> Replaced:
    """The word to delete old data deletes what has come since."""

    def on_free(core: WorkerCore, message: Any) -> None:
        _on_free(core, message._replace(version=1 << 60))

    return WorkerCore, "_on_free", on_free


def lost_counts() -> Replaced:
    """Whoever waits for several has done with those that ended once, also if they are lost then."""

    def wait_again(core: ClientCore, lost: Any) -> None:
        counting, core._counting = core._counting, {}
        _wait_again(core, lost)
        core._counting = counting

    return ClientCore, "_wait_again", wait_again


def old_copies() -> Replaced:
    """Data that a worker turns out to hold counts, however old it is."""

    def adopt(reports: Reports, worker: Worker, key: str, size: int, version: int) -> None:
        _adopt(reports, worker, key, size, 1 << 60)

    return Reports, "adopt", adopt


def fired_with_its_client() -> Replaced:
    """When a client leaves, the work that it fired ends."""

    def lose_client(core: SchedulerCore, client: Any) -> None:
        core.fired.call_off([t.key for t in core.fired.keeper.wants if t.owner is client])
        _lose_client(core, client)

    return SchedulerCore, "_lose_client", lose_client


def forgotten_recipes() -> Replaced:
    """A worker does not tell a new scheduler what it has kept for it."""
    return Entrusted, "said", lambda entrusted: []


_finish, _requeue, _fail = Lifecycle.finish, Lifecycle.requeue, Lifecycle.fail
_lose_worker, _on_free = Lifecycle.lose_worker, WorkerCore._on_free
_leave, _init = Queues.leave, SchedulerCore.__init__
_on_connected = ClientCore._on_connected
_on_dropped, _on_pending = ClientCore._on_dropped, ClientCore._on_pending
_on_died = SchedulerCore._on_died
_locks_init, _fits = Locks.__init__, Stock.fits
_wait_again = ClientCore._wait_again
_lose_client = SchedulerCore._lose_client
_on_finished, _release, _adopt = ClientCore._on_finished, Client._release, Reports.adopt

MUTANTS: tuple[Callable[[], Replaced], ...] = (
    no_attempt_check, forgotten_location, double_decrement, no_resubmit, lost_requeue, never_freed,
    freed_in_use, no_comparison, silent_unfetchable, no_acknowledgement, failure_not_inherited,
    forgotten_queue, lost_release, deaf_waiters, reused_numbers, blamed_bystanders,
    no_lock_grace, forgotten_claim, idle_strays, lost_question, calls_run_twice, unconfined,
    follow_ups_wait,
    old_news, late_release, any_version, old_copies, lost_counts,
    fired_with_its_client, forgotten_recipes,
)  # fmt: skip


@contextmanager
def replaced(mutant: Callable[[], Replaced]) -> Iterator[None]:
    owner, name, substitute = mutant()
    original = getattr(owner, name)
    tables = _tables(owner, original)
    setattr(owner, name, substitute)
    for table, key in tables:
        table[key] = substitute
    try:
        yield
    finally:
        setattr(owner, name, original)
        for table, key in tables:
            table[key] = original


def _tables(owner: Any, original: Any) -> list[tuple[dict[Any, Any], Any]]:
    """Where the core's module has put the function, so that its name is not looked up."""
    module = owner if isinstance(owner, ModuleType) else sys.modules[owner.__module__]
    tables = [t for n, t in vars(module).items() if n in ("_HANDLERS", "_HELLOS")]
    return [(t, key) for t in tables for key, value in t.items() if value is original]


def seeds_to_find(mutant: Callable[[], Replaced], most: int = MAX_SEEDS) -> int | None:
    """How many seeds it takes, from the first; None if none of so many finds it."""
    with replaced(mutant):
        return next((seed + 1 for seed in range(most) if run(seed).failure), None)


def main() -> int:
    found = 0
    for mutant in MUTANTS:
        start = time.perf_counter()
        seeds = seeds_to_find(mutant)
        found += seeds is not None
        result = f"found after {seeds} seeds" if seeds else f"NOT FOUND in {MAX_SEEDS} seeds"
        print(f"{mutant.__name__:<24}{result:<26}{time.perf_counter() - start:6.1f} s", flush=True)
    print(f"{found} of {len(MUTANTS)} found")
    return 0 if found == len(MUTANTS) else 1


if __name__ == "__main__":
    sys.exit(main())
