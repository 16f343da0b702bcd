"""Every change of a task's state: the task table and the rules of `states.py` put into motion.

Nothing here recurses: graphs may be a million tasks deep. Nothing here knows of messages that come
in; what goes out is appended to the `out` of the clients and workers concerned, in order (`outgoing.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from distributed.core.endings import MAX_DEPARTURES, departed, inherited_error, killed
from distributed.core.outgoing import (
    add_finished,
    append,
    drop_assignment,
    free,
    report_error,
    report_finished,
)
from distributed.core.priority import follow_up
from distributed.core.queues import Queues
from distributed.core.recovery import is_void
from distributed.core.resources import needs_of
from distributed.core.states import (
    ACTIVE,
    DEFAULT_OPTIONS,
    ERRED,
    FORGOTTEN,
    MEMORY,
    NO_OWNER,
    NO_WORKER,
    PROCESSING,
    RELEASED,
    UNASSIGNED,
    WAITING,
    Client,
    Error,
    Function,
    Options,
    Task,
    Worker,
)
from distributed.messages import (
    Drop,
    Ended,
    Pending,
    Submit,
    Unload,
)

# A task fails as killed when this many workers died while they ran it: the machine may be to blame for
# one, hardly for four.
MAX_DEATHS = 4


class Lifecycle:
    """The tasks and functions that the scheduler knows, and what can happen to them."""

    def __init__(self, queues: Queues) -> None:
        self.queues = queues
        self.recovery = queues.recovery
        self.tasks: dict[str, Task] = {}
        self.functions: dict[str, Function] = {}
        # How often each is in `Client.unsettled` of any client.
        self.unsettled: Counter[Task] = Counter()
        self.departures: dict[
            Task, int
        ] = {}  # of workers that were running it, and were told to end
        self.repairs = 0  # of what an audit has found to be wrong
        # Whether a task has got another recipe, and so a place that its dependents did not inherit.
        self.relearned = False
        # While a cancellation is forced: what was assigned and is not any more.
        self.dropped: list[tuple[Worker, int]] | None = None

    # A task is known

    def known(self, keys: Iterable[str]) -> list[Task]:
        """The tasks of those of the keys that have one."""
        return [self.tasks[key] for key in keys if key in self.tasks]

    def submit(self, client: Client, message: Submit) -> bool:
        """Learn the recipes, and start what the client wants. False, and nothing has changed, if a
        function is unknown: the client believes that it has sent it before. (One that only others have
        sent may be unloaded at any moment.)"""
        functions = self.functions
        for id, *_ in message.groups:
            if id not in message.functions and functions.get(id) not in client.functions:
                return False
        for id, blob in message.functions.items():
            function = functions.get(id)
            if function is None:
                function = functions[id] = Function(id, blob)
            function.clients.add(client)
            client.functions[function] = None
        wanted: list[Task] = []
        for id, options, is_wanted, items in message.groups:
            given = _options(options)
            tasks = self._learn(client, functions[id], given, items, message.call, message.again)
            if is_wanted:
                for task in tasks:
                    self.want(client, task)
                wanted += tasks
            else:
                self._unsettle(client, tasks)
                # Lost data that is known how to compute now: somebody else may need it.
                wanted += [task for task in tasks if task.wanters or task.users]
        for task in self.known(message.ahead):
            task.users += 1
            client.ahead[task] += 1
            wanted.append(task)
        self.start(wanted)
        if not message.more:
            self.settle(client)
        elif message.complete:
            self._complete(client, message.complete)
        return True

    def settle(self, client: Client) -> None:
        """Nothing more comes that depends on what the client has submitted and does not want."""
        for task, count in client.ahead.items():
            task.users -= count
        for task in client.unsettled:
            self.unsettled[task] -= 1
            if not self.unsettled[task]:
                del self.unsettled[task]
        settled = [*client.ahead, *client.unsettled]
        client.ahead.clear()
        client.unsettled = []
        self.let_go(settled)

    def _complete(self, client: Client, keys: Iterable[str]) -> None:
        """All has come that depends on these and was to come."""
        complete = [task for task in self.known(keys) if client.ahead[task]]
        for task in complete:
            task.users -= 1
            client.ahead[task] -= 1
            if not client.ahead[task]:
                del client.ahead[task]
        self.let_go(complete)

    def _unsettle(self, client: Client, tasks: Sequence[Task]) -> None:
        """Keep the recipes of these until all has come that the client submits with them."""
        client.unsettled += tasks
        self.unsettled.update(tasks)

    def _learn(
        self,
        client: Client,
        function: Function,
        options: Options,
        items: Iterable[Any],
        call: int,
        again: bool,
    ) -> list[Task]:
        tasks = self.tasks
        urgency = -options.priority
        learned = []
        for key, arguments, dependencies, order in items:
            task = tasks.get(key)
            if task is None:
                priority = (urgency, call, order)
                task = self.add(Task(key, function, arguments, priority, options, client), again)
                function.tasks += 1
                if dependencies:
                    self._link(task, dependencies)
                    first = task.dependencies[0]
                    if first.priority[1] != call or first.owner is not client:
                        task.priority = follow_up(priority, client, task.dependencies)
            else:
                if self._takes_recipe(task):
                    # What it does not need any more may be needed by what is still to come.
                    self._unsettle(client, self._unlink(task))
                    self._learn_recipe(task, function, arguments, options, dependencies)
                    # A new tuple: entries with the old one, in queues for the old options, are dead.
                    task.priority = follow_up((urgency, call, order), client, task.dependencies)
                    task.owner = client
                    self.relearned = True
                if not again and task.state is RELEASED and not (task.wanters or task.users):
                    self._begin_anew(task)  # others only know how to make it
            learned.append(task)
        return learned

    def _takes_recipe(self, task: Task) -> bool:
        """Whether its data was lost; or somebody has spoken of it who could not say how it is made."""
        if task.state is ERRED:
            return task.error is not None and task.error[0] == "lost"
        known = task.function is not None
        return task in self.recovery.expected or (not known and task.state in (MEMORY, RELEASED))

    def _learn_recipe(
        self,
        task: Task,
        function: Function,
        arguments: bytes,
        options: Options,
        dependencies: Sequence[str] | None,
    ) -> None:
        """Forget the recipe and the failure that it may have, and take this one."""
        if task.function is not None:
            self._release_function(task.function)
        if self.recovery.expected.pop(task, self) is None or task.state is ERRED:
            task.state, task.error = RELEASED, None
        task.function, task.arguments, task.options = function, arguments, options
        function.tasks += 1
        task.retries, task.deaths = options.retries, ()
        if dependencies:
            self._link(task, dependencies)

    def _link(self, task: Task, keys: Sequence[str]) -> None:
        found = []
        for key in dict.fromkeys(keys):
            dependency = self.tasks.get(key)
            if dependency is None:
                dependency = self._meet(key)
            dependency.add_dependent(task)
            found.append(dependency)
        task.dependencies = tuple(found)

    def add(self, task: Task, again: bool = False) -> Task:
        """The task is new here. If it was asked for `again`, it may have data since before our time."""
        if not (again and self.recovery.is_under_way):
            task.since = self.queues.next_assignment
        self.tasks[task.key] = task
        return task

    def _meet(self, key: str) -> Task:
        """A key that somebody speaks of, and that nobody has said how to make."""
        task = self.add(Task(key, None, b"", (0, 0, 0), DEFAULT_OPTIONS, NO_OWNER), again=True)
        if self.recovery.is_under_way:
            self.recovery.expected[task] = None
        else:
            task.state = ERRED
            task.error = ("lost", f"the input {key} is not known to the scheduler")
        return task

    def _unlink(self, task: Task) -> tuple[Task, ...]:
        dependencies = task.dependencies
        if dependencies:
            task.dependencies = ()
            for dependency in dependencies:
                dependency.remove_dependent(task)
        return dependencies

    # A task is wanted

    def want_key(self, client: Client, key: str) -> None:
        """As `want`, by a client that cannot say how it is made, and start it."""
        task = self.tasks.get(key) or (self._meet(key) if self.recovery.is_under_way else None)
        if task is None:
            reason = f"{key} had been forgotten when its future arrived here"
            append(client, Ended, (key, "lost", reason))
        else:
            self.want(client, task)
            self.start([task])

    def want(self, client: Client, task: Task) -> None:
        """The client has a future for the task: tell it the state, now and whenever it changes."""
        wanters = task.wanters
        if not wanters:
            task.wanters = client.alone
        elif client not in wanters:
            task.wanters = (*wanters, client)
        client.wants[task] = None
        if task.state is MEMORY:
            report_finished(client, task)
        elif task.state is ERRED:
            report_error(client, task)

    def release(self, client: Client, tasks: Iterable[Task]) -> None:
        """The client has no future for these any more."""
        idle = []
        for task in tasks:
            if client.wants.pop(task, self) is None:
                _drop_wanter(task, client)
                idle.append(task)
        self.let_go(idle)
        self._give_up_arrivals(idle)

    def _give_up_arrivals(self, tasks: Iterable[Task]) -> None:
        """Data that nobody wants will not be sent: what needs it waits in vain."""
        for task in tasks:
            if task.function is None and task.state is PROCESSING and not task.wanters:
                reason = f"{task.key} was to be scattered, and its client has let go of it before"
                self.fail(task, ("lost", reason))

    # A task starts

    def start(self, tasks: Sequence[Task]) -> None:
        """These are needed: compute them, and before them those of their inputs that are not there."""
        in_recovery = self.recovery.is_under_way
        stack = list(reversed(tasks))
        while stack:
            task = stack.pop()
            if task.state is not RELEASED or not (task.wanters or task.users):
                continue  # what was to use it may have failed meanwhile
            if in_recovery and self._is_brought(task):
                continue
            error = inherited_error(task)
            if error is not None:
                self.fail(task, error)
                continue
            missing = 0
            for dependency in task.dependencies:
                dependency.users += 1
                if dependency.state is not MEMORY:
                    missing += 1
                    if dependency.state is RELEASED:
                        stack.append(dependency)
            task.missing = missing
            if missing:
                task.state = WAITING
            else:
                self.queues.push(task)

    def disclaim(self, key: str) -> None:
        """What there is of it since an earlier life of the scheduler is not to be used."""
        for worker in self.recovery.unclaimed.pop(key, ()):
            free(worker, key, self.queues.inherited)

    def _is_brought(self, task: Task) -> bool:
        """Whether its data is here since an earlier life of the scheduler, or can only come from there."""
        if task.since:
            self.disclaim(task.key)  # it is asked for anew
            return False
        holders = self.recovery.unclaimed.pop(task.key, None)
        if holders is None:
            if task not in self.recovery.expected:
                return False
            task.state = NO_WORKER
            return True
        self.recovery.expected.pop(task, None)
        task.state = MEMORY
        task.holders = tuple(holders)
        task.nbytes = max(holders.values())
        for worker in holders:
            worker.holds[task] = None
        for client in task.wanters:
            report_finished(client, task)
        self._one_input_more(task.dependents)
        return True

    def _one_input_more(self, dependents: Iterable[Task]) -> None:
        """An input of these is in memory now."""
        for dependent in dependents:
            if dependent.state is WAITING:
                dependent.missing -= 1
                if not dependent.missing:
                    self.queues.push(dependent)

    def requeue(self, task: Task) -> None:
        """A task that was processing is to run again, here or elsewhere."""
        task.worker = None
        error = inherited_error(task)
        if error is not None:
            self.fail(task, error)
            return
        task.missing = sum(dependency.state is not MEMORY for dependency in task.dependencies)
        if task.missing:
            task.state = WAITING
        else:
            self.queues.push(task)

    # A task ends

    def finish(
        self, task: Task, worker: Worker, nbytes: int, value: bytes | None, kind: bytes | None
    ) -> None:
        """The worker holds the result of an active task."""
        idle: list[Task] = []
        if task.state is not PROCESSING:
            self.queues.discard(task)
        task.state = MEMORY
        task.worker = None
        task.missing = 0
        task.nbytes = nbytes
        task.holders = worker.alone
        worker.holds[task] = None
        for dependency in task.dependencies:
            dependency.users -= 1
            if not dependency.users and not dependency.wanters:
                idle.append(dependency)
        if task.dependents:
            self._one_input_more(task.dependents)
        if task.wanters:
            item = (task.key, nbytes, value, kind)
            for client in task.wanters:
                add_finished(client, worker.address, item)
        elif not task.users:
            idle.append(task)
        if idle:
            self.let_go(idle)

    def fail_attempt(self, task: Task, error: Error) -> None:
        """It was processing, and that has failed: it runs again, if its caller asked for that."""
        task.worker = None
        if task.retries > 0:
            task.retries -= 1
            self.requeue(task)
        else:
            self.fail(task, error)

    def take_over(self, task: Task, worker: Worker, nbytes: int) -> None:
        """A result of an active task turns up where it was not being made."""
        if task.state is PROCESSING:
            drop_assignment(task)
        self.recovery.expected.pop(task, None)
        self.finish(task, worker, nbytes, None, None)

    def fail(self, task: Task, error: Error) -> None:
        """The task has no result and never will: nor have those that wait for it."""
        idle: list[Task] = []
        stack = [task]
        while stack:
            task = stack.pop()
            if task.state is ERRED:
                continue
            if task.state in ACTIVE:
                idle += self._deactivate(task)
            task.state = ERRED
            task.error = error
            if self.recovery.expected:
                self.recovery.expected.pop(task, None)
            for client in task.wanters:
                report_error(client, task)
            for dependent in task.dependents:
                if dependent.state is WAITING:
                    stack.append(dependent)
            idle.append(task)
        self.let_go(idle)

    def fail_homeless(self) -> None:
        """End what cannot run anywhere because of stuck inputs. Not when it is queued: its dependencies
        are in the middle of something then, and may be about to be computed again."""
        homeless, self.queues.stuck.homeless = self.queues.stuck.homeless, []
        for task in homeless:
            if task.state is NO_WORKER and self.queues.stuck.inputs(task):
                self.fail(task, ("stuck", self.queues.stuck.explain(task)))

    def let_go(self, tasks: Iterable[Task]) -> None:
        """Release the data and the work that nobody needs among these, and forget what no recipe
        refers to. Then the same for what they needed."""
        stack = list(tasks)
        while stack:
            task = stack.pop()
            if task.wanters or task.users or task.state is FORGOTTEN:
                continue
            if task.state in ACTIVE:
                stack += self._deactivate(task)
                task.state = RELEASED
            elif task.state is MEMORY:
                self._free(task)
            elif task.state is ERRED and task.function is not None:
                task.state, task.error = RELEASED, None
            if task.state is RELEASED:
                self._begin_anew(task)
            if not task.dependents and task not in self.unsettled:
                stack += self._forget(task)

    def _deactivate(self, task: Task) -> tuple[Task, ...]:
        """Stop working on it. Returns its inputs, which have one user less."""
        if task.state is PROCESSING:
            if self.dropped is not None and task.worker is not None:
                self.dropped.append((task.worker, task.assignment))
            drop_assignment(task)
        else:
            self.queues.discard(task)
        task.missing = 0
        for dependency in task.dependencies:
            dependency.users -= 1
        return task.dependencies

    def _begin_anew(self, task: Task) -> None:
        """What has been made of it so far counts no more, should it be asked for again."""
        task.since = self.queues.next_assignment
        task.retries, task.deaths = task.options.retries, ()
        if self.departures:
            self.departures.pop(task, None)

    def _free(self, task: Task) -> None:
        for worker in task.holders:
            del worker.holds[task]
            free(worker, task.key, self.queues.newest)
        task.holders = ()
        task.nbytes = 0
        task.state = RELEASED

    def _forget(self, task: Task) -> tuple[Task, ...]:
        del self.tasks[task.key]
        task.state = FORGOTTEN
        if self.queues.stuck.reasons:
            self.queues.stuck.reasons.pop(task, None)
        if self.recovery.expected:
            self.recovery.expected.pop(task, None)
        if self.departures:
            self.departures.pop(task, None)
        if task.function is not None:
            self._release_function(task.function)
        return self._unlink(task)

    # Data is lost

    def remove_holder(self, task: Task, worker: Worker) -> bool:
        """The worker does not have the data; true if nobody has it now (then call `lose`)."""
        worker.holds.pop(task, None)
        task.holders = tuple(holder for holder in task.holders if holder is not worker)
        if task.holders and task in self.queues.stuck.reasons:
            self.queues.rebind(task)
        return not task.holders

    def lose(self, tasks: Sequence[Task]) -> None:
        """The last copy of each of these is gone: compute again what is needed."""
        for task in tasks:
            task.state = RELEASED
            task.nbytes = 0
            for dependent in task.dependents:
                if dependent.state in UNASSIGNED:
                    dependent.missing += 1
                    self.queues.discard(dependent)
                    dependent.state = WAITING
            for client in task.wanters:
                append(client, Pending, task.key)
        self.start([task for task in tasks if task.wanters or task.users])
        self.let_go(tasks)

    # A worker is lost

    def lose_worker(
        self, worker: Worker, reason: str, guilty: Collection[Task], output: str = ""
    ) -> None:
        """Run elsewhere what ran there, compute again what lay there. `guilty` may have killed it;
        `output` is what it said last."""
        for task in guilty:
            task.deaths = (*task.deaths, f"{worker.named} (process {worker.pid}): {reason}")
        lost = [task for task in tuple(worker.holds) if self.remove_holder(task, worker)]
        self.queues.leave(worker)
        self.recovery.let_go(worker)
        self.lose(lost)
        stranded = [task for task in worker.assigned.values() if isinstance(task, Task)]
        arriving = list(worker.incoming.values())
        worker.assigned.clear()
        worker.incoming.clear()
        worker.seceded.clear()
        worker.started.clear()
        for task in arriving:
            task.worker = None
        for task in arriving:
            if task.state is PROCESSING:  # and was not let go with one before
                self.fail(task, ("lost", f"worker {worker.name} died while it received {task.key}"))
        for task in stranded:
            if task.state is not PROCESSING or task.worker is not worker:
                continue  # failed or let go meanwhile
            task.worker = None
            if len(task.deaths) >= MAX_DEATHS:
                self.fail(task, ("killed", killed(task, output)))
            else:
                self.requeue(task)
        for task in guilty:
            # The result of one that is not running was being pickled.
            if len(task.deaths) >= MAX_DEATHS and task.state in ACTIVE:
                self.fail(task, ("killed", killed(task, output)))

    def note_departures(self, tasks: Iterable[Task]) -> None:
        """These were running on a worker that somebody has told to end; perhaps they did it themselves."""
        for task in tasks:
            if task.state in ACTIVE:
                self.departures[task] = self.departures.get(task, 0) + 1
                if self.departures[task] >= MAX_DEPARTURES:
                    self.fail(task, ("killed", departed(task)))

    # An earlier life of the scheduler is over

    def end_recovery(self) -> None:
        """What has not found its place by now has none."""
        recovery = self.recovery
        for key in tuple(recovery.unclaimed):
            self.disclaim(key)
        for key, (worker, assignment) in recovery.at_work.items():
            if not is_void(worker, assignment, key):
                append(worker, Drop, assignment)
        for task in tuple(recovery.expected):
            if task in recovery.expected:  # it may have been forgotten with one before
                reason = f"no worker has brought {task.key} since the scheduler was started again"
                self.fail(task, ("lost", reason))
        recovery.end()

    # Calls off

    def cancel(self, client: Client, task: Task, called_off: Collection[str]) -> None:
        """End the task and all that waits for it, unless another client wants any of that. The client
        knows what it has called off itself, and may have submitted these keys anew meanwhile."""
        closure = {task: None}
        stack = [task]
        while stack:
            for dependent in stack.pop().dependents:
                if dependent.state in ACTIVE and dependent not in closure:
                    closure[dependent] = None
                    stack.append(dependent)
        if any(wanter is not client for found in closure for wanter in found.wanters):
            closure = {task: None}
        for found in closure:
            if client.wants.pop(found, self) is None:
                _drop_wanter(found, client)
                if found.key not in called_off:
                    append(client, Ended, (found.key, "cancelled", ""))
        self.let_go(closure)
        self._give_up_arrivals(closure)

    def forget_functions(self, client: Client, functions: Iterable[Function]) -> None:
        """The client will send these again before it uses them again."""
        for function in functions:
            client.functions.pop(function, None)
            function.clients.discard(client)
            self._unload_if_unused(function)

    def _release_function(self, function: Function) -> None:
        function.tasks -= 1
        if not function.tasks:
            self._unload_if_unused(function)

    def _unload_if_unused(self, function: Function) -> None:
        if function.tasks or function.clients or function.id not in self.functions:
            return
        del self.functions[function.id]
        for worker in self.queues.workers.values():
            if function.id in worker.functions:
                worker.functions.discard(function.id)
                append(worker, Unload, function.id)


def _options(options: dict[str, Any] | None) -> Options:
    if not options:
        return DEFAULT_OPTIONS
    return Options(
        priority=options.get("priority", 0),
        retries=options.get("retries", 0),
        workers=tuple(options.get("workers", ())),
        loose=options.get("loose", False),
        time_limit=options.get("time_limit", 0),
        resources=needs_of(options.get("resources", {})),
    )


def _drop_wanter(task: Task, client: Client) -> None:
    if task.wanters is client.alone:
        task.wanters = ()
    else:
        task.wanters = tuple([wanter for wanter in task.wanters if wanter is not client])
