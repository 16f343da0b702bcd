"""The processes of one run, and who starts new ones."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, NamedTuple

from tests.sim import scheduler
from tests.sim.client import Client
from tests.sim.graphs import ENOUGH
from tests.sim.ledger import Ledger
from tests.sim.locking import Witness
from tests.sim.nanny import Nanny
from tests.sim.net import Net, Wire
from tests.sim.scheduler import Scheduler
from tests.sim.tasks import Book
from tests.sim.worker import OnDeath, Worker
from tests.sim.world import Process, World

if TYPE_CHECKING:
    from tests.sim.users import User

# Somebody starts a new worker in place of one that has died without a nanny, after so long.
OPERATOR_SECONDS = (0.5, 5.0)
ENOUGH_WORKERS = 4
# What a worker may have for tasks that ask for it.
RESOURCES: tuple[dict[str, float], ...] = ({}, {}, {"GPU": 1.0}, ENOUGH)


class Shape(NamedTuple):
    """Who is there from the beginning, beside the scheduler."""

    nannies: tuple[int, ...]  # how many workers each of them has
    alone: int  # workers without one
    clients: int


def draw_shape(random: Random) -> Shape:
    """One to six workers with or without nannies, one to three clients."""
    nannies = tuple(random.choice((1, 2)) for _ in range(random.choice((0, 1, 2))))
    alone = random.choice((0, 1, 2)) if nannies else random.choice((1, 2, 3))
    return Shape(nannies, alone, random.choice((1, 1, 2, 3)))


class Cluster:
    def __init__(self, world: World, shape: Shape) -> None:
        random = world.random
        self.world = world
        self.net = Net(world)
        self.book = Book(random)
        self.ledger = Ledger(self.book, self._is_member, self._is_held)
        self.witness = Witness(self)
        self.scheduler = Scheduler(self.net, 1, self.ledger)
        self._all_workers: list[Worker] = []
        self._started = 0
        self._free_addresses: list[str] = []
        self.nannies: dict[Nanny, None] = {}
        self._nannies_started = 0
        for workers in shape.nannies:
            self._start_nanny(workers)
        for _ in range(shape.alone):
            self.start_alone()
        self.users: list[User] = []  # who sit at these
        self._all_clients = [Client(self.net, self.book, f"c{n}") for n in range(shape.clients)]

    def _is_member(self, worker: Worker) -> bool:
        known = self.scheduler.core.members.workers.get(worker.name)
        return known is not None and known.gone_since is None

    def _is_held(self, key: str) -> bool:
        return any(client.living[key] for client in self.clients)

    @property
    def workers(self) -> list[Worker]:
        self._all_workers = [worker for worker in self._all_workers if worker.alive]
        return self._all_workers

    @property
    def clients(self) -> list[Client]:
        return [client for client in self._all_clients if client.alive]

    def processes(self) -> list[Process]:
        found = [self.scheduler, *self.nannies, *self.workers, *self.clients]
        return [process for process in found if process.alive]

    def _start_nanny(self, workers: int) -> None:
        delay = self.world.random.uniform(*OPERATOR_SECONDS)

        def died() -> None:
            del self.nannies[nanny]
            self.world.at(delay, lambda: self._start_nanny(workers))

        self._nannies_started += 1
        name = f"n{self._nannies_started}"
        nanny = Nanny(self.net, name, self.start_worker, workers, died)
        self.nannies[nanny] = None

    def start_worker(
        self, nanny: str, on_death: OnDeath, resources: dict[str, float] | None = None
    ) -> Worker:
        def died(reason: str, running: list[int]) -> None:
            for assignment in running:
                self.ledger.deaths[worker.threads.running[assignment].key] += 1
            self.note_loss(worker)
            self._free_addresses.append(worker.address)
            on_death(reason, running)

        self._started += 1
        name = f"w{self._started}"
        nthreads = self.world.random.choice((1, 1, 2, 4))
        if resources is None:
            resources = dict(self.world.random.choice(RESOURCES))
        address = self._address(name)
        worker = Worker(self.net, self.book, name, address, nthreads, resources, nanny, died)
        self._all_workers.append(worker)
        self.world.say(name, "starts", f"{nthreads} threads, nanny {nanny!r}, {resources}")
        return worker

    def note_loss(self, worker: Worker) -> None:
        """It died, or its connection to the scheduler breaks."""
        known = self.scheduler.core.members.nannies.get(worker.nanny)
        told = known is not None and known.gone_since is None
        self.ledger.losses += [n for n in self.nannies if told and n.name == worker.nanny] or [None]

    def _address(self, name: str) -> str:
        """Now and then that of one that has died: ports are used again."""
        if self._free_addresses and self.world.random.random() < 0.5:
            return self._free_addresses.pop()
        return f"tcp://host-{name}:1"  # nobody's id

    def start_alone(self, resources: dict[str, float] | None = None) -> None:
        delay = self.world.random.uniform(*OPERATOR_SECONDS)

        def died(reason: str, running: list[int]) -> None:
            self.world.at(delay, lambda: self.start_alone(resources))

        self.start_worker("", died, resources)

    def restart_scheduler(self, down: float) -> None:
        """It dies, and comes back after so long."""
        if self.scheduler.alive:
            self.ledger.scheduler_dies(self.workers)
            self.scheduler.die("killed")
            self.world.at(down, self._start_scheduler)

    def _start_scheduler(self) -> None:
        self.ledger.lives += 1
        self.scheduler = Scheduler(self.net, self.ledger.lives, self.ledger)

    def cut(self, wire: Wire, dealer_delay: float, router_delay: float) -> None:
        """A connection breaks, and its ends notice after so long."""
        owner = wire.dealer.process
        if isinstance(owner, Worker) and wire.router.address == scheduler.ADDRESS:
            self.note_loss(owner)
        self.world.say(owner.name, "is cut off from", wire.router.process.name)
        wire.cut(dealer_delay, router_delay)

    def heal(self) -> None:
        """One worker alone would take days for what poison makes it do again and again; and one has to be
        there with all that tasks ask for."""
        self.start_alone(dict(ENOUGH))
        for _ in range(len(self.workers), ENOUGH_WORKERS):
            self.start_alone()
        for process in self.processes():
            process.resume()
            process.slowness = 1.0
