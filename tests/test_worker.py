"""The worker's shell, beside a scheduler that is only a socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from distributed.codec import decode, encode
from distributed.messages import Errors, HelloAgain, Run, WorkerHello
from distributed.transport import Context, Router
from distributed.worker import Worker
from tests.support import wait_until


@pytest.fixture
def router() -> Iterator[Router]:
    """Where the worker takes it for a scheduler."""
    context: Any = Context()
    router = Router(context, "127.0.0.1", 0)
    yield router
    router.close(0)
    context.term()


@contextmanager
def running(router: Router) -> Iterator[list[tuple[bytes, Any]]]:
    """A worker of one thread; all that is heard of it, once `listen` has been called."""
    worker = Worker(router.address, nthreads=1)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield []
    finally:
        worker.stop()
        thread.join()


def listen(router: Router, heard: list[tuple[bytes, Any]], kind: type, count: int = 1) -> list[Any]:
    """The messages of the kind, once there are so many; and who has sent them."""

    def found() -> list[Any]:
        for peer, frames in router.receive():
            heard.extend((peer, message) for message in decode(frames[0]))
        return [(peer, message) for peer, message in heard if type(message) is kind]

    wait_until(lambda: len(found()) >= count)
    return found()


def test_what_ends_after_hello_and_before_welcome_is_reported(router: Router) -> None:
    """The hello said that it runs. Nobody else would say that it does not any more."""
    with running(router) as heard:
        ((peer, _),) = listen(router, heard, WorkerHello)
        # It fails, for this is no function.
        run = Run("f", b"nothing", [(1, "x", b"", None, True)])
        router.send(peer, (encode([run]),))
        listen(router, heard, Errors)


def test_a_hello_that_was_asked_for_tells_of_what_came_just_before(router: Router) -> None:
    """A scheduler that has given it up does not know of that any more, and cannot ask for it."""
    with running(router) as heard:
        ((peer, _),) = listen(router, heard, WorkerHello)
        waits = [(1, "x", b"", (("y", 1, ("tcp://127.0.0.1:1",)),), True)]
        router.send(peer, (encode([Run("f", b"nothing", waits), HelloAgain()]),))
        _, (_, hello) = listen(router, heard, WorkerHello, 2)
        assert hello.assigned == ((1, "x"),)
