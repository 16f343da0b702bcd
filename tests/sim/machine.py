"""Short histories in which hypothesis decides everything, and makes those that fail as short as it can.

The same cluster as elsewhere, but no message arrives and no task ends before a rule says so: so the
order in which all of that happens is what is drawn. Time passes only by a rule, but for the moments in
which a process reacts to what it has got.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from random import Random
from typing import Any

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.sim import asking, ending, locking
from tests.sim.cluster import Cluster, Shape
from tests.sim.graphs import Temper
from tests.sim.net import Wire
from tests.sim.tasks import BLOBS, Spec
from tests.sim.users import User
from tests.sim.world import Label, World

# In which all processes react to what has happened.
MOMENT = 0.01
# Enough that those who were there from the beginning know each other.
GREETING_ROUNDS = 40
# So much of the trace is shown of what fails.
SHOWN_LINES = 150
MAX_TASKS = 6

COMMON = settings(
    deadline=None, stateful_step_count=40, suppress_health_check=list(HealthCheck), database=None
)
# In CI: the same each time, about ten seconds.
SHORT = settings(COMMON, max_examples=150, derandomize=True)


def hunt(examples: int) -> None:
    """Others than in CI, so many. Raises what goes wrong, with the shortest history that leads to it."""
    run_state_machine_as_test(Machine, settings=settings(COMMON, max_examples=examples))


class DirectedWorld(World):
    """What others may decide the moment of waits until they do, or until `let_go`."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, traced=True)
        self.directed = True
        self._waiting: dict[Label, deque[Callable[[], object]]] = {}

    def due(self, label: Label, delay: float, act: Callable[[], object]) -> None:
        if self.directed:
            self._waiting.setdefault(label, deque()).append(act)
        else:
            super().due(label, delay, act)

    def waiting(self, kind: type) -> list[Label]:
        """What could happen now, of wires or of workers."""
        for label in tuple(self._waiting):
            if not (label[0].alive and self._waiting[label]):
                del self._waiting[label]
        return [label for label in self._waiting if isinstance(label[0], Wire) == (kind is Wire)]

    def happen(self, label: Label, count: int = 1) -> None:
        acts = self._waiting[label]
        for _ in range(min(count, len(acts))):
            acts.popleft()()

    def let_go(self) -> None:
        self.directed = False
        for acts in self._waiting.values():
            for act in acts:
                self.at(0.0, act)


# What is drawn to choose one of things whose number is not known: the smaller, the earlier.
CHOICES = st.integers(0, 30)
KINDS = ("plain", "small", "wanted", "raises", "flaky", "secedes", "poison", "stuck")
# For each task its kind, and two inputs.
GRAPHS = st.lists(
    st.tuples(st.sampled_from(KINDS), CHOICES, CHOICES), min_size=1, max_size=MAX_TASKS
)


