"""Members that mean it: messages of the right shapes, with whatever values, in whatever order, from members
of all kinds that share their ids. `python -m tests.core.hostile 200000` feeds this many to cores."""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random
from typing import Any

from distributed.codec import decode, encode
from distributed.core.invariants import check
from distributed.core.scheduler import SchedulerCore
from distributed.core.states import Gone, Nonsense, Send, Tick
from distributed.errors import ProtocolError
from distributed.messages import (
    PROTOCOL,
    PYTHON,
    Abandoned,
    Alive,
    Answer,
    Ask,
    Audited,
    Broadcast,
    Cancel,
    Cleared,
    ClientHello,
    Concede,
    Contend,
    Died,
    Done,
    Entrust,
    Errors,
    Files,
    Fire,
    Forget,
    Get,
    Goodbye,
    Heartbeat,
    Holds,
    IsLocked,
    Kill,
    Missing,
    NannyHello,
    Pending,
    Release,
    Replicate,
    Restart,
    Returned,
    Scatter,
    Seceded,
    StartAgain,
    Started,
    Stuck,
    Submit,
    Unfetchable,
    Unknown,
    Upload,
    Want,
    Welcome,
    WorkerHello,
)

# One core lives for so many turns.
TURNS = 400
PEERS = 7
# Of turns after which the invariants are walked.
CHECKED = 0.1
KEYS = ("x", "y", "z", "answer-1", "")
IDS = ("a", "b", "c", "")
FUNCTIONS = ("f", "g")
LOCKS = ("l", "m")
OPTIONS: tuple[dict[str, Any] | None, ...] = (
    None, {}, {"retries": 3}, {"retries": -1}, {"priority": -1e300}, {"workers": ("a", "nobody")},
    {"workers": ()}, {"workers": ("a",), "loose": True}, {"resources": {"GPU": 1}},
    {"resources": {"GPU": 1e300}}, {"time_limit": 0.5}, {"time_limit": 1e-300},
)  # fmt: skip
QUESTIONS = (
    "ncores", "who_has", "has_what", "nbytes", "processing", "scheduler_info", "why", "story", "dump",
    "more", "nonsense",
)  # fmt: skip


class Hostile:
    """Draws messages. Numbers are mostly near those that the core has given out."""

    def __init__(self, random: Random, core: SchedulerCore) -> None:
        self.random = random
        self.core = core

    def message(self) -> Any:
        return self.random.choice(_MESSAGES)(self)

    def key(self) -> str:
        return self.random.choice(KEYS)

    def id(self) -> str:
        return self.random.choice(IDS)

    def yes(self) -> bool:
        return self.random.random() < 0.5

    def some(self, draw: Callable[[], Any], most: int = 3) -> tuple[Any, ...]:
        return tuple(draw() for _ in range(self.random.randrange(most + 1)))

    def keys(self) -> tuple[str, ...]:
        return self.some(self.key)

    def number(self) -> int:
        newest = self.core.queues.next_assignment
        near = self.random.randrange(max(1, newest - 20), newest + 2)
        return self.random.choice((0, 1, -1, newest - 1, newest, near, 1 << 62, (1 << 64) - 1))

    def numbers(self) -> list[int]:
        return [self.number(), self.number()]

    def size(self) -> int:
        return self.random.choice((0, 8, -1, 1 << 62))

    def address(self) -> str:
        return self.random.choice(("tcp://a:1", "tcp://b:1", "tcp://c:1", "a", ""))

    def workers(self) -> tuple[str, ...] | None:
        return self.random.choice((None, ("a",), ("nobody",), ()))

    def epoch(self) -> str:
        return self.random.choice(("", "old", self.core.epoch))

    def functions(self) -> dict[str, bytes]:
        return dict.fromkeys(self.some(lambda: self.random.choice(FUNCTIONS)), b"blob")

    def groups(self) -> tuple[Any, ...]:
        return self.some(
            lambda: (
                self.random.choice(FUNCTIONS),
                self.random.choice(OPTIONS),
                self.yes(),
                self.some(self.item),
            )
        )

    def item(self) -> tuple[Any, ...]:
        inputs = self.random.choice((None, (), self.keys(), self.keys()))
        return (self.key(), b"args", inputs, self.random.choice((0, 1, 5, -3)))

    def held(self) -> tuple[Any, ...]:
        return self.some(lambda: (self.key(), self.size(), self.number()))

    def places(self) -> tuple[Any, ...]:
        return self.some(lambda: (self.key(), self.address()))

    def lock(self) -> str:
        return self.random.choice(LOCKS)

    def worker_hello(self) -> WorkerHello:
        return WorkerHello(
            worker=self.id(),
            epoch=self.epoch(),
            name=self.random.choice(("n", "a", "")),
            address=self.address(),
            nthreads=self.random.choice((1, 2, 10_000)),
            memory_limit=self.size(),
            resources=self.random.choice(({}, {"GPU": 1.0}, {"GPU": 1e300})),
            pid=self.random.choice((1, -1)),
            nanny=self.id(),
            protocol=PROTOCOL,
            python=PYTHON,
            holds=self.held(),
            assigned=self.some(lambda: (self.number(), self.key())),
        )

    def audited(self) -> Audited:
        number = self.random.choice((1, 2, 3, 4, 5, self.number()))
        jobs = self.some(lambda: (self.number(), self.key(), self.yes(), self.yes()))
        running = self.some(lambda: (self.number(), 5))
        return Audited(number, jobs, running, self.places(), self.keys(), self.held())


