"""Workloads, faults and the ledger together; and what must be true when it is over."""

from __future__ import annotations

import gc
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from distributed import Executor
from tests.chaos.cluster import Cluster
from tests.chaos.faults import Mix, Nemesis
from tests.chaos.ledger import Ledger, Wrong
from tests.chaos.workloads import Workload
from tests.support import wait_until

# Clients, every second of which is connected through the proxy.
CLIENTS = 3
# When nobody wants anything, nothing is left so long after.
FORGET_SECONDS = 20.0


class Report(NamedTuple):
    seed: int
    seconds: float
    workloads: Counter[str]
    faults: Counter[str]
    outcomes: Counter[str]
    failure: str  # empty if all was well


class Storm:
    """`seconds` of it, during which the scheduler is killed `restarts` times. Nothing may take longer than
    `patience` seconds, with whatever happens meanwhile."""

    def __init__(
        self,
        seed: int,
        seconds: float,
        restarts: int,
        patience: float,
        mix: Mix | None = None,
        say: Callable[[str], Any] = lambda text: None,
    ) -> None:
        self.seed = seed
        self._seconds, self._restarts, self._say = seconds, restarts, say
        self._mix = mix or Mix()
        self._random = Random(seed)
        self._ledger = Ledger(patience)
        self._workloads: Counter[str] = Counter()
        self._crashes: list[str] = []
        self._over = threading.Event()

    def run(self) -> Report:
        start = time.monotonic()
        faults: Counter[str] = Counter()
        failure = ""
        try:
            with Cluster(nannies=3, nprocs=2, proxied=1) as cluster:
                nemesis = Nemesis(cluster, self._ledger, self._random.getrandbits(40), self._mix)
                faults = nemesis.done
                self._live(cluster, nemesis)
        except Exception:
            failure = traceback.format_exc()
        seconds = time.monotonic() - start
        return Report(self.seed, seconds, self._workloads, faults, self._ledger.outcomes, failure)

    def _live(self, cluster: Cluster, nemesis: Nemesis) -> None:
        executors = [cluster.connect(through_proxy=bool(n % 2)) for n in range(CLIENTS)]
        threads = [
            threading.Thread(target=self._work, args=(executor, self._random.getrandbits(40)))
            for executor in executors
        ]
        try:
            for thread in threads:
                thread.start()
            try:
                self._torment(nemesis)
            finally:
                self._over.set()
                nemesis.over.set()
                for thread in threads:
                    thread.join()
            nemesis.close()
            self._check(cluster, executors)
        finally:
            nemesis.close()
            for executor in executors:
                executor.close()

    def _torment(self, nemesis: Nemesis) -> None:
        """Until the time is over, with the ends of the scheduler evenly among the other faults."""
        start = time.monotonic()
        for part in range(self._restarts + 1):
            end = start + self._seconds * (part + 1) / (self._restarts + 1)
            while time.monotonic() < end and not self._failed():
                self._say(nemesis.strike())
            if part < self._restarts and not self._failed():
                self._say(nemesis.do(Nemesis.kill_scheduler))

    def _failed(self) -> bool:
        return bool(self._crashes or self._ledger.wrong)

    def _work(self, executor: Executor, seed: int) -> None:
        """In a thread for each client."""
        workload = Workload(executor, self._ledger, Random(seed))
        while not (self._over.is_set() or self._failed()):
            try:
                self._workloads[workload.run()] += 1
            except BaseException:
                self._crashes.append(traceback.format_exc())

    def _check(self, cluster: Cluster, executors: list[Executor]) -> None:
        """All is healed and nobody wants anything: all is judged, everybody is there, nothing is left."""
        if self._crashes:
            raise Wrong("a workload crashed:\n" + "\n".join(self._crashes))
        self._ledger.close()
        cluster.wait_for_workers()
        gc.collect()  # futures that tracebacks hold
        # Clients that were killed are waited for for a while.
        try:
            wait_until(lambda: not executors[0].scheduler_info()["tasks"], FORGET_SECONDS)
        except AssertionError:
            raise Wrong(f"left after {FORGET_SECONDS:g} s: {_left(executors)}") from None


def _left(executors: list[Executor]) -> str:
    """Whose it is that is left, and where."""
    wanted = [executor._connection.names() for executor in executors]
    info, places = executors[0].scheduler_info(), executors[0].who_has()
    return f"the clients still want {wanted}; the scheduler has {info['tasks']}, in {places}"
