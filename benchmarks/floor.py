"""The floor: what the sockets and the interpreter allow on this machine.

A client, a broker and two workers pass tasks over ZeroMQ as the real ones do: in batches, packed with
msgpack, functions and arguments pickled, with a record of each task at the broker. Everything else is
left out: no dependencies, no keys that mean anything, no memory management, nothing that survives a
fault. A real system can come close to these figures,
not beyond.
"""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import msgpack
import zmq

SUBMIT, DONE, RUN, FINISHED, HELLO = range(5)
BATCH = 500  # tasks in a message of the client
PREFETCH = 64  # tasks that a worker may have at a time


class _Task:
    """What a broker has to remember of a task, if it does nothing with it."""

    __slots__ = ("key", "nbytes", "run", "state", "worker")

    def __init__(self, key: str, run: bytes) -> None:
        self.key, self.run = key, run
        self.state, self.worker, self.nbytes = "ready", b"", 0


def _broker(port: Connection) -> None:
    router = zmq.Context().socket(zmq.ROUTER)
    router.set_hwm(0)
    port.send(router.bind_to_random_port("tcp://127.0.0.1"))
    tasks: dict[str, _Task] = {}
    ready: deque[_Task] = deque()
    assigned: dict[bytes, int] = {}
    client = b""
    while True:
        out: dict[bytes, list[Any]] = {}
        sender, frame = router.recv_multipart()
        while frame is not None:
            for code, items in msgpack.unpackb(frame):
                if code == SUBMIT:
                    client = sender
                    for key, run in items:
                        tasks[key] = task = _Task(key, run)
                        ready.append(task)
                elif code == DONE:
                    for key, nbytes in items:
                        tasks[key].state, tasks[key].nbytes = "memory", nbytes
                    assigned[sender] -= len(items)
                    out.setdefault(client, []).append((FINISHED, items))
                else:
                    assigned[sender] = 0
                    port.send("hello")
            try:
                sender, frame = router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                frame = None
        for worker in assigned:
            count = min(len(ready), PREFETCH - assigned[worker])
            if count > 0:
                batch = []
                for _ in range(count):
                    task = ready.popleft()
                    task.worker = worker
                    batch.append((task.key, task.run))
                assigned[worker] += count
                out.setdefault(worker, []).append((RUN, batch))
        for peer, messages in out.items():
            router.send_multipart((peer, msgpack.packb(messages)))


def _worker(port: int) -> None:
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.set_hwm(0)
    dealer.connect(f"tcp://127.0.0.1:{port}")
    dealer.send(msgpack.packb([(HELLO, [])]))
    waker, woken = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    woken.bind("inproc://woken")
    waker.connect("inproc://woken")
    tasks: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
    done: deque[tuple[str, int]] = deque()
    results = {}

    def run() -> None:
        while True:
            key, blob = tasks.get()
            func, args = pickle.loads(blob)
            results[key] = func(*args)
            done.append((key, 28))
            if len(done) == 1:
                waker.send(b"")

    threading.Thread(target=run, daemon=True).start()
    poller = zmq.Poller()
    poller.register(dealer, zmq.POLLIN)
    poller.register(woken, zmq.POLLIN)
    while True:
        for ready, _ in poller.poll():
            if ready is dealer:
                for _, items in msgpack.unpackb(dealer.recv()):
                    for item in items:
                        tasks.put(item)
            else:
                woken.recv()
                batch = [done.popleft() for _ in range(len(done))]
                if batch:
                    dealer.send(msgpack.packb([(DONE, batch)]))


def _echo(port: Connection) -> None:
    router = zmq.Context().socket(zmq.ROUTER)
    port.send(router.bind_to_random_port("tcp://127.0.0.1"))
    while True:
        router.send_multipart(router.recv_multipart())


def inc(x: int) -> int:
    return x + 1


@contextmanager
def _process(target: Callable[..., None], *args: Any) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=target, args=args, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


@contextmanager
def _dealer(port: int) -> Iterator[zmq.Socket[Any]]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.set_hwm(0)
        dealer.linger = 0
        dealer.connect(f"tcp://127.0.0.1:{port}")
        yield dealer


@contextmanager
def pipeline() -> Iterator[Callable[[int], float]]:
    """A function that passes so many tasks through and returns tasks per second."""
    ours, theirs = multiprocessing.Pipe()
    with _process(_broker, theirs):
        port = ours.recv()
        with _process(_worker, port), _process(_worker, port), _dealer(port) as dealer:
            assert [ours.recv(), ours.recv()] == ["hello", "hello"]
            yield lambda tasks: _pass_through(dealer, tasks)


def _pass_through(dealer: zmq.Socket[Any], tasks: int) -> float:
    start = time.perf_counter()
    status: dict[str, int | None] = {}
    batch = []
    for i in range(tasks):
        key = f"inc-{i}"
        status[key] = None
        batch.append((key, pickle.dumps((inc, (i,)), 5)))
        if len(batch) == BATCH or i == tasks - 1:
            dealer.send(msgpack.packb([(SUBMIT, batch)]))
            batch = []
    left = tasks
    while left:
        for _, items in msgpack.unpackb(dealer.recv()):
            for key, nbytes in items:
                status[key] = nbytes
            left -= len(items)
    return tasks / (time.perf_counter() - start)


def round_trip(times: int = 2000) -> float:
    """Median seconds from sending a byte through a ROUTER to having it back."""
    ours, theirs = multiprocessing.Pipe()
    with _process(_echo, theirs), _dealer(ours.recv()) as dealer:
        trips = []
        for _ in range(times):
            start = time.perf_counter()
            dealer.send(b"x")
            dealer.recv()
            trips.append(time.perf_counter() - start)
    return median(trips)


if __name__ == "__main__":
    with pipeline() as tasks_per_second:
        rates = [tasks_per_second(20_000) for _ in range(5)]
    print(f"{median(rates):,.0f} tasks a second, {round_trip() * 1e6:.0f} µs a round trip")