class Machine(RuleBasedStateMachine):
    @initialize(
        seed=st.integers(0, 9),
        nannies=st.sampled_from(((), (1,), (2,))),
        alone=st.integers(1, 2),
        clients=st.integers(1, 2),
        graph=GRAPHS,
    )
    def begin(
        self,
        seed: int,
        nannies: tuple[int, ...],
        alone: int,
        clients: int,
        graph: list[tuple[str, int, int]],
    ) -> None:
        self.world = DirectedWorld(seed)
        self.cluster = Cluster(self.world, Shape(nannies, alone, clients))
        temper = Temper(Random(0))
        self.users = [User(self.cluster, temper, c, acts=False) for c in self.cluster.clients]
        self.cluster.users = self.users
        self.broken = False
        self.submitted = 0
        with self._step():
            for _ in range(GREETING_ROUNDS):
                self._deliver_all()
                self._pass(0.5 / GREETING_ROUNDS)
            self._submit(self.users[0], graph)

    @contextmanager
    def _step(self) -> Iterator[None]:
        self.broken = True  # unless we get to the end
        yield
        self._pass(MOMENT)
        self.broken = False

    def _pass(self, seconds: float) -> None:
        self.world.run_until(lambda: False, seconds)

    def _user(self, which: int) -> User | None:
        users = [user for user in self.users if user.client.alive]
        return users[which % len(users)] if users else None

    # What happens of itself

    @rule(which=CHOICES, count=st.integers(1, 5))
    def deliver(self, which: int, count: int) -> None:
        """The next messages of one connection arrive."""
        with self._step():
            wires = self.world.waiting(Wire)
            if wires:
                self.world.happen(wires[which % len(wires)], count)

    @rule(rounds=st.integers(1, 4))
    def deliver_all(self, rounds: int) -> None:
        with self._step():
            for _ in range(rounds):
                self._deliver_all()
                self._pass(MOMENT)

    def _deliver_all(self) -> None:
        for label in self.world.waiting(Wire):
            self.world.happen(label, 1000)

    @rule(which=CHOICES)
    def end_task(self, which: int) -> None:
        """A task that runs gets to its end, or as far as it is to secede."""
        with self._step():
            running = self.world.waiting(Any)
            if running:
                self.world.happen(running[which % len(running)])

    @rule(seconds=st.sampled_from((0.3, 1.5, 6.0, 31.0, 61.0)))
    def pass_time(self, seconds: float) -> None:
        with self._step():
            self._pass(seconds)

    # What users do

    @rule(which=CHOICES, graph=GRAPHS)
    def submit(self, which: int, graph: list[tuple[str, int, int]]) -> None:
        with self._step():
            user = self._user(which)
            if user is not None:
                self._submit(user, graph)

    def _submit(self, user: User, graph: list[tuple[str, int, int]]) -> None:
        """Each task uses up to two of those before it, or of those that the user has already."""
        self.submitted += 1
        specs: list[Spec] = []
        wanted: list[Spec] = []
        for kind, *links in graph:
            before = ["", *user.usable(), *(spec.key for spec in specs)]
            inputs = dict.fromkeys(before[link % len(before)] for link in links)
            key = f"{user.client.name}-{self.submitted}-{len(specs)}"
            specs.append(_spec(key, kind, tuple(filter(None, inputs))))
            self.cluster.book.add(specs[-1])
            if kind == "wanted":
                wanted.append(specs[-1])
        used = {key for spec in specs for key in spec.inputs}
        user.submit(wanted + [s for s in specs if s.key not in used and s not in wanted])

    @rule(which=CHOICES, other=CHOICES)
    def submit_again(self, which: int, other: int) -> None:
        with self._step():
            user, specs = self._user(which), list(self.cluster.book.specs.values())
            if user is not None and specs and not specs[other % len(specs)].scattered:
                user.submit([specs[other % len(specs)]])

    @rule(which=CHOICES, first=CHOICES, count=st.integers(1, 3))
    def release(self, which: int, first: int, count: int) -> None:
        with self._step():
            user = self._user(which)
            for future in _some(user, first, count):
                user.let_go(future)  # type: ignore[union-attr]

    @rule(which=CHOICES, first=CHOICES, count=st.integers(1, 3))
    def cancel(self, which: int, first: int, count: int) -> None:
        with self._step():
            user = self._user(which)
            if user is not None:
                user.call_off(_some(user, first, count))

    @rule(which=CHOICES, first=CHOICES)
    def borrow(self, which: int, first: int) -> None:
        """A future of another, or an own one once more, arrives."""
        with self._step():
            user, lender = self._user(which), self._user(which + 1)
            for future in _some(lender, first, 1):
                user.borrow(future.key)  # type: ignore[union-attr]

    @rule(which=CHOICES)
    def scatter(self, which: int) -> None:
        with self._step():
            user = self._user(which)
            if user is not None:
                self.submitted += 1
                key = f"{user.client.name}-{self.submitted}"
                user.bring(_spec(key, "plain", ()))

    @rule(which=CHOICES, name=st.sampled_from(locking.NAMES), waits=st.booleans())
    def lock(self, which: int, name: str, waits: bool) -> None:
        with self._step():
            user = self._user(which)
            if user is not None:
                locking.contend(self.cluster.witness, user.client, name, waits)

    @rule(which=CHOICES, act=st.sampled_from(tuple(asking.ACTS)))
    def ask(self, which: int, act: Callable[[User], object]) -> None:
        with self._step():
            user = self._user(which)
            if user is not None:
                act(user)

    # What goes wrong

    @rule(which=CHOICES)
    def kill_worker(self, which: int) -> None:
        with self._step():
            workers = self.cluster.workers
            if workers:
                workers[which % len(workers)].die("killed")

    @rule()
    def add_worker(self) -> None:
        with self._step():
            if len(self.cluster.workers) < 5:
                self.cluster.start_alone()

    @rule(down=st.sampled_from((0.0, 1.0, 7.0)))
    def restart_scheduler(self, down: float) -> None:
        with self._step():
            self.cluster.restart_scheduler(down)

    @rule(which=CHOICES, seconds=st.sampled_from((0.5, 7.0, 40.0)))
    def pause(self, which: int, seconds: float) -> None:
        with self._step():
            processes = self.cluster.processes()
            processes[which % len(processes)].pause(seconds)

    @rule(which=CHOICES, notice=st.sampled_from(((0, 0), (0, 2), (2, 0), (0, 30), (30, 0))))
    def cut(self, which: int, notice: tuple[float, float]) -> None:
        with self._step():
            wires = tuple(self.cluster.net.wires)
            if wires:
                self.cluster.cut(wires[which % len(wires)], *notice)

    @rule(which=CHOICES, seconds=st.sampled_from((2.0, 35.0)))
    def jump_clock(self, which: int, seconds: float) -> None:
        with self._step():
            processes = self.cluster.processes()
            processes[which % len(processes)].jump(seconds)

    @rule(which=CHOICES)
    def vanish_client(self, which: int) -> None:
        with self._step():
            user = self._user(which)
            if user is not None and len(self.cluster.clients) > 1:
                user.client.die("killed")

    # What must be true

    @invariant()
    def the_tables_are_in_order(self) -> None:
        if hasattr(self, "cluster"):
            self.broken = True
            self.cluster.scheduler.check()
            self.broken = False

    def teardown(self) -> None:
        try:
            if hasattr(self, "cluster") and not self.broken:
                self.world.let_go()
                ending.end(self.cluster)
        finally:
            if hasattr(self, "cluster"):
                note("\n".join(self.world.trace[-SHOWN_LINES:]))


def _some(user: User | None, first: int, count: int) -> list[Any]:
    held = user.held if user is not None else []
    start = first % (len(held) or 1)
    return list(islice(held, start, start + count))


def _spec(key: str, kind: str, inputs: tuple[str, ...]) -> Spec:
    return Spec(
        key=key,
        inputs=inputs,
        constant=len(key),
        function=next(iter(BLOBS)),
        seconds=0.0,
        small=kind == "small",
        nbytes=28,
        raises=kind == "raises",
        flaky=int(kind == "flaky"),
        retries=int(kind == "flaky"),
        poison=kind == "poison",
        secedes=kind == "secedes",
        stuck=kind == "stuck",
    )
