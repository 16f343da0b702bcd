"""Random histories of a cluster: whatever happens in whatever order, the scheduler's tables stay true,
and once the faults have stopped everything that is wanted ends, and what is not is forgotten."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed.core.resources import TOLERANCE, Needs, added_up
from distributed.core.states import ERRED, MEMORY
from distributed.messages import (
    Abandoned,
    Acquire,
    Cancel,
    ClientHello,
    Died,
    Done,
    Drop,
    Errors,
    Free,
    Goodbye,
    Holds,
    Missing,
    Replicate,
    Reply,
    Retract,
    Returned,
    Run,
    Scatter,
    Seceded,
    Started,
    Stuck,
    Submit,
    Unfetchable,
    Want,
)

from distributed.messages import PROTOCOL, PYTHON  # isort: skip
from tests.core.env import LATEST, Env, address, item

CLIENTS = ("C", "D")
KEYS = 8
# What the workers have, and what tasks ask for: one of these never fits twice, one does.
RESOURCES: tuple[dict[str, float], ...] = ({}, {"GPU": 1}, {"GPU": 2, "MEM": 0.3})
NEEDS: tuple[dict[str, float], ...] = ({"GPU": 1}, {"GPU": 2}, {"GPU": 0.5, "MEM": 0.1})


def dependencies(number: int) -> tuple[str, ...]:
    """Each key has one recipe, that uses some of the keys before it."""
    return tuple(f"k{n}" for n in sorted({number - 1, number // 2} - {number}) if n >= 0)


class PretendedWorker:
    """Does what the scheduler says, at the time that the test chooses. No data of `unsendable` keys comes
    to it from others."""

    def __init__(
        self, env: Env, id: str, nthreads: int, nanny: str, unsendable: frozenset[str]
    ) -> None:
        self.env = env
        self.unsendable = unsendable
        self.id = id
        self.nthreads = nthreads
        self.nanny = nanny
        env.inbox.pop(id, None)  # what was for an earlier worker of this name
        self.resources = RESOURCES[int(id[1:]) % len(RESOURCES)]
        self.peer = env.worker(id, nthreads, nanny, resources=self.resources)
        self.connections = 0
        self.jobs: dict[int, str] = {}
        self.dropped: set[int] = set()  # that run nevertheless, to their end
        self.needs: dict[int, Needs] = {}
        self.data: dict[str, int] = {}

    def listen(self) -> list[Any]:
        """Take what has come; the answers that are owed at once."""
        answers: list[Any] = []
        inbox, self.env.inbox[self.peer] = self.env.inbox[self.peer], []
        for message in inbox:
            if isinstance(message, Run):
                self.jobs.update((i[0], i[1]) for i in message.items)
                self.needs.update((i[0], self._needs(i[0], i[1])) for i in message.items)
            elif isinstance(message, Drop):
                running = list(self.jobs)[: self.nthreads]
                self.dropped.update(a for a in message.assignments if a in running)
                back = [a for a in message.assignments if a in self.jobs and a not in running]
                for assignment in back:
                    del self.jobs[assignment]
                answers.append(Abandoned(back))
            elif isinstance(message, Retract):
                running = list(self.jobs)[: self.nthreads]
                back = [a for a in message.assignments if a in self.jobs and a not in running]
                for assignment in back:
                    del self.jobs[assignment]
                answers.append(Returned(back))
            elif isinstance(message, Free):
                for key in message.keys:
                    self.data.pop(key, None)
            elif isinstance(message, Acquire):
                for key, nbytes, *_ in message.items:
                    if key in self.unsendable and key not in self.data:
                        answers.append(Stuck([(key, "why")]))
                        continue
                    self.data[key] = nbytes
                    answers.append(Holds([(key, nbytes, LATEST)]))
        self._check_resources()
        return answers

    def _needs(self, assignment: int, key: str) -> Needs:
        task = self.env.core.lifecycle.tasks.get(key)
        return task.options.resources if task and task.assignment == assignment else ()

    def _check_resources(self) -> None:
        """Whatever has been dropped, or comes from before a connection broke, takes what it took."""
        for name, used in added_up(self.needs[a] for a in self.jobs).items():
            assert used <= self.resources[name] * TOLERANCE, (self.id, name, self.jobs)

    def say(self, *messages: Any) -> None:
        if messages:
            self.env.send(self.peer, *messages)

    def act(self, action: str, choice: int) -> None:
        self.say(*self.listen())
        running = list(self.jobs)[: self.nthreads]
        if not running:
            return
        assignment = running[choice % len(running)]
        if action in ("secede", "start"):
            self.say((Seceded if action == "secede" else Started)([assignment]))
            return
        key = self.jobs.pop(assignment)
        needed = [d for d in dependencies(int(key[1:])) if d not in self.data]
        stuck = self.unsendable.intersection(needed)
        if assignment in self.dropped:
            self.say(Abandoned([assignment]))
        elif stuck:
            self.say(Stuck([(d, "why") for d in sorted(stuck)]), Unfetchable([(assignment, [])]))
        elif action == "finish":
            self.data[key] = 28
            self.say(Done([(assignment, 28, 10 ** (choice % 7), b"v", None)]))
        elif action == "fail":
            self.say(Errors([(assignment, b"e")]))
        elif action == "unfetchable":
            places = [(d, a) for d in needed for a in self._holders(d)]
            self.say(Unfetchable([(assignment, places)]))

    def _holders(self, key: str) -> list[str]:
        task = self.env.core.lifecycle.tasks.get(key)
        return [] if task is None else [holder.address for holder in task.holders]

    def reconnect(self, lose: bool) -> None:
        """On a new connection; with `lose` what was on its way to us is gone with the old one."""
        old = self.peer
        if lose:
            self.env.inbox[old] = []
        answers = self.listen()
        self.connections += 1
        self.peer = f"{self.id}-{self.connections}"
        if self.connections % 2:
            self.env.gone(old)
        self.env.worker(
            self.id,
            self.nthreads,
            self.nanny,
            holds=tuple(self.data.items()),
            assigned=tuple(self.jobs.items()),
            peer=self.peer,
            resources=self.resources,
        )
        del answers  # lost as well


class World:
    """`scarce`: every task asks for resources. `unsendable`: keys whose data cannot leave its worker.
    `hasty`: little time passes at once."""

    def __init__(
        self, scarce: bool, unsendable: frozenset[str] = frozenset(), hasty: bool = False
    ) -> None:
        self.scarce = scarce
        self.hasty = hasty
        self.unsendable = unsendable
        self.env = Env()
        self.env.nanny()
        self.workers: list[PretendedWorker] = []
        self.number = 0
        self.clients = {id: self.env.client(id) for id in CLIENTS}
        self.connections = 0
        self.join(0)

    def join(self, choice: int) -> None:
        self.number += 1
        nanny = "N" if choice % 2 else ""
        self._add(f"W{self.number}", 1 + choice % 3, nanny)

    def _add(self, id: str, nthreads: int, nanny: str) -> None:
        self.workers.append(PretendedWorker(self.env, id, nthreads, nanny, self.unsendable))

    def step(self, action: str, who: int, choice: int) -> None:
        env, client = self.env, self.clients[CLIENTS[who % len(CLIENTS)]]
        number = choice % KEYS
        key = f"k{number}"
        if action == "submit":
            self.submit(client, number, choice)
        elif action == "release":
            env.release(client, key)
        elif action == "cancel":
            env.send(client, Cancel((key,), choice % 2 == 0))
        elif action == "want":
            env.send(client, Want((key,)))
        elif action == "missing" and self.workers:
            worker = self.workers[who % len(self.workers)]
            worker.data.pop(key, None)
            env.send(client, Missing(((key, address(worker.id)),)))
        elif action == "scatter":
            self.scatter(client, f"d{number}")
        elif action == "replicate":
            env.send(client, Replicate(1, (key,), None))
        elif action == "client reconnects":
            self.reconnect(who, choice)
        elif action == "tick":
            env.tick(choice % 4 / 4 if self.hasty else choice / 4)
            env.tick(0.25)  # the one before came late
            self._bury()
        elif action == "join":
            if len(self.workers) < 4:
                self.join(choice)
        elif action == "die" and self.workers:
            worker = self.workers.pop(who % len(self.workers))
            env.send(worker.peer, Goodbye()) if choice % 3 == 0 else env.gone(worker.peer)
            if worker.nanny:
                env.send("N", Died(worker.id, "signal 9 (SIGKILL)", "", (), ""))
        elif self.workers:
            worker = self.workers[who % len(self.workers)]
            if action == "reconnect":
                worker.reconnect(lose=bool(choice % 2))
            else:
                worker.act(action, choice)

    def _bury(self) -> None:
        """Those that were given up, or told to end."""
        here = self.env.core.members.workers
        for worker in self.workers:
            if worker.id not in here:
                self.env.send("N", Died(worker.id, "as it was told", "", (), ""))
                self.env.gone(worker.peer)
        self.workers = [worker for worker in self.workers if worker.id in here]

    def submit(self, client: str, number: int, choice: int) -> None:
        """The key, with all that it needs."""
        needed = {number}
        for n in range(number, -1, -1):
            if n in needed:
                needed |= {int(key[1:]) for key in dependencies(n)}
        options: dict[str, Any] = {"retries": choice % 2, "priority": choice % 3}
        if choice % 3 == 0:
            options["time_limit"] = 0.5
        if self.scarce or choice % 4 == 1:
            options["resources"] = NEEDS[choice % 3]
        if choice % 5 == 0:
            # W2 has all that is asked for.
            options["workers"] = ("W2" if "resources" in options else f"W{1 + choice % 3}",)
            options["loose"] = bool(choice % 2)
        inner = tuple(item(f"k{n}", *dependencies(n)) for n in sorted(needed - {number}))
        outer = (item(f"k{number}", *dependencies(number)),)
        shared = {"resources": NEEDS[choice % 3]} if self.scarce or choice % 6 == 2 else None
        groups = (("f", shared, False, inner), ("f", options, True, outer))
        self.env.send(client, Submit({"f": b"blob"}, groups, more=choice % 7 == 0))

    def scatter(self, client: str, key: str) -> None:
        self.env.take(client, Reply)
        self.env.send(client, Scatter(1, ((key, 8),), None))
        for reply in self.env.take(client, Reply):
            for key, where, assignment in reply.value if reply.ok else ():
                for worker in self.workers:
                    if address(worker.id) == where:
                        worker.data[key] = 8
                        worker.say(
                            Done([(assignment, 8, 0, None, None)]), Holds([(key, 8, LATEST)])
                        )

    def reconnect(self, who: int, choice: int) -> None:
        id = CLIENTS[who % len(CLIENTS)]
        self.connections += 1
        peer = f"{id}-{self.connections}"
        if choice % 2:
            self.env.gone(self.clients[id])
        client = self.env.core.members.clients.get(id)
        wants = tuple(task.key for task in client.wants) if client is not None else ()
        self.env.send(peer, ClientHello(id, "", PROTOCOL, PYTHON, wants[: choice % 4], (), ""))
        self.clients[id] = peer

    def heal(self) -> None:
        """No more faults: the workers that are there do all that they are given."""
        self.env.tick(2)  # those that died without a nanny's word are given up
        self._bury()
        for name in range(1, 4):
            if not any(worker.id == f"W{name}" for worker in self.workers):
                self._add(f"W{name}", 1, "")
        while any(self.env.inbox[w.peer] or w.jobs for w in self.workers):
            for worker in self.workers:
                worker.act("finish", 0)

    def end(self) -> None:
        """Everybody lets go of everything."""
        for id, peer in self.clients.items():
            client = self.env.core.members.clients[id]
            self.env.release(peer, *(task.key for task in client.wants))
            self.env.send(peer, Submit({}, (), False))
        while any(self.env.inbox[w.peer] or w.jobs for w in self.workers):
            for worker in self.workers:
                worker.act("finish", 0)


ACTIONS = (
    "submit", "submit", "submit", "finish", "finish", "finish", "fail", "release", "cancel", "want",
    "missing", "scatter", "replicate", "tick", "join", "die", "reconnect", "client reconnects",
    "unfetchable", "secede", "start",
)  # fmt: skip

# More work than faults. No ticks: in a long history they would add up, and these workers send no heartbeat.
BUSY = (*(action for action in ACTIONS if action != "tick"), *("submit", "finish", "join") * 5)

# Much that is called off by force, or over its time.
HASTY = (*ACTIONS, *("submit", "start", "cancel", "tick", "join") * 4)

STEPS = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 7), st.integers(0, 30)), max_size=50
)

UNSENDABLE = st.frozensets(st.integers(0, KEYS - 1).map(lambda number: f"k{number}"))


@settings(max_examples=400, deadline=None)
@given(STEPS, st.booleans(), UNSENDABLE)
def test_everything_that_is_wanted_ends_and_nothing_is_left(
    steps: list[Any], scarce: bool, unsendable: frozenset[str]
) -> None:
    live(steps, World(scarce, unsendable))


@pytest.mark.parametrize("seed", range(40))
def test_long_histories_with_results_that_are_stuck(seed: int) -> None:
    """The others are mostly too short, and too full of faults, for what is stuck to meet what uses it."""
    chance = random.Random(seed)
    for scarce in (False, True):
        unsendable = frozenset(f"k{n}" for n in range(KEYS) if chance.random() < 0.5)
        steps = [
            (chance.choice(BUSY), chance.randrange(8), chance.randrange(31)) for _ in range(120)
        ]
        live(steps, World(scarce, unsendable))


@pytest.mark.parametrize("seed", range(20))
def test_long_histories_with_tasks_that_are_ended(seed: int) -> None:
    chance = random.Random(seed)
    for scarce in (False, True):
        steps = [
            (chance.choice(HASTY), chance.randrange(8), chance.randrange(31)) for _ in range(120)
        ]
        live(steps, World(scarce, hasty=True))


def live(steps: list[Any], world: World) -> None:
    """All that happens, and then what must be true in the end."""
    for step in steps:
        world.step(*step)
    world.heal()
    tasks = world.env.core.lifecycle.tasks.values()
    assert all(task.state in (MEMORY, ERRED) for task in tasks if task.wanters)
    world.end()
    world.env.assert_empty()
    for worker in world.env.core.members.workers.values():
        assert not worker.assigned and not worker.incoming and not worker.seceded
        assert not worker.stock.taken and not worker.stock.strays
    for pretended in world.workers:
        assert pretended.data == {}
