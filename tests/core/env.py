"""A scheduler core among pretended clients, workers and nannies.

Every message goes through the real codec, both ways, and the invariants are checked after each event.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from distributed.codec import decode, encode
from distributed.core.invariants import check
from distributed.core.patience import TICK_SECONDS
from distributed.core.scheduler import SchedulerCore
from distributed.core.states import TRANSITIONS, Exit, Gone, Log, Nonsense, Send, Task, Tick
from distributed.messages import (
    CODES,
    PROTOCOL,
    PYTHON,
    ClientHello,
    Done,
    Errors,
    Finished,
    NannyHello,
    Release,
    Run,
    Submit,
    Welcome,
    WorkerHello,
)

LOCAL_EVENTS = (Gone, Nonsense, Tick)


# The version of data that nobody has let go of.
LATEST = 1 << 40


class Env:
    """`inbox[peer]` has all that the core has sent to a peer and nobody has taken yet."""

    def __init__(self, **options: Any) -> None:
        self.core = SchedulerCore("epoch", **options)
        self.now = 0.0
        self.inbox: dict[str, list[Any]] = defaultdict(list)
        self.exit = ""
        self.logged: list[str] = []
        self._states: dict[Task, str] = {}
        self._calls = 0

    # Events

    def send(self, peer: str, *messages: Any) -> None:
        """These arrive from the peer, in one batch."""
        events = []
        for message in messages:
            if type(message) in CODES:
                (message,) = decode(encode([message]))
            events.append((peer.encode(), message))
        for effect in self.core.handle(events, self.now):
            if isinstance(effect, Send):
                self.inbox[effect.peer.decode()] += decode(encode(effect.batch))
            elif isinstance(effect, Log):
                self.logged.append(effect.text)
            elif isinstance(effect, Exit):
                self.exit = effect.reason
        check(self.core)
        self._check_transitions()

    def _check_transitions(self) -> None:
        """Within one event a task may pass through several states, so only what is never right is found:
        a task that comes back from where nothing leads."""
        states = {task: task.state for task in self.core.lifecycle.tasks.values()}
        for task, state in states.items():
            before = self._states.get(task, state)
            assert before in TRANSITIONS and state in TRANSITIONS
            assert TRANSITIONS[before] or before == state, (task, before)
        self._states = states

    def tick(self, seconds: float = 0.0) -> None:
        """So much time passes, as it does for a scheduler that runs."""
        while seconds > TICK_SECONDS:
            self.stall(TICK_SECONDS)
            seconds -= TICK_SECONDS
        self.stall(seconds)

    def stall(self, seconds: float) -> None:
        """The scheduler stands still for so long."""
        self.now += seconds
        self.send("", Tick())

    def gone(self, peer: str) -> None:
        self.send(peer, Gone())

    # Members

    def client(
        self,
        id: str = "C",
        *wants: str,
        peer: str = "",
        locks: Any = (),
        epoch: str = "",
        worker: str = "",
    ) -> str:
        peer = peer or id
        self.send(peer, ClientHello(id, epoch, PROTOCOL, PYTHON, wants, locks, worker))
        assert self.take(peer, Welcome)
        return peer

    def worker(
        self,
        id: str = "W",
        nthreads: int = 1,
        nanny: str = "",
        holds: tuple[Any, ...] = (),
        assigned: tuple[Any, ...] = (),
        peer: str = "",
        resources: dict[str, float] | None = None,
        at: str = "",
        epoch: str = "",
    ) -> str:
        """A worker named like its id, at tcp://<id>:1, or `at` another place. `assigned` has numbers, or
        (number, key); `holds` has (key, nbytes), or (key, nbytes, version)."""
        peer = peer or id
        self.send(
            peer,
            worker_hello(id)._replace(
                epoch=epoch,
                address=address(at or id),
                nthreads=nthreads,
                resources=resources or {},
                nanny=nanny,
                holds=tuple((*found, 1 if epoch else LATEST)[:3] for found in holds),
                assigned=tuple(a if isinstance(a, tuple) else (a, "") for a in assigned),
            ),
        )
        self.take(peer, Welcome)
        return peer

    def nanny(self, id: str = "N") -> str:
        self.send(id, NannyHello(id, PROTOCOL, PYTHON))
        self.take(id, Welcome)
        return id

    # What they do

    def submit(
        self,
        client: str,
        *tasks: Any,
        function: str = "f",
        wanted: bool = True,
        options: dict[str, Any] | None = None,
        more: bool = False,
        again: bool = False,
        call: int | None = None,
        first: int = 0,
    ) -> None:
        """Tasks are keys, or (key, dependency, ...). They are a call of their own, unless they are part of
        an earlier one: then `first` counts those before."""
        items = tuple(
            (*item(*([task] if isinstance(task, str) else task))[:3], order)
            for order, task in enumerate(tasks, first)
        )
        if call is None:
            call = self._calls = self._calls + 1
        groups = ((function, options, wanted, items),)
        self.send(client, Submit({function: b"blob"}, groups, more, again=again, call=call))

    def finish(self, worker: str, *assignments: int, microseconds: int = 10) -> None:
        self.send(worker, Done([(a, 28, microseconds, b"v", None) for a in assignments]))

    def fail(self, worker: str, *assignments: int) -> None:
        self.send(worker, Errors([(a, b"exception") for a in assignments]))

    def made_anew(self, key: str) -> int:
        """W has a result that C had called off, and is at the same task again: under that number."""
        self.submit("C", key)
        first = self.runs("W")[key]
        self.release("C", key)
        self.submit("C", key)
        second = self.runs("W")[key]
        self.finish("W", first)
        return second

    def release(self, client: str, *keys: str) -> None:
        self.send(client, Release(keys))

    # What has come

    def take(self, peer: str, kind: Any) -> list[Any]:
        """The messages of this kind; they are removed."""
        found = [message for message in self.inbox[peer] if type(message) is kind]
        self.inbox[peer] = [message for message in self.inbox[peer] if type(message) is not kind]
        return found

    def runs(self, worker: str) -> dict[str, int]:
        """{key: assignment} of what the worker has been given since the last call."""
        return {i[1]: i[0] for message in self.take(worker, Run) for i in message.items}

    def finished(self, client: str) -> list[str]:
        return [item[0] for message in self.take(client, Finished) for item in message.items]

    def items(self, peer: str, kind: Any) -> list[Any]:
        """All items of the messages of a kind."""
        return [item for message in self.take(peer, kind) for item in message[0]]

    def state(self, key: str) -> str | None:
        task = self.core.lifecycle.tasks.get(key)
        return None if task is None else task.state

    def assert_empty(self) -> None:
        """Nothing is remembered of work that nobody wants."""
        lifecycle = self.core.lifecycle
        assert lifecycle.tasks == {}
        assert self.core.locks.table == {}
        assert not any(worker.holds for worker in self.core.members.workers.values())


def worker_hello(id: str) -> WorkerHello:
    """Of a worker of that name with one thread, that has nothing yet."""
    return WorkerHello(
        worker=id,
        epoch="",
        name=id,
        address=address(id),
        nthreads=1,
        memory_limit=0,
        resources={},
        pid=1,
        nanny="",
        protocol=PROTOCOL,
        python=PYTHON,
        holds=(),
        assigned=(),
    )


def item(key: str, *dependencies: str) -> tuple[Any, ...]:
    return (key, b"args", dependencies or None, 0)


def address(worker: str) -> str:
    return f"tcp://{worker}:1"
