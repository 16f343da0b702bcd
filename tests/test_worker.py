"""The worker's shell, beside a scheduler that is only a socket."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from distributed.codec import decode, encode
from distributed.messages import (
    Answer,
    Call,
    Errors,
    HelloAgain,
    Message,
    Run,
    Welcome,
    WorkerHello,
)
from distributed.serialize import pickle_bytes
from distributed.transport import Context, Router
from distributed.unpickling import unpickle
from distributed.worker import Worker
from tests.support import wait_until


class Scheduler:
    """Only a socket."""

    def __init__(self) -> None:
        self._open(0)
        self.address = self._router.address

    def _open(self, port: int) -> None:
        self._context: Any = Context()
        self._router = Router(self._context, "127.0.0.1", port)
        self._peer = b""
        self._heard: list[Any] = []

    def heard(self, kind: type) -> list[Any]:
        for peer, frames in self._router.receive():
            self._peer = peer
            self._heard += decode(frames[0])
        return [message for message in self._heard if type(message) is kind]

    def say(self, *messages: Message) -> None:
        self._router.send(self._peer, (encode(messages),))

    def start_again(self) -> None:
        """On the same address: a new connection, and nothing heard yet."""
        self.close()
        self._open(self.address.port)

    def close(self) -> None:
        self._router.close(0)
        self._context.term()


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    """With a worker of one thread that has said hello."""
    scheduler = Scheduler()
    worker = Worker(scheduler.address, nthreads=1)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_until(lambda: scheduler.heard(WorkerHello))
        yield scheduler
    finally:
        worker.stop()
        thread.join()
        scheduler.close()


def test_what_ends_after_hello_and_before_welcome_is_reported(scheduler: Scheduler) -> None:
    """The hello said that it runs. Nobody else would say that it does not any more."""
    # It fails, for this is no function.
    scheduler.say(Run("f", b"nothing", False, [(1, "x", b"", None, True)]))
    wait_until(lambda: scheduler.heard(Errors))


times: list[int] = []


def count() -> int:
    times.append(1)
    return len(times)


def test_a_call_that_is_asked_for_again_runs_once(scheduler: Scheduler) -> None:
    times.clear()
    call = Call(7, pickle_bytes((count, (), {})))
    scheduler.say(call, call)
    wait_until(lambda: scheduler.heard(Answer))
    scheduler.say(call)
    wait_until(lambda: len(scheduler.heard(Answer)) == 2)
    assert [unpickle(answer.value) for answer in scheduler.heard(Answer)] == [1, 1]
    scheduler.start_again()
    wait_until(lambda: scheduler.heard(WorkerHello))
    scheduler.say(call)
    wait_until(lambda: scheduler.heard(Answer))
    assert [unpickle(answer.value) for answer in scheduler.heard(Answer)] == [1]
    assert times == [1]


def test_files_that_are_there_are_not_installed_again(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the modules would be imported anew each time that a connection breaks."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    welcome = Welcome("epoch 1", {"uploaded_for_test.py": b"calls = []", "data.csv": b"1,2"})
    call = Call(1, pickle_bytes((count_calls, (), {})))
    for number in (1, 2):
        scheduler.say(welcome, call._replace(request=number))
        wait_until(lambda number=number: len(scheduler.heard(Answer)) == number)
    later = {"data.csv": b"1,2", "uploaded_for_test.py": b"calls = []"}  # uploaded once more
    scheduler.say(Welcome("epoch 1", later), call._replace(request=3))
    wait_until(lambda: len(scheduler.heard(Answer)) == 3)
    monkeypatch.delitem(sys.modules, "uploaded_for_test")
    assert [unpickle(answer.value) for answer in scheduler.heard(Answer)] == [1, 2, 1]


def count_calls() -> int:
    calls: list[None] = importlib.import_module("uploaded_for_test").calls
    calls.append(None)
    return len(calls)


def test_a_hello_that_was_asked_for_tells_of_what_came_just_before(scheduler: Scheduler) -> None:
    """A scheduler that has given it up does not know of that any more, and cannot ask for it."""
    waits = [(1, "x", b"", (("y", 1, ("tcp://127.0.0.1:1",), 0),), True)]
    scheduler.say(Welcome("epoch 1", {}), Run("f", b"nothing", False, waits), HelloAgain())
    wait_until(lambda: len(scheduler.heard(WorkerHello)) == 2)
    assert scheduler.heard(WorkerHello)[1].assigned == ((1, "x"),)


def test_hello_is_said_again_only_when_the_last_has_been_answered(scheduler: Scheduler) -> None:
    """One that the scheduler hears long after it was said tells of what was, and not of what is."""
    call = Call(1, pickle_bytes((len, ("",), {})))
    scheduler.say(HelloAgain())
    scheduler.say(HelloAgain(), call)
    wait_until(lambda: scheduler.heard(Answer))
    assert len(scheduler.heard(WorkerHello)) == 1
    scheduler.say(Welcome("epoch 1", {}), HelloAgain())
    scheduler.say(HelloAgain(), call._replace(request=2))
    wait_until(lambda: len(scheduler.heard(Answer)) == 2)
    assert [hello.epoch for hello in scheduler.heard(WorkerHello)] == ["", "epoch 1"]
