"""The worker's shell, beside a scheduler that is only a socket."""

from __future__ import annotations

import threading
from typing import Any

from distributed.codec import decode, encode
from distributed.messages import Errors, Run, WorkerHello
from distributed.transport import Context, Router
from distributed.worker import Worker
from tests.support import wait_until


def test_what_ends_after_hello_and_before_welcome_is_reported() -> None:
    """The hello said that it runs. Nobody else would say that it does not any more."""
    context: Any = Context()
    router = Router(context, "127.0.0.1", 0)
    worker = Worker(router.address, nthreads=1)
    thread = threading.Thread(target=worker.run)
    thread.start()
    heard: dict[type, bytes] = {}

    def listen() -> None:
        for peer, frames in router.receive():
            heard.update((type(message), peer) for message in decode(frames[0]))

    try:
        wait_until(lambda: listen() or WorkerHello in heard)
        # It fails, for this is no function.
        run = Run("f", b"nothing", False, [(1, "x", b"", None, True)])
        router.send(heard[WorkerHello], (encode([run]),))
        wait_until(lambda: listen() or Errors in heard)
    finally:
        worker.stop()
        thread.join()
        router.close(0)
        context.term()