_MESSAGES: tuple[Callable[[Hostile], Any], ...] = (
    lambda h: ClientHello(
        h.id(), h.epoch(), PROTOCOL, PYTHON, h.keys(),
        h.some(lambda: (h.lock(), h.number(), h.yes(), h.yes())), h.id(),
    ),
    Hostile.worker_hello,
    lambda h: NannyHello(h.id(), PROTOCOL, PYTHON),
    lambda h: Submit(h.functions(), h.groups(), h.yes(), h.keys(), h.keys(), h.yes(), h.number() % 9),
    lambda h: Submit(h.functions(), h.groups(), False, call=h.random.choice((0, 7, -5))),
    lambda h: Want(h.keys()),
    lambda h: Fire(h.keys()),
    lambda h: Release(h.keys(), h.number()),
    lambda h: Forget((h.random.choice(FUNCTIONS),)),
    lambda h: Cancel(h.keys(), h.yes(), h.number()),
    lambda h: Missing(h.places()),
    lambda h: Scatter(h.number(), h.some(lambda: (h.key(), h.size())), h.workers()),
    lambda h: Replicate(h.number(), h.keys(), h.workers()),
    lambda h: Ask(h.number(), h.random.choice(QUESTIONS), h.random.choice((None, h.keys()))),
    lambda h: Broadcast(h.number(), b"call", h.workers()),
    lambda h: Upload(h.number(), h.key(), b"content"),
    lambda h: Contend(h.lock(), h.number(), h.yes()),
    lambda h: Concede(h.lock(), h.number()),
    lambda h: IsLocked(h.number(), h.lock()),
    lambda h: Goodbye() if h.random.random() < 0.2 else Heartbeat(h.size()),
    lambda h: Restart(h.number()) if h.random.random() < 0.1 else Heartbeat(0),
    lambda h: Cleared("why"),
    lambda h: Done([(h.number(), h.size(), h.size(), h.random.choice((None, b"v")), None)]),
    lambda h: Done([(number, 8, 10, b"v", b"type") for number in h.numbers()]),
    lambda h: Errors([(number, b"E: x\n") for number in h.numbers()]),
    lambda h: Holds(list(h.held())),
    lambda h: Stuck([(h.key(), "why")]),
    lambda h: Unfetchable([(h.number(), h.places())]),
    lambda h: Unknown(FUNCTIONS),
    lambda h: Returned(h.numbers()),
    lambda h: Abandoned(h.numbers()),
    lambda h: Seceded(h.numbers()),
    lambda h: Started(h.numbers()),
    lambda h: Answer(h.number(), h.yes(), h.random.choice((b"v", "text", (h.key(), h.size())))),
    lambda h: Files({h.key(): b"content"}),
    lambda h: Entrust(h.epoch(), h.functions(), h.groups(), h.keys()),
    Hostile.audited,
    lambda h: Alive(IDS),
    lambda h: Died(h.id(), "why", "", (h.number(),), h.key()),
    # What only the scheduler says, or nobody says to it.
    lambda h: h.random.choice(
        (Get(1, h.keys()), Welcome("e", {}), Kill((h.id(),), "why"), Pending(h.keys()), StartAgain())
    ),
)  # fmt: skip


def feed(seed: int, turns: int = TURNS) -> int:
    """How many messages a core has taken. Raises what it raises, or what is wrong with its tables."""
    random = Random(seed)
    core = SchedulerCore(
        "epoch",
        idle_timeout=random.choice((None, 5.0)),
        lock_grace=random.choice((0.0, 5.0)),
        first_assignment=random.choice((1, 1000)),
    )
    hostile, now, count = Hostile(random, core), 0.0, 0
    for _ in range(turns):
        events = list(_events(hostile))
        count += len(events)
        now += random.choice((0.0, 0.01, 0.5, 3.0))
        for effect in core.handle(events, now):
            if isinstance(effect, Send):
                encode(effect.batch)
        if random.random() < CHECKED:
            check(core)
    return count


def _events(hostile: Hostile) -> Any:
    """Of one peer, or time."""
    random = hostile.random
    peer = b"%d" % random.randrange(PEERS)
    for _ in range(random.choice((1, 1, 3, 8))):
        chance = random.random()
        if chance < 0.1:
            yield random.choice(((peer, Gone()), (peer, Nonsense("why")), (b"", Tick())))
            continue
        try:
            (message,) = decode(encode([hostile.message()]))
        except ProtocolError:
            continue  # the codec keeps it away
        yield peer, message


def main(count: int) -> None:
    fed = seed = 0
    while fed < count:
        fed += feed(seed)
        seed += 1
    print(f"{fed:,} messages, {seed} cores, and none minded")


if __name__ == "__main__":
    main(int(sys.argv[1]))
