"""What is true of the scheduler's tables between any two events. The tests check all of it each time.

Every index is walked in both directions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from distributed.core.backlog import Entry, is_live
from distributed.core.placement import may_run
from distributed.core.pools import requirement_of
from distributed.core.resources import TOLERANCE, added_up
from distributed.core.scheduler import SchedulerCore
from distributed.core.states import (
    ACTIVE,
    ERRED,
    FORGOTTEN,
    MEMORY,
    NO_OWNER,
    NO_WORKER,
    PROCESSING,
    READY,
    RELEASED,
    UNASSIGNED,
    WAITING,
    Task,
    Worker,
)


def check(core: SchedulerCore) -> None:
    """Raises AssertionError, with the record concerned, if an invariant does not hold."""
    _check_graph(core)
    _check_states(core)
    _check_needs(core)
    for worker in core.members.workers.values():
        _check_worker(core, worker)
        _check_stock(worker)
    _check_members(core)
    _check_functions(core)
    _check_queues(core)
    _check_locks(core)
    _check_pools(core)
    _check_places(core)
    _check_stuck(core)
    _check_recovery(core)
    _check_fired(core)
    for task in core.lifecycle.departures:
        assert core.lifecycle.tasks.get(task.key) is task, task


def _check_graph(core: SchedulerCore) -> None:
    tasks = core.lifecycle.tasks
    known = frozenset(tasks.values())
    ahead = sum((client.ahead for client in core.members.clients.values()), Counter())
    for key, task in tasks.items():
        assert task.key == key, task
        assert known.issuperset(task.dependencies), (task, task.dependencies)
        for dependency in task.dependencies:
            assert task in dependency.dependents, (task, dependency)
        users = ahead[task]
        for dependent in task.dependents:
            assert dependent in known, (task, dependent)
            assert task in dependent.dependencies, (task, dependent)
            users += dependent.state in ACTIVE
        assert task.users == users, (task, task.users, users)


def _check_states(core: SchedulerCore) -> None:
    queues = core.queues
    expected, no_worker = queues.recovery.expected, queues.no_worker
    queued = frozenset(task for _, task in filter(is_live, _entries(core)))
    for task in core.lifecycle.tasks.values():
        state = task.state
        assert state is not FORGOTTEN, task
        assert (state is MEMORY) == bool(task.holders), task
        assert (state is ERRED) == (task.error is not None), task
        assert (state is PROCESSING) == (task.worker is not None), task
        waits = task in no_worker or (task in expected and bool(task.wanters or task.users))
        assert (state is NO_WORKER) == waits, task
        if state is WAITING:
            _check_missing(task)
        else:
            assert task.missing == 0, task
        if state is READY or state is NO_WORKER:
            assert all(d.state is MEMORY for d in task.dependencies), task
        if state is READY:
            assert task in queued, task
        if state is NO_WORKER and task not in expected:
            assert not any(may_run(task, worker) for worker in queues.workers.values()), task


def _check_missing(task: Task) -> None:
    missing = [d for d in task.dependencies if d.state is not MEMORY]
    assert task.missing == len(missing) > 0, (task, task.missing, missing)
    assert not any(d.state in (RELEASED, ERRED) for d in missing), (task, missing)


def _entries(core: SchedulerCore) -> Iterator[Entry]:
    """Of all queues: what asks for resources stands in the right one, see `_check_pools`."""
    yield from core.queues.common
    for worker in core.queues.workers.values():
        yield from worker.queue
    for pool in core.queues.pools.table.values():
        yield from pool


def _check_needs(core: SchedulerCore) -> None:
    """Nothing is computed, held or remembered that nobody needs."""
    clients = core.members.clients
    unsettled = Counter(task for client in clients.values() for task in client.unsettled)
    assert core.lifecycle.unsettled == unsettled
    assert all(core.lifecycle.tasks.get(task.key) is task for task in unsettled)
    for task in core.lifecycle.tasks.values():
        for client in task.wanters:
            assert clients.get(client.id) is client or client is core.fired.keeper, task
            assert task in client.wants, (task, client)
        if not (task.wanters or task.users):
            assert task.state not in ACTIVE and task.state is not MEMORY, task
            assert task.dependents or task in unsettled, task
        else:
            assert task.state is not RELEASED, task


def _check_worker(core: SchedulerCore, worker: Worker) -> None:
    assert core.queues.workers.get(worker.id) is worker, worker
    for task in worker.holds:
        assert core.lifecycle.tasks.get(task.key) is task, (worker, task)
        assert worker in task.holders, (worker, task)
    for assignments in (worker.assigned, worker.incoming):
        for assignment, assigned in assignments.items():
            if isinstance(assigned, Task):
                assert assigned.state is PROCESSING, (worker, assigned)
                assert assigned.worker is worker, (worker, assigned)
                assert assigned.assignment == assignment, (worker, assigned)
    assert worker.seceded <= worker.assigned.keys(), worker
    assert worker.started.keys() <= worker.assigned.keys(), worker


def _check_stock(worker: Worker) -> None:
    """What is taken is what the assignments there ask for, and no more than there is."""
    stock = worker.stock
    assert stock.strays <= worker.assigned.keys(), (worker, stock.strays)
    assert stock.taken.keys() <= worker.assigned.keys(), (worker, stock.taken)
    for assignment, task in worker.assigned.items():
        if isinstance(task, Task):
            assert stock.taken.get(assignment, ()) == task.options.resources, (worker, task)
    assert stock.used == added_up(stock.taken.values()), worker
    for name, used in stock.used.items():
        assert 0 < used <= stock.totals[name] * TOLERANCE, (worker, name, used)


def _check_members(core: SchedulerCore) -> None:
    for member in core.members.all():
        if member.gone_since is None:
            assert core.members.peers.get(member.peer) is member, member
        assert not member.out, member
    for client in core.members.clients.values():
        for task in client.wants:
            assert client in task.wanters, (client, task)
            assert core.lifecycle.tasks.get(task.key) is task, (client, task)
    for task in core.lifecycle.tasks.values():
        for holder in task.holders:
            assert task in holder.holds, (task, holder)
            assert core.members.workers.get(holder.id) is holder, (task, holder)
        if task.worker is not None:
            books = task.worker.incoming if task.function is None else task.worker.assigned
            assert books.get(task.assignment) is task, task


def _check_functions(core: SchedulerCore) -> None:
    functions = core.lifecycle.functions
    uses = Counter(task.function for task in core.lifecycle.tasks.values())
    for id, function in functions.items():
        used = uses.pop(function, 0)
        assert function.id == id and function.tasks == used, (id, function.tasks, used)
        assert function.tasks or function.clients, id
        for client in function.clients:
            assert function in client.functions, (id, client)
    uses.pop(None, 0)  # of scattered data
    assert not uses, [function.id for function in uses if function is not None]


def _check_queues(core: SchedulerCore) -> None:
    queues = core.queues
    for worker in queues.workers.values():
        if worker.queue:
            live = any(task.state is READY for _, task in worker.queue)
            assert not live or worker in queues.backlogged, worker
        if worker.gone_since is not None:
            assert worker not in queues.open, worker
    for table in (queues.open, queues.backlogged, queues.stocked):
        for worker in table:
            assert queues.workers.get(worker.id) is worker, worker


def _check_locks(core: SchedulerCore) -> None:
    indexed = {
        (name, (client, number))
        for client, known in core.locks.contenders.items()
        for name, number in known
    }
    found = set()
    for name, lock in core.locks.table.items():
        if lock.holder is None:
            assert lock.waiting, name
            assert not core.locks.grace_is_over, name
        assert lock.holder not in lock.waiting, name
        contenders = (*lock.waiting, *filter(None, [lock.holder]))
        for client, _ in contenders:
            assert core.members.clients.get(client.id) is client, (name, client)
        found |= {(name, contender) for contender in contenders}
    assert found == indexed
    assert all(core.locks.contenders.values())


def _check_pools(core: SchedulerCore) -> None:
    queues = core.queues
    paused = queues.now < queues.recovery.paused_until
    for queue in (queues.common, *(worker.queue for worker in queues.workers.values())):
        for entry in queue:
            assert not (entry[1].options.resources and is_live(entry)), entry[1]
    assert queues.pools.table or not queues.pools.seekers
    assert queues.pools.seekers <= set(queues.workers.values())
    for requirement, pool in queues.pools.table.items():
        assert requirement[0], pool
        first = min(filter(is_live, pool), default=None)
        for _, task in filter(is_live, pool):
            assert requirement_of(task.options) == requirement, (task, requirement)
            assert any(may_run(task, worker) for worker in queues.workers.values()), task
        if first is not None and not paused:
            for worker in queues.open:  # which would have taken it
                assert not (may_run(first[1], worker) and worker.stock.fits(requirement[0])), worker


def _check_places(core: SchedulerCore) -> None:
    """No task that has not started stands behind more than its own call, or the last of its inputs. The
    place of an input may be another by now: it was submitted again, or after a restart of the scheduler
    its recipe came later than that of the task."""
    is_known = not (core.queues.inherited or core.lifecycle.relearned)
    for task in core.lifecycle.tasks.values():
        if task.function is None or task.state not in UNASSIGNED:
            continue
        assert task.owner is not NO_OWNER, task
        assert task.priority[0] == -task.options.priority, task
        own, place = task.priority[-2:], task.priority[1:3]
        ours = [d for d in task.dependencies if d.owner is task.owner and d.function is not None]
        places = [d.priority[1:3] for d in ours]
        assert place <= own, (task, task.priority, places)
        if is_known and places and max(places)[0] < own[0]:
            assert place == max(places), (task, task.priority, places)
        elif is_known:
            assert place == own, (task, task.priority, places)


def _check_stuck(core: SchedulerCore) -> None:
    """Only what is known is known to be stuck; and what uses it goes where it lies."""
    stuck = core.queues.stuck
    assert not stuck.homeless, stuck.homeless
    for task in stuck.reasons:
        assert core.lifecycle.tasks.get(task.key) is task, task
        for dependent in task.dependents:
            if dependent.state is READY:
                _check_confined(core, dependent, task)


def _check_confined(core: SchedulerCore, task: Task, dependency: Task) -> None:
    for worker in core.queues.workers.values():
        if may_run(task, worker):
            assert worker in dependency.holders, (task, dependency, worker)
        elif not task.options.resources:
            assert not any(is_live(e) and e[1] is task for e in worker.queue), (task, worker)
    assert not any(is_live(entry) and entry[1] is task for entry in core.queues.common), task


def _check_recovery(core: SchedulerCore) -> None:
    recovery = core.queues.recovery
    assert recovery.is_under_way or not (
        recovery.unclaimed or recovery.at_work or recovery.expected
    )
    for key, holders in recovery.unclaimed.items():
        found = core.lifecycle.tasks.get(key)
        assert found is None or found.state in (RELEASED, ERRED), found
        assert holders, key
        for worker in holders:
            assert core.members.workers.get(worker.id) is worker, worker
    for task in recovery.expected:
        assert core.lifecycle.tasks.get(task.key) is task, task
        assert task.function is None and task.state in (NO_WORKER, RELEASED), task
    for key, (worker, _) in recovery.at_work.items():
        assert core.members.workers.get(worker.id) is worker, (key, worker)


def _check_fired(core: SchedulerCore) -> None:
    """The keeper wants what it has workers keep, and has read all that it was told."""
    keeper, trustees = core.fired.keeper, core.fired.trustees
    assert not keeper.out and not keeper.functions and not keeper.unsettled and not keeper.ahead
    assert trustees.keys() == {task.key for task in keeper.wants}
    for task in keeper.wants:
        assert keeper in task.wanters and core.lifecycle.tasks.get(task.key) is task, task
        for worker in trustees[task.key]:
            assert core.members.workers.get(worker.id) is worker, (task, worker)
