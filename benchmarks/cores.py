"""SchedulerCore without sockets: how many events a second it can handle.

An event is a task that is submitted or a task that is reported: two for each task. Workers answer all they
are given at once, so each call of `handle` is given a batch from each, as under load. Processor time is
measured: nothing here waits.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from benchmarks.system import Figures, Graph, Key
from benchmarks.workloads import WORKERS
from distributed.core.scheduler import SchedulerCore
from distributed.core.states import Effect, Send
from distributed.messages import (
    PROTOCOL,
    PYTHON,
    ClientHello,
    Done,
    Finished,
    Message,
    Run,
    Submit,
    WorkerHello,
)

BATCH = 2_000  # tasks in one message of the client
FUNCTION = "f" * 32
ARGUMENTS = b"a" * 40
MICROSECONDS = 20
CLIENT = b"client"
Event = tuple[bytes, Message]


def measure(make: Callable[[int, int], tuple[Graph, Key]], size: int, start: int) -> Figures:
    graph, key = make(size, start)
    core = SchedulerCore("epoch")
    core.handle(_hellos(), 0.0)
    events: list[Event] = [(CLIENT, message) for message in _submits(graph, key)]
    seconds, reported, finished = 0.0, 0, 0
    gc.collect()
    gc.freeze()  # what belongs to the measuring, the core's own objects not yet being among it
    while events:
        begin = time.process_time()
        effects = core.handle(events, seconds)
        seconds += time.process_time() - begin
        events = _reports(effects)
        reported += sum(len(message.items) for _, message in events)  # type: ignore[attr-defined]
        finished += _finished(effects)
    gc.unfreeze()
    if (reported, finished) != (len(graph), 1):
        raise AssertionError(f"{reported} of {len(graph)} tasks were run, {finished} reported")
    return {"rate": 2 * len(graph) / seconds}


def _hellos() -> list[Event]:
    client = ClientHello(
        client="c", epoch="", protocol=PROTOCOL, python=PYTHON, wants=(), locks=(), worker=""
    )
    workers = [worker_hello(number) for number in range(WORKERS)]
    return [(CLIENT, client), *((hello.name.encode(), hello) for hello in workers)]


def worker_hello(number: int) -> WorkerHello:
    """Of a worker that has nothing yet, and no address: its results come with its reports."""
    return WorkerHello(
        worker=f"zero-{number}",
        epoch="",
        name=f"zero-{number}",
        address=f"tcp://127.0.0.1:{number + 1}",
        nthreads=1,
        memory_limit=0,
        resources={},
        pid=0,
        nanny="",
        protocol=PROTOCOL,
        python=PYTHON,
        holds=(),
        assigned=(),
    )


def _submits(graph: Graph, wanted: Key) -> list[Submit]:
    """As a client says it; the key that it wants is the graph's last."""
    items = []
    for order, (key, (_, argument)) in enumerate(graph.items()):
        inputs = [_name(k) for k in argument] if isinstance(argument, list) else None
        items.append((_name(key), ARGUMENTS, inputs, order))
    assert _name(wanted) == items[-1][0]
    functions = {FUNCTION: b"function"}
    submits = []
    for first in range(0, len(items) - 1, BATCH):
        batch = items[first : min(first + BATCH, len(items) - 1)]
        submits.append(Submit(functions, ((FUNCTION, None, False, batch),), True))
    return [*submits, Submit(functions, ((FUNCTION, None, True, items[-1:]),), False)]


def _name(key: Key) -> str:
    return f"{key[0]}-{key[1]}-{key[2]}"


def _reports(effects: list[Effect]) -> list[Event]:
    events: list[Event] = []
    for effect in effects:
        if isinstance(effect, Send) and effect.peer != CLIENT:
            items = [
                (assignment, 28, MICROSECONDS, b"value" if wanted else None, None)
                for message in effect.batch
                if type(message) is Run
                for assignment, _, _, _, wanted in message.items
            ]
            if items:
                events.append((effect.peer, Done(items)))
    return events


def _finished(effects: list[Effect]) -> int:
    return sum(
        len(message.items)
        for effect in effects
        if isinstance(effect, Send) and effect.peer == CLIENT
        for message in effect.batch
        if type(message) is Finished
    )
