"""The floor: what sockets and the interpreter allow on this machine, with every feature left out.

The same pipeline as the real one: a client packs and pickles tasks, a ROUTER hands them to two
workers, these run them in a thread and report, and the client hears of it; each in a process of
its own, over TCP on loopback. But no keys are hashed, nothing depends on anything, no data moves,
and whoever dies is not missed. Figures of the real system mean something as ratios to these, taken
in the same run.

    python benchmarks/floor.py [TASKS]
"""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import msgpack
import zmq

HELLO, READY, SUBMIT, RUN, DONE = range(5)
WORKERS = 2
ROUNDS = 5
TRIPS = 1000
# The client's tasks in a message: the message's own cost vanishes, and the first tasks run early.
BATCH = 500
# Tasks that a worker holds: enough to keep it busy while its report is under way.
PREFETCH = 64
# A process that has not answered after so many milliseconds has died.
PATIENCE_MS = 30_000
# What a result's size would be in a report: that of a small int.
NBYTES = 28

# Fresh processes: nothing is inherited from whatever this process is doing.
processes = multiprocessing.get_context("spawn")


def inc(x: int) -> int:
    return x + 1


# The three roles -------------------------------------------------------------------------------


class Task:
    __slots__ = ("blob", "key", "nbytes", "worker")

    def __init__(self, key: str, blob: bytes) -> None:
        self.key, self.blob = key, blob
        self.worker: bytes | None = None
        self.nbytes: int | None = None


