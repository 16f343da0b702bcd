"""The processes of one run, and who starts new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.client import Client
from tests.sim.ledger import Ledger
from tests.sim.nanny import Nanny
from tests.sim.net import Net
from tests.sim.scheduler import Scheduler
from tests.sim.tasks import Book
from tests.sim.worker import OnDeath, Worker
from tests.sim.world import Process, World

if TYPE_CHECKING:
    from tests.sim.users import User

# Somebody starts a new worker in place of one that has died without a nanny, after so long.
OPERATOR_SECONDS = (0.5, 5.0)
ENOUGH_WORKERS = 4


class Cluster:
    """A scheduler, one to six workers with or without nannies, one to three clients."""

    def __init__(self, world: World) -> None:
        random = world.random
        self.world = world
        self.net = Net(world)
        self.book = Book(random)
        self.ledger = Ledger(self.book)
        self.lives = 1
        self.scheduler = Scheduler(self.net, 1, self.ledger)
        self._all_workers: list[Worker] = []
        self._started = 0
        self._free_addresses: list[str] = []
        self.nannies: list[Nanny] = []
        for number in range(random.choice((0, 1, 2))):
            self.nannies.append(
                Nanny(self.net, f"n{number}", self.start_worker, random.choice((1, 2)))
            )
        for _ in range(random.choice((0, 1, 2)) if self.nannies else random.choice((1, 2, 3))):
            self._start_alone()
        count = random.choice((1, 1, 2, 3))
        self.users: list[User] = []  # who sit at these
        self._all_clients = [Client(self.net, self.book, f"c{n}") for n in range(count)]

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

    def start_worker(self, nanny: str, on_death: OnDeath) -> Worker:
        def died(reason: str, running: list[int]) -> None:
            for assignment in running:
                self.ledger.deaths[worker.threads.running[assignment].key] += 1
            self.note_loss(worker)
            self._free_addresses.append(worker.address)
            on_death(reason, running)

        self._started += 1
        name = f"w{self._started}"
        nthreads = self.world.random.choice((1, 1, 2, 4))
        worker = Worker(self.net, self.book, name, self._address(name), nthreads, nanny, died)
        self._all_workers.append(worker)
        self.world.say(name, "starts", f"{nthreads} threads, nanny {nanny!r}")
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
        return f"tcp://{name}:1"

    def _start_alone(self) -> None:
        delay = self.world.random.uniform(*OPERATOR_SECONDS)
        self.start_worker("", lambda reason, running: self.world.at(delay, self._start_alone))

    def restart_scheduler(self, down: float) -> None:
        """It dies, and comes back after so long."""
        if self.scheduler.alive:
            self.scheduler.die("killed")
            self.world.at(down, self._start_scheduler)

    def _start_scheduler(self) -> None:
        self.lives += 1
        self.scheduler = Scheduler(self.net, self.lives, self.ledger)

    def heal(self) -> None:
        """One worker alone would take days for what poison makes it do again and again."""
        for _ in range(len(self.workers), ENOUGH_WORKERS):
            self._start_alone()
        for process in self.processes():
            process.resume()
            process.slowness = 1.0
