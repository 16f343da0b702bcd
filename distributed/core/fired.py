"""Work that is done although nobody has a future for it: what `fire_and_forget` asks for.

Theory of operation
-------------------
The keeper is a client that no process stands for. It wants all that was fired and has not ended, so that
the work goes on when the client that fired it has left. What the scheduler tells it is read here, after
each event: a result is let go of, and a failure goes into the log.

A new scheduler knows nothing of the keeper's wishes, and the client may be gone. So the recipes of what was
fired, with those of all that it needs, are entrusted to `COPIES` workers. They say them after their next
hello. The same scheduler then says what has ended meanwhile; a new one takes the work up. Work that ends
while there is no scheduler may be done twice. It is not lost as long as one of those workers lives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from distributed.core.lifecycle import Lifecycle
from distributed.core.outgoing import append
from distributed.core.states import DEFAULT_OPTIONS, Client, Function, Options, Task, Worker
from distributed.messages import Discharge, Ended, Entrust, Failed, Finished, Fire, Submit, Warn

# Workers that keep the recipes of a piece of fired work.
COPIES = 2
# Recipes in one message, by and large. Those of one piece of work are not parted.
BATCH_BYTES = 16 << 20
BATCH_TASKS = 2000
# What one piece of work may bring along to be kept by workers.
MAX_BYTES = 256 << 20


class Fired:
    """What was fired and has not ended, and which workers keep its recipes."""

    def __init__(self, epoch: str, lifecycle: Lifecycle) -> None:
        self.epoch = epoch
        self.keeper = Client("fired", b"", 0.0)
        self.lifecycle = lifecycle
        self.trustees: dict[str, tuple[Worker, ...]] = {}  # by key, as `keeper.wants`
        self._adopted: set[str] = set()  # from an earlier life
        self._short: dict[str, None] = {}  # of workers that keep them, or may be
        self._turns = 0  # of workers, when recipes are entrusted
        self.log: list[str] = []

    # Members speak

    def on_fire(self, client: Client, message: Fire) -> None:
        if not client.clearings:  # otherwise it has been cancelled
            self._want(message.keys)

    def on_entrust(self, worker: Worker, message: Entrust) -> None:
        """It has kept these; which of them are still to be done?"""
        fresh = []
        for key in message.keys:
            trustees = self.trustees.get(key)
            if trustees is not None:
                self.trustees[key] = (*(t for t in trustees if t is not worker), worker)
            elif message.epoch == self.epoch or key in self._adopted:
                append(worker, Discharge, key)  # it has ended
            else:
                fresh.append(key)
        if fresh:
            self._adopt(worker, message, fresh)

    def _adopt(self, worker: Worker, message: Entrust, keys: list[str]) -> None:
        groups = tuple((id, options, False, items) for id, options, _, items in message.groups)
        recipes = Submit(message.functions, groups, more=True, again=True)
        if not self.lifecycle.submit(self.keeper, recipes):
            self.log.append(f"worker {worker.named} has kept fired work without its functions")
            return
        self._adopted.update(keys)
        self._want(keys)
        self.trustees.update({key: (worker,) for key in keys if key in self.trustees})
        self.lifecycle.settle(self.keeper)
        self.lifecycle.forget_functions(self.keeper, tuple(self.keeper.functions))

    def _want(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.lifecycle.want_key(self.keeper, key)
            if self.lifecycle.tasks.get(key) in self.keeper.wants and key not in self.trustees:
                self.trustees[key] = ()
                self._short[key] = None

    def call_off(self, keys: Iterable[str]) -> None:
        """Somebody has cancelled these."""
        self._let_go(self.lifecycle.known(dict.fromkeys(keys)))

    def call_off_all(self) -> None:
        self._let_go(list(self.keeper.wants))

    def _let_go(self, tasks: list[Task]) -> None:
        ours = [task for task in tasks if task in self.keeper.wants]
        for task in ours:
            for worker in self.trustees.pop(task.key):
                append(worker, Discharge, task.key)
        self.lifecycle.release(self.keeper, ours)

    # Workers come and go

    def workers_change(self, worker: Worker) -> None:
        """This one has joined, or comes back and will say what it keeps, or is lost."""
        for key, trustees in self.trustees.items():
            if worker in trustees:
                trustees = self.trustees[key] = tuple(t for t in trustees if t is not worker)
            if len(trustees) < COPIES:
                self._short[key] = None

    # A turn ends

    def settle(self) -> None:
        """Take note of what has become of the work, and see that its recipes are kept."""
        if self.keeper.out:
            self.read()
        if self._short:
            self._entrust()

    def read(self) -> None:
        """At once: what has ended must not serve what is asked for after it."""
        news, self.keeper.out = self.keeper.out, []
        ended: list[str] = []
        for message in news:
            if isinstance(message, Warn):
                self.log.append(f"fired work waits: {message.text}")
            elif isinstance(message, (Finished, Failed, Ended)):
                ended += [item[0] for item in message.items]
                self.log += _failures(message)
        self._let_go(self.lifecycle.known(dict.fromkeys(ended)))

    def _entrust(self) -> None:
        """Look for workers that keep what too few do; what is still short of them waits for another."""
        short, self._short = self._short, {}
        workers = [w for w in self.lifecycle.queues.workers.values() if w.gone_since is None]
        given: dict[Worker, list[Task]] = {}
        for task in self.lifecycle.known(short):
            trustees = self.trustees.get(task.key)
            if trustees is None:
                continue  # it has ended
            others = [worker for worker in self._in_turn(workers) if worker not in trustees]
            chosen = others[: max(0, COPIES - len(trustees))]
            self.trustees[task.key] = (*trustees, *chosen)
            for worker in chosen:
                given.setdefault(worker, []).append(task)
        for worker, tasks in given.items():
            worker.out += self._packed(tasks)

    def _in_turn(self, workers: list[Worker]) -> list[Worker]:
        self._turns += 1
        start = self._turns % len(workers) if workers else 0
        return workers[start:] + workers[:start]

    def _packed(self, tasks: list[Task]) -> Iterator[Entrust]:
        """The recipes of these, in messages that are not too large."""
        recipes: dict[Task, None] = {}
        functions: set[Function] = set()
        keys: list[str] = []
        nbytes = 0
        for task in tasks:
            needed = _recipes(task)
            size = _size(needed, functions)
            if size > MAX_BYTES:
                self.log.append(
                    f"fired work {task.key} would be lost with this scheduler: its arguments have "
                    f"{size:,} bytes, and workers keep {MAX_BYTES:,} at most (scatter large data)"
                )
                continue
            if keys and (nbytes + size > BATCH_BYTES or len(recipes) + len(needed) > BATCH_TASKS):
                yield self._message(recipes, keys)
                recipes, functions, keys, nbytes = {}, set(), [], 0
            recipes.update(dict.fromkeys(needed))
            functions.update(_functions(needed))
            keys.append(task.key)
            nbytes += size
        if keys:
            yield self._message(recipes, keys)

    def _message(self, recipes: Iterable[Task], keys: list[str]) -> Entrust:
        functions: dict[str, bytes] = {}
        groups: list[tuple[str, dict[str, Any] | None, bool, list[Any]]] = []
        for order, (task, function) in enumerate(zip(recipes, _functions(recipes), strict=True)):
            functions[function.id] = function.blob
            options = as_sent(task.options)
            if not groups or groups[-1][:2] != (function.id, options):
                groups.append((function.id, options, False, []))
            inputs = tuple(dependency.key for dependency in task.dependencies) or None
            groups[-1][3].append((task.key, task.arguments, inputs, order))
        return Entrust(self.epoch, functions, tuple(groups), tuple(keys))


def _failures(message: Finished | Failed | Ended) -> Iterator[str]:
    for item in message.items if not isinstance(message, Finished) else ():
        if isinstance(message, Failed):
            key, how = item[0], item[1].partition(b"\n")[0].decode(errors="replace")
        else:
            key, how = item[0], f"{item[1]}: {item[2]}"
        yield f"fired work {key} has failed: {how}"


def _recipes(task: Task) -> list[Task]:
    """Those of the task and of all that it needs, inputs first; data that was scattered has none."""
    found: dict[Task, None] = {}
    stack = [(task, False)]
    while stack:
        other, is_ready = stack.pop()
        if is_ready:
            found[other] = None
        elif other.function is not None and other not in found:
            stack.append((other, True))
            stack += [(dependency, False) for dependency in other.dependencies]
    return list(found)


def _functions(recipes: Iterable[Task]) -> Iterator[Function]:
    for task in recipes:
        assert task.function is not None
        yield task.function


def _size(recipes: list[Task], known: set[Function]) -> int:
    """In bytes, without the functions that are known."""
    functions = set(_functions(recipes)) - known
    return sum(len(f.blob) for f in functions) + sum(len(task.arguments) for task in recipes)


def as_sent(options: Options) -> dict[str, Any] | None:
    """As in `messages.Submit`."""
    asked = options.asked or options
    if asked == DEFAULT_OPTIONS:
        return None
    return {
        "priority": asked.priority,
        "retries": asked.retries,
        "workers": list(asked.workers),
        "loose": asked.loose,
        "resources": dict(asked.resources),
        **({"time_limit": asked.time_limit} if asked.time_limit else {}),
    }
