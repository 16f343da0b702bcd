"""What a nanny says of a death: which tasks were running. The scheduler is only a socket here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from distributed.arguments import call_item
from distributed.codec import decode, encode
from distributed.messages import Died, Goodbye, Message, Run, Seceded, Welcome, WorkerHello
from distributed.nanny import Nanny, WorkerOptions
from distributed.recipes import function_of
from distributed.tasks import current_task
from distributed.transport import Context, Router
from tests.support import block, wait_until


class Socket:
    """Hears all that a nanny and its workers say, and gives work to the worker that came first."""

    def __init__(self) -> None:
        self._context: Any = Context()
        self.router = Router(self._context, "127.0.0.1", 0)
        self.heard: list[tuple[bytes, Any]] = []

    def hear(self, kind: type) -> Any:
        """The first message of the kind, once it has come."""
        wait_until(lambda: self._listen() or self._found(kind), 20, f"a {kind.__name__}")
        return self._found(kind)[0][1]

    def _listen(self) -> None:
        for peer, frames in self.router.receive():
            self.heard += [(peer, message) for message in decode(frames[0])]

    def _found(self, kind: type) -> list[tuple[bytes, Any]]:
        return [(peer, message) for peer, message in self.heard if type(message) is kind]

    def tell(self, *messages: Message) -> None:
        ((peer, _), *_) = self._found(WorkerHello)
        self.router.send(peer, (encode(messages),))

    def run(self, func: Callable[..., Any], *calls: tuple[Any, ...]) -> None:
        """The assignments are numbered from 1 within each call of this."""
        function = function_of(func)
        items = [call_item(function, args, {}, None, False) for args in calls]
        numbered = [(n, key, packed, None, True) for n, (key, packed, *_) in enumerate(items, 1)]
        self.tell(Run(function.id, function.blob, False, numbered))

    def close(self) -> None:
        self.router.close(0)
        self._context.term()


@pytest.fixture
def scheduler() -> Iterator[Socket]:
    found = Socket()
    yield found
    found.close()


@pytest.fixture
def nanny(scheduler: Socket, tmp_path: Path) -> Iterator[Nanny]:
    """Of one worker with two threads that has registered."""
    options = WorkerOptions(2, None, "127.0.0.1", (), 0, {}, str(tmp_path), None, "warning")
    found = Nanny(scheduler.router.address, options, 1, sys.path)
    thread = threading.Thread(target=found.run)
    thread.start()
    try:
        scheduler.hear(WorkerHello)
        scheduler.tell(Welcome("epoch", {}))
        yield found
    finally:
        found.stop()
        thread.join()


def end_or_block(path: str, status: int) -> None:
    Path(f"{path}.{status}").touch()
    if status:
        block(f"{path}.0")  # until the others run as well
        os._exit(status)
    block(path)


def test_the_tasks_that_ran_are_named_and_none_that_waited(
    scheduler: Socket, nanny: Nanny, gate: str
) -> None:
    scheduler.run(end_or_block, (gate, 3), (gate, 0), (gate, 4), (gate, 5))
    died = scheduler.hear(Died)
    assert died.reason.startswith("exit status 3; it last used 0.")
    assert sorted(died.running) == [1, 2]


def secede_and_block(path: str) -> None:
    worker, assignment = current_task()  # type: ignore[misc]
    worker.secede(assignment)
    block(path)


def test_a_task_that_waits_for_others_runs_too(scheduler: Socket, nanny: Nanny, gate: str) -> None:
    scheduler.run(secede_and_block, (gate,), (gate,), (gate,))
    wait_until(lambda: scheduler.hear(Seceded) and _count(scheduler) == 3)
    os.kill(scheduler.hear(WorkerHello).pid, signal.SIGSEGV)
    died = scheduler.hear(Died)
    assert died.reason.startswith("signal 11 (SIGSEGV)")
    assert sorted(died.running) == [1, 2, 3]


def _count(scheduler: Socket) -> int:
    scheduler._listen()
    return sum(len(m.assignments) for _, m in scheduler.heard if type(m) is Seceded)


def test_an_end_that_was_ordered_is_nobodys_fault(
    scheduler: Socket, nanny: Nanny, gate: str
) -> None:
    scheduler.run(end_or_block, (gate, 0))
    wait_until(Path(f"{gate}.0").exists)
    os.kill(scheduler.hear(WorkerHello).pid, signal.SIGTERM)
    assert scheduler.hear(Died).running == ()
    assert scheduler.hear(Goodbye) == Goodbye()


def test_whom_a_nanny_kills_as_it_ends_is_nobodys_victim(
    scheduler: Socket, nanny: Nanny, tmp_path: Path
) -> None:
    pid = scheduler.hear(WorkerHello).pid
    scheduler.run(end_or_block, (str(tmp_path / "gate"), 0))
    wait_until((tmp_path / "gate.0").exists)
    os.kill(pid, signal.SIGSTOP)  # it cannot end by itself
    nanny.stop()
    died = scheduler.hear(Died)
    assert (died.reason, died.running) == ("its nanny was stopped", ())


def leave_a_child(path: str) -> None:
    subprocess.Popen(["sleep", "5"], start_new_session=True)
    os._exit(3)


def test_a_death_is_told_soon_although_somebody_keeps_the_output_open(
    scheduler: Socket, nanny: Nanny, tmp_path: Path
) -> None:
    scheduler.run(leave_a_child, (str(tmp_path),))
    hello = scheduler.hear(WorkerHello)
    wait_until(lambda: not os.path.exists(f"/proc/{hello.pid}"))
    begin = time.monotonic()
    scheduler.hear(Died)
    assert time.monotonic() - begin < 1
