"""One run: a seed, a whole history, and what must be true in the end."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from tests.sim.cluster import Cluster
from tests.sim.graphs import Temper
from tests.sim.nemesis import Nemesis
from tests.sim.users import User
from tests.sim.world import World

# Virtual seconds. Once all faults have ended everything must come to its end: a task may still run on a
# worker that was slow when it began, and one worker may have to do hundreds that take long.
RESOLVE_SECONDS = 3600.0
# And then, once nobody wants anything, be forgotten.
FORGET_SECONDS = 300.0


# Seeds that have failed, one a line; replayed by the tests for ever after.
SEEDS = Path(__file__).with_name("seeds.txt")


def known_seeds() -> list[int]:
    lines = (line.partition("#")[0].strip() for line in SEEDS.read_text().splitlines())
    return [int(line) for line in lines if line]


class Report(NamedTuple):
    seed: int
    failure: str  # empty if all was well
    events: int
    looks: int  # at futures, that ended
    virtual: float
    seconds: float
    faults: Counter[str]
    trace: list[str]


def run(seed: int, traced: bool = False) -> Report:
    start = time.perf_counter()
    history = History(seed, traced)
    failure = ""
    try:
        history.live()
    except Exception as error:
        # Whatever it is: a ledger's complaint, a broken invariant, a KeyError in a core.
        failure = "".join(traceback.format_exception(error, limit=-6))
        history.world.say("failure", failure.strip().splitlines()[-1])
    world = history.world
    return Report(
        seed=seed,
        failure=failure,
        events=world.events,
        looks=history.cluster.ledger.looks,
        virtual=world.now,
        seconds=time.perf_counter() - start,
        faults=history.nemesis.done,
        trace=world.trace,
    )


class History:
    def __init__(self, seed: int, traced: bool) -> None:
        self.world = World(seed, traced)
        random = self.world.random
        self.cluster = Cluster(self.world)
        temper = Temper(random)
        self.users = [User(self.cluster, temper, client) for client in self.cluster.clients]
        self.cluster.users = self.users
        self.nemesis = Nemesis(self.cluster)
        self.trouble = random.choice((2.0, 5.0, 10.0, 40.0))  # how long there is work, and faults

    def live(self) -> None:
        self.world.run_until(lambda: False, self.trouble)
        self._heal()
        self._expect(self._unresolved, RESOLVE_SECONDS)
        for user in self._present():
            assert all(self.cluster.ledger.futures[future] for future in user.held), user.client
            user.drop_all()
        self._expect(self._leftovers, FORGET_SECONDS)
        for user in self._present():
            user.client.close()
        self._expect(self.cluster.scheduler.memories, FORGET_SECONDS)
        self.cluster.scheduler.check()

    def _present(self) -> list[User]:
        return [user for user in self.users if user.client.alive]

    def _heal(self) -> None:
        """No more faults, and nothing new to do, but to look at everything once more."""
        self.world.say("world", "heals")
        self.nemesis.active = False
        self.cluster.heal()
        for user in self._present():
            user.busy = False
            for future in user.held:
                future.look()

    def _expect(self, what: Any, seconds: float) -> None:
        """That there is nothing of it left, at least after so long."""
        if not self.world.run_until(lambda: not what(), seconds):
            raise AssertionError(f"{what.__name__} after {seconds:.0f} s: {what()[:10]}")

    def _unresolved(self) -> list[Any]:
        found: list[Any] = [] if self.cluster.scheduler.alive else ["no scheduler"]
        return found + [
            (user.client.name, future.entry)
            for user in self._present()
            for future in user.held
            if future.looks
        ]

    def _leftovers(self) -> list[Any]:
        cluster = self.cluster
        found = cluster.scheduler.leftovers()
        for process in (*cluster.workers, *cluster.clients):
            found += process.leftovers()
        return found
