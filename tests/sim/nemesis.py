"""Brings faults over a cluster, each seed its own mix."""

from __future__ import annotations

from collections import Counter
from functools import partial
from random import Random
from typing import Any

from tests.sim.cluster import Cluster
from tests.sim.net import Wire

MAX_PAUSE_SECONDS = 60.0
# Before so many of the restarts of a scheduler, work is called off.
CALLING_OFF_SHARE = 0.25
MAX_DOWN_SECONDS = 15.0
MAX_APART_SECONDS = 20.0
MAX_JUMP_SECONDS = 60.0
# Longer than a request waits for a link.
MAX_FULL_SECONDS = 15.0
SLOWNESS = 100.0
# In the shortest of these a message comes, and its answer goes, and what follows does not.
MOMENTS = (0.003, 0.03, 2.0)


class Nemesis:
    """Each kind of fault is left out of half of the runs; otherwise it comes at its own rate."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.random = cluster.world.random
        self.active = True
        self.done: Counter[str] = Counter()
        for fault, rarity in _FAULTS.items():
            self._draw(fault, rarity, self.random)
        # With random numbers of their own, so that histories without these are what they were before there
        # were such faults.
        own = Random(hash(self.random.getstate()[1][:9]))
        for fault, rarity in _SHORTAGES.items():
            self._draw(fault, rarity, own)

    def _draw(self, fault: Any, rarity: float, random: Random) -> None:
        if random.random() < 0.5:
            self._schedule(fault, rarity * random.choice((0.5, 2.0, 8.0)), random)

    def _schedule(self, fault: Any, mean: float, random: Random) -> None:
        self.world.at(random.expovariate(1 / mean), lambda: self._strike(fault, mean, random))

    def _strike(self, fault: Any, mean: float, random: Random) -> None:
        if self.active:
            self.done[fault.__name__] += 1
            fault(self)
            self._schedule(fault, mean, random)

    # Faults

    def kill_worker(self) -> None:
        workers = self.cluster.workers
        if workers:
            self.random.choice(workers).die("killed")

    def kill_nanny(self) -> None:
        """Its workers end with it."""
        if self.cluster.nannies:
            self.random.choice(tuple(self.cluster.nannies)).die("killed")

    def stop_worker(self) -> None:
        """In an orderly way."""
        workers = [worker for worker in self.cluster.workers if not worker.paused]
        if workers:
            self.random.choice(workers).leave()

    def pause(self) -> None:
        process = self.random.choice(self.cluster.processes())
        process.pause(
            self.random.choice((0.1, 1.0, 10.0, MAX_PAUSE_SECONDS)) * self.random.random()
        )

    def jump_clock(self) -> None:
        process = self.random.choice(self.cluster.processes())
        process.jump(self.random.choice((1.0, 10.0, MAX_JUMP_SECONDS)) * self.random.random())

    def slow(self) -> None:
        process = self.random.choice(self.cluster.processes())
        process.slowness = SLOWNESS
        self.world.say(process.name, "is slow")

        def recover() -> None:
            process.slowness = 1.0

        self.world.at(self.random.uniform(1, 20), recover)

    def cut(self) -> None:
        """One connection breaks."""
        if self.cluster.net.wires:
            self._cut(self.random.choice(tuple(self.cluster.net.wires)))

    def cut_off(self) -> None:
        """All connections of one process break."""
        process = self.random.choice(self.cluster.processes())
        for wire in tuple(self.cluster.net.wires):
            if process in (wire.dealer.process, wire.router.process):
                self._cut(wire)

    def _cut(self, wire: Wire) -> None:
        self.cluster.cut(wire, self._notice_seconds(), self._notice_seconds())

    def _notice_seconds(self) -> float:
        """Mostly one end tells the other; but there may be something in between that does not."""
        return self.random.choice((0.01, 0.01, 0.01, 1.0, 30.0)) * self.random.random()

    def part(self) -> None:
        """One is alone, or there are two halves, for a time."""
        processes = self.cluster.processes()
        some = self.random.sample(processes, self.random.choice((1, len(processes) // 2)))
        net = self.cluster.net
        net.groups = {process.name: 1 for process in some}
        net.apart_until = self.world.now + self.random.random() * MAX_APART_SECONDS
        self.world.say("net", "is parted", sorted(net.groups))

    def clog(self) -> None:
        """Some connections carry nothing for a time; they begin and end one by one."""
        for wire in tuple(self.cluster.net.wires):
            if self.random.random() < 0.4:
                start, seconds = self.random.uniform(0, 2), self.random.uniform(0, 8)
                self.world.at(start, partial(_clog, wire, seconds))

    def stutter(self) -> None:
        """The connections of a machine carry nothing, again and again; for moments only in between."""
        if not self.cluster.nannies:
            return
        nanny = self.random.choice(tuple(self.cluster.nannies))
        machine = (nanny, *nanny.workers)
        wires = [wire for wire in self.cluster.net.wires if wire.dealer.process in machine]
        start = 0.0
        for _ in range(self.random.randint(2, 6)):
            seconds = self.random.uniform(1, 10)
            for wire in wires:
                self.world.at(start, partial(_clog, wire, seconds))
            start += seconds + self.random.random() * self.random.choice(MOMENTS)

    def open_files(self) -> None:
        """A task, or whoever connects, leaves its worker without a descriptor for a link, for a time."""
        if self.cluster.workers:
            worker = self.random.choice(self.cluster.workers)
            worker.fetcher.full_until = self.world.now + self.random.random() * MAX_FULL_SECONDS
            self.world.say(worker.name, "has too many open files")

    def fill_disk(self) -> None:
        """A worker dies, and there is no room for another, for a time."""
        if self.cluster.nannies:
            nanny = self.random.choice(tuple(self.cluster.nannies))
            nanny.full_until = self.world.now + self.random.random() * MAX_FULL_SECONDS
            self.world.say(nanny.name, "has a full disk")
            if nanny.workers:
                self.random.choice(nanny.workers).die("killed")

    def vanish_client(self) -> None:
        if len(self.cluster.clients) > 1:
            self.random.choice(self.cluster.clients).die("killed")

    def restart_scheduler(self) -> None:
        most = self.random.choice((0.5, MAX_DOWN_SECONDS))
        if self.random.random() < CALLING_OFF_SHARE:
            # The next one does not hear of it, nor of what its workers are at for nobody.
            user = self.random.choice(self.cluster.users)
            user.call_off(list(user.held))
        self.cluster.restart_scheduler(self.random.random() * most)


def _clog(wire: Wire, seconds: float) -> None:
    wire.clogged_until = wire.net.world.now + seconds


# How rare each is: seconds between two, by and large.
_FAULTS = {
    Nemesis.kill_worker: 2.0,
    Nemesis.kill_nanny: 8.0,
    Nemesis.stop_worker: 4.0,
    Nemesis.pause: 2.0,
    Nemesis.jump_clock: 3.0,
    Nemesis.slow: 4.0,
    Nemesis.cut: 1.0,
    Nemesis.cut_off: 2.0,
    Nemesis.part: 4.0,
    Nemesis.clog: 3.0,
    Nemesis.stutter: 3.0,
    Nemesis.vanish_client: 10.0,
    Nemesis.restart_scheduler: 5.0,
}
_SHORTAGES = {
    Nemesis.open_files: 3.0,
    Nemesis.fill_disk: 8.0,
}
