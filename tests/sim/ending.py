"""How a history ends: nothing is in the way any more, and so everything comes to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.sim.cluster import Cluster
from tests.sim.users import User

# Virtual seconds. Once all faults have ended everything must come to its end: a task may still run on a
# worker that was slow when it began, and one worker may have to do hundreds that take long.
RESOLVE_SECONDS = 3600.0
# And all must be of one mind: a worker that has not heard of a break dials again, and says hello.
AGREE_SECONDS = 300.0
# And then, once nobody wants anything, it must be forgotten.
FORGET_SECONDS = 300.0


def end(cluster: Cluster) -> None:
    """Raises AssertionError if there is something left that should not be."""
    _heal(cluster)
    _expect(cluster, _unresolved, RESOLVE_SECONDS)
    _expect(cluster, _disagreements, AGREE_SECONDS)
    _expect(cluster, _lost_fired, RESOLVE_SECONDS)
    for user in _present(cluster):
        assert all(cluster.ledger.futures[future] for future in user.held), user.client
        user.drop_all()
    _expect(cluster, _leftovers, FORGET_SECONDS)
    for user in _present(cluster):
        user.client.close()
    _expect(cluster, _memories, FORGET_SECONDS)
    cluster.scheduler.check()


def _present(cluster: Cluster) -> list[User]:
    return [user for user in cluster.users if user.client.alive]


def _heal(cluster: Cluster) -> None:
    """No more faults, and nothing new to do, but to look at everything once more."""
    cluster.world.say("world", "heals")
    cluster.heal()
    for user in _present(cluster):
        user.busy = False
        for future in user.held:
            future.look()


def _expect(cluster: Cluster, what: Callable[[Cluster], list[Any]], seconds: float) -> None:
    """That there is nothing of it left, at least after so long."""
    if not cluster.world.run_until(lambda: not what(cluster), seconds):
        raise AssertionError(f"{what.__name__} after {seconds:.0f} s: {what(cluster)[:10]}")


def _unresolved(cluster: Cluster) -> list[Any]:
    found: list[Any] = [] if cluster.scheduler.alive else ["no scheduler"]
    found += [
        (u.client.name, graph) for u in _present(cluster) for graph in u.client.core._unfinished
    ]
    return found + [
        (user.client.name, future.entry)
        for user in _present(cluster)
        for future in user.held
        if future.looks
    ]


def _disagreements(cluster: Cluster) -> list[Any]:
    """Who is there, what each worker holds, and what it runs, is the same for the scheduler as for
    themselves."""
    known = cluster.scheduler.core.members.workers
    alive = {worker.name: worker for worker in cluster.workers}
    found: list[Any] = [("unknown to one", name) for name in known.keys() ^ alive.keys()]
    for name, worker in alive.items():
        if name in known:
            found += worker.disagreements(known[name])
        found += [
            (name, "has not", file)
            for file, content in cluster.scheduler.core.requests.files.items()
            if worker.files.get(file) != content
        ]
    return found


def _lost_fired(cluster: Cluster) -> list[Any]:
    """What was fired and has not been done; the scheduler may just be hearing of it."""
    return [*cluster.scheduler.core.fired.trustees, *cluster.ledger.lost_fired()]


def _leftovers(cluster: Cluster) -> list[Any]:
    found = cluster.scheduler.leftovers()
    for process in (*cluster.workers, *cluster.clients):
        found += process.leftovers()
    return found


def _memories(cluster: Cluster) -> list[Any]:
    return cluster.scheduler.memories()
