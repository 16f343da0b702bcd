"""What is done to a cluster, drawn from a seed: kinds, order, victims, durations. What hits whom at which
moment of its work is up to the machine."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from distributed import Executor, SchedulerGone
from distributed.processes import python_command
from tests.chaos import garbage
from tests.chaos.cluster import WORKER_TIMEOUT, Cluster, send_signal
from tests.chaos.ledger import Ledger

# A process that stands still for longer may be given up.
LONG_SECONDS = 0.7 * WORKER_TIMEOUT


class Mix(NamedTuple):
    """How rough it gets. Times are in seconds, drawn evenly up to these."""

    pause: float = 0.6  # between faults
    stop: float = 3.0  # of a process
    cut: float = 4.0  # of a connection
    restart: float = 2.0  # without a scheduler


class Nemesis:
    """`strike` does one of its faults, and returns when the cluster is whole again as far as that goes."""

    def __init__(self, cluster: Cluster, ledger: Ledger, seed: int, mix: Mix) -> None:
        self.cluster = cluster
        self.ledger = ledger
        self.random = Random(seed)
        self.mix = mix
        self.done: Counter[str] = Counter()
        self.over = threading.Event()  # set: pauses end at once
        self._executor: Executor | None = None

    def strike(self) -> str:
        kind = self.random.choices(KINDS, WEIGHTS)[0]
        return self.do(kind)

    def do(self, kind: Callable[[Nemesis], str]) -> str:
        what = kind(self)
        self.done[what] += 1
        self._pause(self.mix.pause)
        return what

    def _pause(self, limit: float) -> None:
        self.over.wait(self.random.random() * limit)

    def _note(self, kind: str) -> str:
        self.ledger.fault(kind)
        return kind

    # Workers and nannies

    def kill_worker(self) -> str:
        return self._signal_worker(signal.SIGKILL, "worker killed")

    def end_worker(self) -> str:
        return self._signal_worker(signal.SIGTERM, "worker ended")

    def _signal_worker(self, number: int, kind: str) -> str:
        pids = self.cluster.worker_pids()
        if not pids:
            return "no worker to be killed"
        self._note(kind)
        send_signal(self.random.choice(pids), number)
        return kind

    def stop_worker(self) -> str:
        pids = self.cluster.worker_pids()
        return (
            self._stop(self.random.choice(pids), "worker stopped") if pids else "no worker to stop"
        )

    def stop_nanny(self) -> str:
        return self._stop(self.random.choice(self.cluster.nanny_pids()), "nanny stopped")

    def stop_scheduler(self) -> str:
        assert self.cluster.scheduler is not None
        return self._stop(self.cluster.scheduler.pid, "scheduler stopped")

    def _stop(self, pid: int, kind: str) -> str:
        seconds = self.random.random() * self.mix.stop
        if seconds > LONG_SECONDS:
            kind += " for long"
        self._note(kind)
        if send_signal(pid, signal.SIGSTOP):
            self.over.wait(seconds)
            send_signal(pid, signal.SIGCONT)
        return self._note(kind)

    def kill_nanny(self) -> str:
        return self._replace_nanny(signal.SIGKILL, "nanny killed")

    def end_nanny(self) -> str:
        return self._replace_nanny(signal.SIGTERM, "nanny ended")

    def _replace_nanny(self, number: int, kind: str) -> str:
        victim = self.random.randrange(len(self.cluster.nannies))
        self._note(kind)
        self.cluster.end_nanny(victim, number)
        self._pause(self.mix.restart)
        self.cluster.start_nanny(victim)
        return kind

    # Connections

    def cut_workers(self) -> str:
        return self._cut(
            self.cluster.worker_link.cut, self.cluster.worker_link.heal, "worker link cut"
        )

    def hold_workers(self) -> str:
        link = self.cluster.worker_link
        return self._cut(link.hold, link.heal, "worker link held")

    def cut_clients(self) -> str:
        return self._cut(
            self.cluster.client_link.cut, self.cluster.client_link.heal, "client link cut"
        )

    def hold_clients(self) -> str:
        link = self.cluster.client_link
        return self._cut(link.hold, link.heal, "client link held")

    def _cut(self, begin: Callable[[], None], end: Callable[[], None], kind: str) -> str:
        self._note(kind)
        begin()
        self._pause(self.mix.cut)
        end()
        return self._note(kind)

    # Strangers

    def kill_client(self) -> str:
        command = python_command(
            "from tests.chaos.visitor import main; main()",
            self.cluster.place,
            str(self.random.getrandbits(30)),
        )
        with subprocess.Popen(command, stdout=subprocess.PIPE) as visitor:
            assert visitor.stdout is not None
            ready = visitor.stdout.readline()
            self._note("client killed")
            visitor.kill()
        return "client killed" if ready else "client that did not get ready"

    def send_bytes(self) -> str:
        for host, port in self._ports():
            for _ in range(5):
                garbage.raw(host, port, self.random)
        return self._note("bytes that are not ZeroMQ, to every port")

    def send_nonsense(self) -> str:
        for host, port in self._ports():
            garbage.nonsense(host, port, self.random)
        return self._note("messages without sense, to every port")

    def _ports(self) -> list[tuple[str, int]]:
        """Where the scheduler and the workers listen."""
        places = [self.cluster.place]
        try:
            if self._executor is None:
                self._executor = self.cluster.connect()
            places += [address.removeprefix("tcp://") for address in self._executor.ncores()]
        except SchedulerGone:
            pass  # those of the workers are not known at the moment
        return [(host, int(port)) for host, _, port in (place.partition(":") for place in places)]

    # The scheduler

    def kill_scheduler(self) -> str:
        self._note("scheduler killed")
        self.cluster.end_scheduler()
        self._pause(self.mix.restart)
        self.cluster.start_scheduler()
        return self._note("scheduler killed")

    def close(self) -> None:
        if self._executor is not None:
            self._executor.close()


_WEIGHTS: dict[Callable[[Nemesis], str], int] = {
    Nemesis.kill_worker: 6,
    Nemesis.end_worker: 3,
    Nemesis.stop_worker: 3,
    Nemesis.stop_nanny: 1,
    Nemesis.stop_scheduler: 1,
    Nemesis.kill_nanny: 2,
    Nemesis.end_nanny: 1,
    Nemesis.cut_workers: 2,
    Nemesis.hold_workers: 1,
    Nemesis.cut_clients: 2,
    Nemesis.hold_clients: 1,
    Nemesis.kill_client: 1,
    Nemesis.send_bytes: 2,
    Nemesis.send_nonsense: 2,
}
KINDS, WEIGHTS = list(_WEIGHTS), list(_WEIGHTS.values())
