"""Zero-workers: they answer whatever they are told to run at once, and run nothing.

Many of them are in one process, so what is seen is the scheduler's part alone, with the real one and the
real protocol: how much more does it cost to have 64 workers than two? Not how fast tasks would be, for all
these workers are one interpreter.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import zmq

import distributed
from benchmarks.cores import worker_hello
from benchmarks.system import Figures, processor_time
from benchmarks.workloads import inc
from distributed import Executor, LocalCluster
from distributed.codec import decode, encode
from distributed.messages import (
    Done,
    HelloAgain,
    Message,
    Retract,
    Returned,
    Run,
    Welcome,
    WorkerHello,
)
from distributed.serialize import pickle_bytes

MICROSECONDS = 20  # that each task is said to have taken: short ones are sent ahead
VALUE = pickle_bytes(0)


def measure(workers: int, size: int, start: int) -> Figures:
    with (
        LocalCluster(n_workers=0) as cluster,
        _workers(cluster.scheduler_address, workers),
        Executor(cluster) as executor,
    ):
        # Every worker gets the function, and the scheduler an idea of how long it takes.
        distributed.wait(executor.map(inc, range(start - 10 * workers, start)))
        before = processor_time(cluster.scheduler_pid)
        begin = time.perf_counter()
        futures = executor.map(inc, range(start, start + size))
        distributed.wait(futures)
        seconds = time.perf_counter() - begin
        used = processor_time(cluster.scheduler_pid) - before
        if futures[-1].result() != 0:
            raise AssertionError("somebody else than a zero-worker has done a task")
    return {"scheduler": used / size * 1e6, "rate": size / seconds}


@contextmanager
def _workers(scheduler: str, count: int) -> Iterator[None]:
    """So many workers in a process of their own, once the scheduler has welcomed all."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(scheduler, count, theirs), daemon=True
    )
    process.start()
    theirs.close()
    try:
        if not ours.poll(30):
            raise TimeoutError(f"{count} zero-workers have not registered within 30 s")
        ours.recv()
        yield
    finally:
        process.kill()
        process.join()
        ours.close()


def _serve(scheduler: str, count: int, parent: Connection) -> None:
    context: Any = zmq.Context()
    poller = zmq.Poller()
    hellos: dict[Any, WorkerHello] = {}
    for number in range(count):
        dealer = context.socket(zmq.DEALER)
        dealer.set_hwm(0)
        dealer.connect(scheduler)
        hellos[dealer] = worker_hello(number)
        dealer.send(encode([hellos[dealer]]))
        poller.register(dealer, zmq.POLLIN)
    welcomed = 0
    while True:
        for dealer, _ in poller.poll():
            messages = decode(dealer.recv())
            answers = [answer for message in messages for answer in _answers(message)]
            for message in messages:
                if type(message) is HelloAgain:
                    answers.append(hellos[dealer])
                elif type(message) is Welcome:
                    welcomed += 1
                    if welcomed == count:
                        parent.send("all are here")
            if answers:
                dealer.send(encode(answers))


def _answers(message: Message) -> list[Message]:
    if type(message) is Run:
        items = [
            (assignment, len(VALUE), MICROSECONDS, VALUE if wanted else None, None)
            for assignment, _, _, _, wanted in message.items
        ]
        return [Done(items)]
    if type(message) is Retract:
        return [Returned([])]  # all that came has been answered
    return []
