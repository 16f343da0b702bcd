"""Draws graphs of tasks: maps, chains, trees, diamonds, and what has no name."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.sim.tasks import BLOBS, LONG_SECONDS, SHORT_SECONDS, Spec

MAX_TASKS = 40
LARGE = 1 << 20
# What tasks ask for; and ENOUGH of it for any of them.
NEEDS = ({"GPU": 0.5}, {"GPU": 1.0}, {"GPU": 2.0}, {"GPU": 1.0, "MEM": 0.1})
ENOUGH = {"GPU": 2.0, "MEM": 0.3}
# Some of the long tasks take longer than this, and all of them on a worker that is slow.
TIME_LIMITS = (1.0, 10.0)

# For each task of a graph the positions of its inputs, all before it.
Shape = list[tuple[int, ...]]


def a_map(random: Random, size: int) -> Shape:
    return [()] * size


def a_chain(random: Random, size: int) -> Shape:
    return [(n - 1,) if n else () for n in range(size)]


def a_tree(random: Random, size: int) -> Shape:
    """Leaves, and then pairs of what has not been used, down to one root."""
    leaves = (size + 1) // 2
    size = 2 * leaves - 1
    return [() if n < leaves else (2 * (n - leaves), 2 * (n - leaves) + 1) for n in range(size)]


def diamonds(random: Random, size: int) -> Shape:
    """One, several that use it, one that uses all of these, and so on."""
    shape: Shape = [()]
    while len(shape) < size:
        top, width = len(shape) - 1, random.randint(1, 6)
        shape += [(top,)] * width
        shape.append(tuple(range(top + 1, top + 1 + width)))
    return shape


def anything(random: Random, size: int) -> Shape:
    return [
        tuple(sorted(random.sample(range(n), min(n, random.choice((0, 1, 1, 2, 3))))))
        for n in range(size)
    ]


SHAPES: tuple[Callable[[Random, int], Shape], ...] = (a_map, a_chain, a_tree, diamonds, anything)


class Temper:
    """What tasks of this run are like: shares of those that misbehave. Half of the runs have none of
    each kind."""

    def __init__(self, random: Random) -> None:
        self.raising = random.choice((0.0, 0.02))
        self.flaky = random.choice((0.0, 0.1))
        self.poison = random.choice((0.0, 0.0, 0.0, 0.003))
        self.seceding = random.choice((0.0, 0.05))
        self.long = random.choice((0.0, 0.02, 0.2))
        self.long_seconds = random.choice(LONG_SECONDS)
        self.small = random.choice((0.0, 0.5, 1.0))
        self.large = random.choice((0.0, 0.1))
        self.stuck = random.choice((0.0, 0.05))
        self.needy = random.choice((0.0, 0.2, 0.6))
        self.limited = random.choice((0.0, 0.0, 0.1))
        self.urgent = random.choice((0.0, 0.3))


def draw_spec(random: Random, temper: Temper, key: str, inputs: tuple[str, ...]) -> Spec:
    def chance(share: float) -> bool:
        return random.random() < share

    long = chance(temper.long)
    time_limit = random.choice(TIME_LIMITS) if chance(temper.limited) else 0
    retries = random.choice((0, 0, 0, 2))
    stuck = chance(temper.stuck)
    return Spec(
        key=key,
        inputs=inputs,
        constant=random.randrange(1 << 40),
        function=random.choice(tuple(BLOBS)),
        seconds=temper.long_seconds * random.random() if long else random.choice(SHORT_SECONDS),
        small=chance(temper.small) and not stuck,
        nbytes=LARGE if chance(temper.large) else 28,
        retries=retries,
        priority=random.randint(-1, 1) if chance(temper.urgent) else 0,
        raises=chance(temper.raising),
        # Retries that are used up by a time limit would be missed.
        flaky=random.randint(1, 2) if chance(temper.flaky) and not time_limit else 0,
        poison=chance(temper.poison),
        secedes=chance(temper.seceding),
        stuck=stuck,
        resources=dict(random.choice(NEEDS)) if chance(temper.needy) else {},
        time_limit=time_limit,
    )


def draw_graph(
    random: Random, temper: Temper, name: str, given: tuple[str, ...] = ()
) -> list[Spec]:
    """Inputs before what uses them. Some of the tasks use what is given, too."""
    shape = random.choice(SHAPES)(random, random.randint(1, random.choice((3, 10, MAX_TASKS))))
    specs: list[Spec] = []
    for number, positions in enumerate(shape):
        inputs = tuple(specs[position].key for position in positions)
        if given and (not inputs or random.random() < 0.2):
            inputs += (random.choice(given),)
        specs.append(draw_spec(random, temper, f"{name}-{number}", inputs))
    return specs
