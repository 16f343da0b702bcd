"""Why a task is not done: one sentence, from the scheduler's tables and the last answers of workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain

from distributed.core.audit import Account
from distributed.core.backlog import Backlog, is_live
from distributed.core.complaints import complaint
from distributed.core.lifecycle import Lifecycle
from distributed.core.pools import requirement_of
from distributed.core.queues import Queues
from distributed.core.recovery import Recovery
from distributed.core.resources import in_words
from distributed.core.states import (
    ERRED,
    MEMORY,
    NO_WORKER,
    PROCESSING,
    READY,
    RELEASED,
    WAITING,
    Task,
    Worker,
)

# Entries of a queue that are looked at to say how many tasks are before one: a tenth of a second's work.
MAX_COUNTED = 200_000
# Workers and places that are named in a sentence. There may be a thousand.
MAX_NAMED = 5

Accounts = Mapping[Worker, Account]


def why(state: Lifecycle, accounts: Accounts, key: str, now: float) -> str:
    """What the task waits for, or how it has ended."""
    task = state.tasks.get(key)
    if task is None:
        return "the scheduler does not know it: nobody wants it, or its submission is on its way"
    if task.state is not WAITING:
        return f"it {_reason(state, accounts, task, now)}"
    cause, between = blocker(task)
    others = f" (and {task.missing - 1} more of its inputs)" if task.missing > 1 else ""
    reason = _reason(state, accounts, cause, now)
    if not between:
        return f"it waits for {cause.key}{others}, which {reason}"
    first, *rest = between
    through = f", through {len(rest)} more," if rest else ""
    return f"it waits for {first.key}{others}, and that{through} for {cause.key}, which {reason}"


def blocker(task: Task) -> tuple[Task, list[Task]]:
    """The first of what the task waits for that does not wait for others itself, and those between."""
    between: list[Task] = []
    while task.state is WAITING:
        missing = [d for d in task.dependencies if d.state is not MEMORY]
        # What no worker may run needs the user's help most.
        task = min(missing, key=_patience)
        between.append(task)
    return task, between[:-1]


def _patience(task: Task) -> int:
    return {NO_WORKER: 0, PROCESSING: 1, READY: 2, WAITING: 3}.get(task.state, 4)


def _reason(state: Lifecycle, accounts: Accounts, task: Task, now: float) -> str:
    """As the end of a sentence about the task. It is not waiting for inputs."""
    if task.state is READY:
        return _ready(state.queues, task)
    if task in state.recovery.expected:
        return _expected(state.recovery, now)
    if task.state is NO_WORKER:
        return f"cannot run anywhere: {complaint(task, state.queues)}"
    if task.state is PROCESSING:
        assert task.worker is not None
        if task.function is None:
            return f"is data that a client is sending to worker {task.worker.name}"
        return _processing(task, task.worker, accounts.get(task.worker), now)
    if task.state is MEMORY:
        places = _listed(holder.name for holder in task.holders)
        return f"is done: its result, {task.nbytes:,} bytes, lies on worker {places}"
    if task.state is ERRED and task.error is not None:
        how, what = task.error
        if isinstance(what, bytes):
            return "has failed: it, or what it needs, raised an exception"
        return f"has failed: {what or how}"
    assert task.state is RELEASED, task
    return "is not computed: nobody wants its result, nor that of anything that needs it"


def _expected(recovery: Recovery, now: float) -> str:
    assert recovery.ends_at is not None
    return (
        "is data that a worker may still bring: the scheduler was started again, and waits for that for "
        f"{max(0.0, recovery.ends_at - now):.0f} s more"
    )


# It could start


def _ready(queues: Queues, task: Task) -> str:
    workers = queues.workers.values()
    if not workers:
        return f"cannot start: {complaint(task, queues)}"
    if all(worker.gone_since is not None for worker in workers):
        return "could start, but the connections to all workers are broken"
    queue, owner = _queue_of(queues, task)
    backlogs = [queue]
    if queue is queues.common:  # workers take what is for them alone in the same order
        backlogs += [worker.queue for worker in queues.backlogged]
    before = _before(backlogs, task)
    options = task.options
    if options.resources:
        return (
            f"could start, but needs {in_words(options.resources)}, and so much is not free on any worker "
            f"that has it{before}"
        )
    if options.workers and not options.loose:
        return f"could start, but may only run on {_listed(options.workers)}, which is busy{before}"
    if owner is not None:
        return f"could start, and is to run on worker {owner.name}, near its inputs, which is busy{before}"
    return f"could start, but all workers are busy{before}"


def _queue_of(queues: Queues, task: Task) -> tuple[Backlog, Worker | None]:
    if task.options.resources:
        return queues.pools.table.get(requirement_of(task.options), Backlog()), None
    for worker in queues.backlogged:
        if any(entry[1] is task and is_live(entry) for entry in worker.queue):
            return worker.queue, worker
    return queues.common, None


def _before(backlogs: list[Backlog], task: Task) -> str:
    """How many tasks in these go before it, and why those do that came later."""
    size = sum(map(len, backlogs))
    if size > MAX_COUNTED:
        return f": it is one of {size:,} tasks in the queue"
    entries = filter(is_live, chain.from_iterable(backlogs))
    others = [other for _, other in entries if other is not task]
    before = [other for other in others if _is_before(other, task)]
    rivals = {other.owner for other in others if other.owner is not task.owner}
    turns = f"; it takes turns with the work of {_clients(len(rivals))}" if rivals else ""
    if not before:
        return f": it is the next{turns and ' of its client'}{turns}"
    count = f"{len(before):,} tasks are" if len(before) > 1 else "one task is"
    return f": {count} before it{_jumped(before, task)}{turns}"


def _is_before(other: Task, task: Task) -> bool:
    if other.owner is task.owner:
        return other.priority < task.priority
    return other.priority[0] < task.priority[0]  # clients' own numbers say nothing to each other


def _jumped(before: list[Task], task: Task) -> str:
    """Those before it that were submitted later, and why they are."""
    own = task.priority[-2:]
    urgent = sum(other.priority[0] < task.priority[0] for other in before)
    later = sum(
        other.priority[0] == task.priority[0] and other.priority[-2:] > own for other in before
    )
    reasons = []
    if urgent:
        reasons.append(f"{urgent:,} of a higher priority")
    if later:
        reasons.append(f"{later:,} submitted later, to go on with earlier work")
    return f" ({', '.join(reasons)})" if reasons else ""


def _clients(count: int) -> str:
    return f"{count:,} other clients" if count > 1 else "another client"


# It has been given to a worker


def _processing(task: Task, worker: Worker, account: Account | None, now: float) -> str:
    name = f"worker {worker.name}"
    if worker.gone_since is not None:
        seconds = now - worker.gone_since
        return (
            f"was given to {name}, and the connection to that has been broken for {seconds:.1f} s"
        )
    given = f"was given to {name}"
    if account is None:
        return given
    question, answer = account.question, account.answer
    if question is not None and now - question.asked_at >= 1.0:
        given += f", which has not answered for {now - question.asked_at:.0f} s"
    if answer is None:
        return given
    age = now - account.answered_at
    running = {assignment: ms / 1000 + age for assignment, ms in answer.running}
    if task.assignment in running:
        silent = given.partition(",")[1:]
        return f"is running on {name} for {_seconds(running[task.assignment])}{''.join(silent)}"
    if task.assignment not in {job[0] for job in answer.jobs}:
        return f"{given} just now" if given.endswith(name) else given
    missing = [d for d in task.dependencies if worker not in d.holders]
    if missing:
        return f"{given}, which is fetching its inputs: {_inputs(missing, dict(answer.fetching))}"
    return f"{given}, and waits there for a thread{_busy_with(worker, running)}"


def _inputs(missing: list[Task], sources: dict[str, str]) -> str:
    named = []
    for task in missing[:MAX_NAMED]:
        places = [sources[task.key]] if task.key in sources else [h.address for h in task.holders]
        named.append(f"{task.key} ({task.nbytes:,} bytes) from {_listed(places) or 'nowhere'}")
    more = len(missing) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more else "")


def _busy_with(worker: Worker, running: dict[int, float]) -> str:
    if not running:
        return ""
    assignment, seconds = max(running.items(), key=lambda item: item[1])
    task = worker.assigned.get(assignment)
    key = task.key if isinstance(task, Task) else task
    if key is None:
        return ""
    if isinstance(task, str):
        key += ", which was called off,"
    return f": {key} is running there for {_seconds(seconds)}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:,.0f} s"


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return ", ".join(found[:MAX_NAMED]) + more
