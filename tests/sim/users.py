"""What people do with their clients: submit, wait, let go, call off, share, scatter."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

from distributed.core.client_events import Calls
from distributed.core.entries import CANCELLED, PENDING, Item
from tests.sim import asking, locking
from tests.sim.client import Client, Future
from tests.sim.cluster import Cluster
from tests.sim.graphs import Temper, draw_graph, draw_spec
from tests.sim.tasks import BLOBS, Spec

# Somebody who has so many futures lets some go.
MAX_HELD = 100
# A part of a graph is packed in less.
PACK_SECONDS = 0.5


class User:
    """Sits at one client, and does something now and then, as long as it is busy; nothing of its own
    accord if it does not act."""

    def __init__(self, cluster: Cluster, temper: Temper, client: Client, acts: bool = True) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.random = cluster.world.random
        self.temper = temper
        self.client = client
        self.busy = True
        self.held: list[Future] = []
        self._acts = 0
        self._pause = self.random.choice((0.1, 0.5, 2.0))
        # How often each is done; some never, by chance.
        self._mix = {act: weight * self.random.choice((0, 1, 1)) for act, weight in _ACTS.items()}
        self._mix[User.submit_new] = 4
        if acts:
            client.later(self.random.random(), self._act)

    def _act(self) -> None:
        if not self.busy:
            return
        self._acts += 1
        (act,) = self.random.choices(tuple(self._mix), tuple(self._mix.values()))
        if len(self.held) > MAX_HELD:
            act = User.drop
        act(self)
        self.client.later(self.random.expovariate(1 / self._pause), self._act)

    # Each of these is something that a user may do at any time

    def submit_new(self) -> None:
        specs = self._draw()
        self.submit([spec for spec in specs if self._wants(spec, specs)])

    def extend(self) -> None:
        """New tasks that use what we have."""
        given = self.usable()
        if given:
            self.submit(self._draw(given))

    def submit_again(self) -> None:
        """What somebody has submitted before."""
        known = [spec for spec in self.cluster.book.specs.values() if not spec.scattered]
        if known:
            start = self.random.randrange(len(known))
            self.submit(known[start : start + self.random.randint(1, 8)])

    def begin_anew(self) -> None:
        """Let go of results, and ask for the same at once: it has to be done once more, unless others have
        it."""
        specs = {future.key: self.cluster.book.specs[future.key] for future in self._some()}
        made = [spec for spec in specs.values() if not spec.scattered]
        self._let_go_of(made)
        if made:
            self.submit(made)

    def scatter_anew(self) -> None:
        """Let go of data, and scatter the same at once: it may get there before the word to delete what was
        there."""
        scattered = [f.key for f in self.held if self.cluster.book.specs[f.key].scattered]
        for key in scattered[:3]:
            spec = self.cluster.book.specs[key]
            self._let_go_of([spec])
            self.client.release()
            self.bring(spec)

    def _let_go_of(self, specs: list[Spec]) -> None:
        keys = {spec.key for spec in specs}
        for future in [future for future in self.held if future.key in keys]:
            self.let_go(future)

    def drop(self) -> None:
        for future in self._some():
            self.let_go(future)

    def drop_all(self) -> None:
        for future in tuple(self.held):
            self.let_go(future)

    def cancel(self) -> None:
        self.call_off(self._some())

    def call_off(self, futures: list[Future]) -> None:
        for future in futures:
            self.cluster.ledger.called_off(self.client.name, future.key)
        force = self.random.random() < 0.3
        self.world.say(self.client.name, "calls off", ([f.key for f in futures], force))
        self.client.cancel(futures, force)

    def look_again(self) -> None:
        for future in self._some():
            future.look()

    def wait(self) -> None:
        """For several at once: all of them are there when it ends."""
        futures = self._some()
        self.client.wait(futures, self.cluster.ledger.waited)

    def fire(self) -> None:
        """Some work is to be done although we let go of it, and perhaps leave."""
        specs = self.cluster.book.specs
        futures = [
            f for f in self._some() if f.entry.status == PENDING and not specs[f.key].scattered
        ]
        if futures:
            self.client.fire(futures)
        if self.random.random() < 0.5:
            for future in futures:
                self.let_go(future)
        leaves = self.random.random() < 0.05 and not self.client.core._unfinished
        if leaves and len(self.cluster.clients) > 1:
            self.drop_all()
            self.busy = False
            self.client.close()

    def adopt(self) -> None:
        """A future arrives from another client."""
        others = [u for u in self.cluster.users if u is not self and u.client.alive and u.held]
        if others:
            self.borrow(self.random.choice(self.random.choice(others).held).key)

    def borrow(self, key: str) -> None:
        self.cluster.ledger.borrowed(self.client.name, key)
        self.take(self.client.adopt(key, True, self.cluster.ledger.tell)).look()

    def scatter(self) -> None:
        self.bring(draw_spec(self.random, self.temper, self._name(), ()))

    def bring(self, spec: Spec) -> None:
        """Scatter the data of a key."""
        spec = spec._replace(scattered=True, raises=False, poison=False, flaky=0, small=False)
        spec = spec._replace(stuck=False, resources={})
        self.cluster.book.add(spec)
        self.cluster.book.brought.pop(spec.key, None)
        future = self.client.adopt(spec.key, False, self.cluster.ledger.tell)

        def end(ok: bool) -> None:
            if ok and self.busy:
                self.take(future).look()
            else:
                future.drop()

        self.client.scatter(spec.key, end)

    def lock(self) -> None:
        name, waits = self.random.choice(locking.NAMES), self.random.random() < 0.8
        locking.contend(self.cluster.witness, self.client, name, waits)

    # How they do it

    def _name(self) -> str:
        return f"{self.client.name}-{self._acts}"

    def _draw(self, given: tuple[str, ...] = ()) -> list[Spec]:
        specs = draw_graph(self.random, self.temper, self._name(), given)
        for spec in specs:
            self.cluster.book.add(spec)
        return specs

    def _wants(self, spec: Spec, specs: list[Spec]) -> bool:
        used = {key for other in specs for key in other.inputs}
        return spec.key not in used or self.random.random() < 0.3

    def usable(self) -> tuple[str, ...]:
        return tuple(f.key for f in self.held if f.entry.status != CANCELLED)

    def _some(self) -> list[Future]:
        count = min(len(self.held), self.random.choice((1, 1, 3, 10)))
        return self.random.sample(self.held, count)

    def take(self, future: Future) -> Future:
        self.cluster.ledger.enter(future)
        self.held.append(future)
        return future

    def let_go(self, future: Future) -> None:
        if not future.dropped:
            self.held.remove(future)
            future.drop()

    def submit(self, wanted: list[Spec]) -> None:
        """These, with all that they need and we do not have."""
        usable = frozenset(self.usable())
        needed: dict[str, None] = {}
        stack = [spec.key for spec in wanted]
        targets = frozenset(stack)
        while stack:
            key = stack.pop()
            if key in needed or (key in usable and key not in targets):
                continue
            spec = self.cluster.book.specs[key]
            if spec.scattered:
                return  # nobody can submit it
            needed[key] = None
            stack += spec.inputs
        # In the order in which they were drawn inputs come first.
        book = self.cluster.book
        specs = [book.specs[key] for key in sorted(needed, key=book.numbers.__getitem__)]
        if self.world.traced:
            self.world.say(self.client.name, "submits", sorted(targets))
        given = {key for spec in specs for key in spec.inputs}.difference(needed)
        kept = [self.client.adopt(key, True, self.cluster.ledger.tell) for key in sorted(given)]
        self._send(self._calls(specs, targets), kept, [])

    def _calls(self, specs: list[Spec], wanted: frozenset[str]) -> list[Calls]:
        """In one part or, sometimes, several."""
        cuts = sorted(self.random.sample(range(len(specs)), min(2, len(specs) - 1)))
        if self.random.random() < 0.8:
            cuts = []
        graph = self.world.random.random() if cuts else None
        ahead = bool(cuts) and self.random.random() < 0.5
        calls = []
        for start, end in pairwise([0, *cuts, len(specs)]):
            before, part, after = specs[:start], specs[start:end], specs[end:]
            needed = {key for spec in after for key in spec.inputs}
            keys = [spec.key for spec in part if spec.key in needed - wanted]
            used = {key for spec in part for key in spec.inputs} - needed - wanted
            over = [spec.key for spec in before if spec.key in used]
            groups = _groups(part, wanted)
            parts = (tuple(keys), tuple(over)) if ahead else ((), ())
            calls.append(Calls(dict(BLOBS), groups, bool(after), *parts, graph))
        return calls

    def _send(self, parts: list[Calls], kept: list[Future], made: list[Future]) -> None:
        """The first of the parts now, the others later, if nothing comes between. Nobody has the futures
        that are `made` until all has been sent; what is `kept` is needed by what is to come."""
        calls, *others = parts
        tell = self.cluster.ledger.tell
        is_off = calls.graph in self.client.core.called_off
        if is_off or any(future.entry.status == CANCELLED for future in kept):
            self._give_up(calls, kept + made)
            return
        submitted = self.client.submit(calls, tell)
        made += submitted
        for future in submitted:
            self.cluster.ledger.asked(future, self._is_unshared(future.key))
        if others:
            fails = self.random.random() < 0.05  # what is next cannot be packed
            go_on = (
                partial(self._give_up, calls, kept + made)
                if fails
                else partial(self._send, others, kept, made)
            )
            self.client.later(self.random.random() * PACK_SECONDS, go_on)
            return
        for future in kept:
            future.drop()
        for future in made:
            self.take(future).look()

    def _is_unshared(self, key: str) -> bool:
        """Whether nobody else has anything to do with the key, and we had let go of it."""
        core = self.cluster.scheduler.core
        clients = (*core.members.clients.values(), core.fired.keeper)
        known = any(
            task.key == key for c in clients if c.id != self.client.name for task in c.wants
        )
        others = [other for other in self.cluster.clients if other is not self.client]
        task = core.lifecycle.tasks.get(key)
        entry = self.client.core.entries[key]
        return not (
            known
            or any(key in other.core.entries for other in others)
            or (task is not None and task.users)
            or self.client.living[key] > 1
            or entry.dependents
        )

    def _give_up(self, calls: Calls, futures: list[Future]) -> None:
        self.client.handle(Calls({}, [], graph=calls.graph))
        for future in futures:
            future.drop()


def _groups(specs: list[Spec], wanted: frozenset[str]) -> list[Any]:
    """Tasks that stand together and have all in common."""
    groups: list[tuple[str, dict[str, Any] | None, bool, list[Item]]] = []
    for order, spec in enumerate(specs):
        options = {
            "retries": spec.retries,
            "priority": spec.priority,
            "time_limit": spec.time_limit,
            "resources": spec.resources,
        }
        found = {name: value for name, value in options.items() if value} or None
        head = (spec.function, found, spec.key in wanted)
        if not groups or groups[-1][:3] != head:
            groups.append((*head, []))
        groups[-1][3].append((spec.key, spec.arguments, spec.inputs or None, order))
    return groups


_ACTS: dict[Callable[[User], object], float] = {
    User.submit_new: 4,
    User.extend: 2,
    User.submit_again: 2,
    User.begin_anew: 2,
    User.scatter_anew: 1,
    User.drop: 3,
    User.drop_all: 0.3,
    User.cancel: 1,
    User.look_again: 1,
    User.wait: 3,
    User.fire: 1,
    User.adopt: 1,
    User.scatter: 1,
    User.lock: 2,
    **asking.ACTS,
}
