"""The processes of a cluster that are there to be killed: real commands, on addresses that stay.

Some of the workers reach the scheduler through a proxy, so that their connection can be cut.
"""

from __future__ import annotations

import os
import signal
import socket
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple

import psutil

from distributed import Executor
from distributed.paths import python_like_ours
from distributed.processes import Child
from tests.chaos.proxy import Proxy
from tests.support import wait_until

# A command that has not started by then never will, on a machine that is busy with all the others.
START_SECONDS = 30.0
END_SECONDS = 5.0
# The scheduler's patience: so short that much happens in little time.
WORKER_TIMEOUT, CLIENT_TIMEOUT = 5.0, 6.0
# Of what the processes say, so much is kept for the report of a failure.
KEPT_LINES = 200


class Usage(NamedTuple):
    """Of one process."""

    descriptors: int
    resident: int  # bytes


class Cluster:
    """A scheduler, and `nannies` commands `dworker` with `nprocs` workers each. The last `proxied` of them
    go through `worker_link`; clients may go through `client_link`."""

    def __init__(
        self,
        nannies: int = 1,
        nprocs: int = 1,
        nthreads: int = 1,
        proxied: int = 0,
        memory_limit: str = "0",
        worker_options: Sequence[str] = (),
    ) -> None:
        self.size = nannies * nprocs
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._nprocs, self._nthreads, self._memory_limit = nprocs, nthreads, memory_limit
        self._worker_options = tuple(worker_options)
        self.port = free_port()
        self.place = f"127.0.0.1:{self.port}"
        self.worker_link = Proxy("127.0.0.1", self.port)
        self.client_link = Proxy("127.0.0.1", self.port)
        self.scheduler: Child | None = None
        self.nannies: list[Child | None] = [None] * nannies
        self._first_proxied = nannies - proxied
        try:
            self.start_scheduler()
            for number in range(nannies):
                self.start_nanny(number)
            self.wait_for_workers()
        except BaseException:
            self.close()
            raise

    # The scheduler

    def start_scheduler(self) -> None:
        assert self.scheduler is None
        limits = ("--worker-timeout", str(WORKER_TIMEOUT), "--client-timeout", str(CLIENT_TIMEOUT))
        self.scheduler = self._run("dscheduler", "--port", str(self.port), *limits)

    def end_scheduler(self, number: int = signal.SIGKILL) -> None:
        assert self.scheduler is not None
        self.scheduler.process.send_signal(number)
        assert self.scheduler.join(END_SECONDS), "the scheduler does not end"
        self.scheduler = None

    # Nannies and workers

    def start_nanny(self, number: int) -> None:
        assert self.nannies[number] is None
        place = self.worker_link.place if number >= self._first_proxied else self.place
        self.nannies[number] = self._run(
            "dworker",
            place,
            "--nprocs",
            str(self._nprocs),
            "--nthreads",
            str(self._nthreads),
            "--memory-limit",
            self._memory_limit,
            *self._worker_options,
        )

    def end_nanny(self, number: int, signal_number: int = signal.SIGKILL) -> None:
        nanny = self.nannies[number]
        assert nanny is not None
        nanny.process.send_signal(signal_number)
        assert nanny.join(END_SECONDS), "a nanny does not end"
        self.nannies[number] = None

    def nanny_pids(self) -> list[int]:
        return [nanny.pid for nanny in self.nannies if nanny is not None]

    def worker_pids(self) -> list[int]:
        """Of all nannies, those that are there at the moment."""
        found: list[int] = []
        for pid in self.nanny_pids():
            try:
                found += [child.pid for child in psutil.Process(pid).children()]
            except psutil.NoSuchProcess:
                pass
        return found

    def connect(self, through_proxy: bool = False) -> Executor:
        place = self.client_link.place if through_proxy else self.place
        return Executor(place, timeout=START_SECONDS)

    def wait_for_workers(self) -> None:
        """Until all that should be there have registered, and no others."""
        with self.connect() as executor:
            wait_until(
                lambda: (
                    set(self.registered(executor)) == set(self.worker_pids())
                    and len(self.worker_pids()) == self.size
                ),
                START_SECONDS,
                f"{self.size} workers",
            )

    @staticmethod
    def registered(executor: Executor) -> list[int]:
        """The process ids of the workers that the scheduler knows."""
        return [worker["pid"] for worker in executor.scheduler_info()["workers"].values()]

    # All of them

    def usage(self) -> dict[int, Usage]:
        """Of the scheduler, the nannies, the workers, and this process, by their ids."""
        assert self.scheduler is not None
        pids = [self.scheduler.pid, *self.nanny_pids(), *self.worker_pids(), os.getpid()]
        found = {}
        for pid in pids:
            process = psutil.Process(pid)
            found[pid] = Usage(process.num_fds(), process.memory_info().rss)
        return found

    def called(self, pid: int) -> str:
        """What the process is."""
        if self.scheduler is not None and pid == self.scheduler.pid:
            return "scheduler"
        if pid == os.getpid():
            return "client"
        return "nanny" if pid in self.nanny_pids() else "worker"

    def close(self) -> None:
        for child in (*self.nannies, self.scheduler):
            if child is not None:
                send_signal(child.pid, signal.SIGCONT)
                child.terminate()
                if not child.join(END_SECONDS):
                    child.kill()
                    child.join()
        self.nannies, self.scheduler = [], None
        self.worker_link.close()
        self.client_link.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if error is not None:
            print("The processes said:", *self.lines, sep="\n")

    def _run(self, command: str, *arguments: str) -> Child:
        def on_text(text: str, is_error: bool) -> None:
            if is_error:
                self.lines.append(f"{command} {child.pid}: {text.rstrip():.500}")

        child = Child(
            python_like_ours(
                f"from distributed_commands import {command}; {command}()",
                *arguments,
                "--with-parent",
            ),
            on_text,
            lambda child: None,
        )
        return child


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def send_signal(pid: int, number: int) -> bool:
    """False if there is no such process any more."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def until_gone(pid: int, seconds: float = END_SECONDS) -> None:
    wait_until(lambda: not psutil.pid_exists(pid), seconds, f"the end of process {pid}")