class Broker:
    """Hands tasks to workers in batches: reads all there is, decides once, sends once to each."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.client = b""
        self.running: dict[bytes, int] = {}
        self.tasks: dict[str, Task] = {}
        self.ready: deque[Task] = deque()
        self.out: dict[bytes, list[Any]] = {}

    def run(self) -> None:
        while True:
            self.receive()
            self.assign()
            for peer, messages in self.out.items():
                self.sock.send_multipart((peer, msgpack.packb(messages)))
            self.out.clear()

    def receive(self) -> None:
        frames = self.sock.recv_multipart()
        while frames:
            for operation, items in msgpack.unpackb(frames[1]):
                self.handle(frames[0], operation, items)
            try:
                frames = self.sock.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                frames = None

    def handle(self, peer: bytes, operation: int, items: Any) -> None:
        if operation == SUBMIT:
            tasks, ready = self.tasks, self.ready
            for key, blob in items:
                tasks[key] = task = Task(key, blob)
                ready.append(task)
        elif operation == DONE:
            tasks = self.tasks
            for key, nbytes in items:
                tasks[key].nbytes = nbytes
            self.running[peer] -= len(items)
            self.out.setdefault(self.client, []).append((DONE, items))
        elif operation == HELLO:
            self.welcome(peer, items)

    def welcome(self, peer: bytes, role: str) -> None:
        if role == "client":
            self.client = peer
        else:
            self.running[peer] = 0
        if self.client and len(self.running) == WORKERS:
            self.out[self.client] = [(READY, None)]

    def assign(self) -> None:
        ready = self.ready
        for worker, held in self.running.items():
            batch: list[tuple[str, bytes]] = []
            while ready and held + len(batch) < PREFETCH:
                task = ready.popleft()
                task.worker = worker
                batch.append((task.key, task.blob))
            if batch:
                self.running[worker] += len(batch)
                self.out.setdefault(worker, []).append((RUN, batch))


class Worker:
    """One thread has the socket, another one runs the tasks."""

    def __init__(self, address: str) -> None:
        context = zmq.Context()
        self.sock = connect(context, address)
        self.todo: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self.done: deque[tuple[str, int]] = deque()
        self.data: dict[str, Any] = {}
        self.waker = context.socket(zmq.PUSH)
        self.waker.bind("inproc://done")
        self.woken = context.socket(zmq.PULL)
        self.woken.connect("inproc://done")

    def run(self) -> None:
        threading.Thread(target=self.run_tasks, daemon=True).start()
        self.sock.send(msgpack.packb([(HELLO, "worker")]))
        poller = zmq.Poller()
        poller.register(self.sock, zmq.POLLIN)
        poller.register(self.woken, zmq.POLLIN)
        while True:
            for sock, _ in poller.poll():
                if sock is self.sock:
                    for _operation, items in msgpack.unpackb(sock.recv()):
                        for item in items:
                            self.todo.put(item)
                else:
                    self.report()

    def report(self) -> None:
        self.woken.recv()
        batch = [self.done.popleft() for _ in range(len(self.done))]
        if batch:
            self.sock.send(msgpack.packb([(DONE, batch)]))

    def run_tasks(self) -> None:
        todo, done, data = self.todo, self.done, self.data
        while True:
            key, blob = todo.get()
            func, args = pickle.loads(blob)
            data[key] = func(*args)
            done.append((key, NBYTES))
            if len(done) == 1:
                self.waker.send(b"")


class Floor:
    """The pipeline, running, with this process as its client. To be used in a `with` statement.

    Raises TimeoutError if one of its processes dies.
    """

    def __init__(self) -> None:
        self._processes: list[Any] = []
        self._context = zmq.Context()
        self._round = 0

    def __enter__(self) -> Floor:
        try:
            broker, echo = self._start(broker_process), self._start(echo_process)
            address = address_from(broker)
            for _ in range(WORKERS):
                self._start(worker_process, address)
            self._sock = self._connect(address)
            self._echo = self._connect(address_from(echo))
            self._sock.send(msgpack.packb([(HELLO, "client")]))
            self._receive(self._sock)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.kill()
            process.join()
        self._context.destroy(linger=0)

    def tasks_per_second(self, n: int) -> float:
        """The rate at which `n` tasks are submitted, run, and reported to be done."""
        self._round += 1
        start = time.perf_counter()
        left = self._submit(n)
        while left:
            for _operation, items in msgpack.unpackb(self._receive(self._sock)):
                for key, _nbytes in items:
                    del left[key]
        return n / (time.perf_counter() - start)

    def round_trip(self) -> float:
        """The seconds that a message of one byte takes to a ROUTER and back."""
        start = time.perf_counter()
        self._echo.send(b"x")
        self._receive(self._echo)
        return time.perf_counter() - start

    def _submit(self, n: int) -> dict[str, list[None]]:
        pending: dict[str, list[None]] = {}
        batch: list[tuple[str, bytes]] = []
        for i in range(n):
            key = f"inc-{self._round}-{i}"
            pending[key] = [None, None]
            batch.append((key, pickle.dumps((inc, (i,)), 5)))
            if len(batch) == BATCH or i == n - 1:
                self._sock.send(msgpack.packb([(SUBMIT, batch)]))
                batch = []
        return pending

    def _receive(self, sock: Any) -> bytes:
        try:
            message: bytes = sock.recv()
        except zmq.Again:
            raise TimeoutError(
                f"the floor has not answered within {PATIENCE_MS / 1000:g} s: "
                "one of its processes has died; its traceback is above"
            ) from None
        return message

    def _connect(self, address: str) -> Any:
        sock = connect(self._context, address)
        sock.rcvtimeo = PATIENCE_MS
        return sock

    def _start(self, target: Callable[..., None], *args: Any) -> Connection:
        """Start a process; returns the pipe on which it may tell its address."""
        ours, theirs = processes.Pipe(duplex=False)
        process = processes.Process(target=target, args=(theirs, *args), daemon=True)
        process.start()
        self._processes.append(process)
        theirs.close()
        return ours


# Processes and sockets -------------------------------------------------------------------------


def broker_process(tell: Connection) -> None:
    Broker(listen(tell)).run()


def worker_process(_tell: Connection, address: str) -> None:
    Worker(address).run()


def echo_process(tell: Connection) -> None:
    sock = listen(tell)
    while True:
        sock.send_multipart(sock.recv_multipart())


def listen(tell: Connection) -> Any:
    sock: Any = zmq.Context.instance().socket(zmq.ROUTER)
    sock.set_hwm(0)
    port = sock.bind_to_random_port("tcp://127.0.0.1")
    tell.send(f"tcp://127.0.0.1:{port}")
    return sock


def connect(context: Any, address: str) -> Any:
    sock = context.socket(zmq.DEALER)
    sock.set_hwm(0)
    sock.connect(address)
    return sock


def address_from(pipe: Connection) -> str:
    if not pipe.poll(PATIENCE_MS / 1000):
        raise TimeoutError(f"a process has not told its address within {PATIENCE_MS / 1000:g} s")
    address: str = pipe.recv()
    return address


# Figures ---------------------------------------------------------------------------------------


def tasks_per_second(n: int = 20_000) -> float:
    """The median rate of five rounds of `n` tasks."""
    with Floor() as floor:
        return statistics.median(floor.tasks_per_second(n) for _ in range(ROUNDS))


def round_trip_seconds() -> float:
    """The median over five rounds of the median time of a message to a ROUTER and back."""
    with Floor() as floor:
        rounds = [[floor.round_trip() for _ in range(TRIPS)] for _ in range(ROUNDS)]
    return statistics.median(statistics.median(trips) for trips in rounds)


if __name__ == "__main__":
    print(f"{tasks_per_second(*map(int, sys.argv[1:])):,.0f} tasks per second")
    print(f"{round_trip_seconds() * 1e6:.0f} µs for the round trip of a message")
