"""One run: a seed, a whole history, and what must be true in the end."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.sim import ending
from tests.sim.cluster import Cluster, draw_shape
from tests.sim.graphs import Temper
from tests.sim.nemesis import Nemesis
from tests.sim.repeats import Repeats
from tests.sim.users import User
from tests.sim.world import World

# Of the runs, so many have messages that come twice.
REPEATING_SHARE = 0.1

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
    start = time.process_time()
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
        seconds=time.process_time() - start,
        faults=history.nemesis.done,
        trace=world.trace,
    )


class History:
    def __init__(self, seed: int, traced: bool) -> None:
        self.world = World(seed, traced)
        random = self.world.random
        self.cluster = Cluster(self.world, draw_shape(random))
        temper = Temper(random)
        self.users = [User(self.cluster, temper, client) for client in self.cluster.clients]
        self.cluster.users = self.users
        if random.random() < REPEATING_SHARE:
            self.cluster.net.repeats = Repeats()
        self.nemesis = Nemesis(self.cluster)
        self.trouble = random.choice((2.0, 5.0, 10.0, 40.0))  # how long there is work, and faults

    def live(self) -> None:
        self.world.run_until(lambda: False, self.trouble)
        self.nemesis.active = False
        ending.end(self.cluster)
