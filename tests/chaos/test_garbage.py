"""Nobody minds what strangers send: not the decisions, not the processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest

from distributed import Executor
from distributed.core.invariants import check
from distributed.core.scheduler import SchedulerCore
from distributed.core.states import Gone, Tick
from distributed.intake import _decode
from distributed.messages import ClientHello, NannyHello, WorkerHello
from distributed.transfer import Server
from tests.chaos import garbage
from tests.chaos.cluster import Cluster
from tests.chaos.tasks import slowly_add

SEEDS = 200
ROUNDS = 8


@pytest.fixture
def cluster() -> Iterator[Cluster]:  # type: ignore[override]
    with Cluster(nannies=2, nprocs=1) as cluster:
        yield cluster


@pytest.mark.parametrize("kind", [garbage.raw, garbage.nonsense])
def test_no_process_ends_of_it(cluster: Cluster, kind: Any) -> None:
    random = Random(1)
    pids = cluster.worker_pids()
    with cluster.connect() as executor:
        places = [cluster.place, *(a.removeprefix("tcp://") for a in executor.ncores())]
        for number in range(ROUNDS):
            start = random.getrandbits(40)
            futures = executor.map(slowly_add, range(start, start + 50), [1] * 50)
            for place in places:
                host, _, port = place.partition(":")
                kind(host, int(port), random)
            assert executor.gather(futures) == list(range(start + 1, start + 51)), number
        assert sorted(cluster.registered(executor)) == sorted(cluster.worker_pids()) == sorted(pids)
        assert_new_workers_join(cluster, executor)


def assert_new_workers_join(cluster: Cluster, executor: Executor) -> None:
    """Nothing that was sent has been kept, and ends them."""
    cluster.end_nanny(0)
    cluster.start_nanny(0)
    cluster.wait_for_workers()
    assert executor.submit(slowly_add, 1, 1).result(10) == 2


@pytest.mark.parametrize("seed", range(0, SEEDS, 50))
def test_the_scheduler_decides_on(seed: int) -> None:
    """Peers that say hello and then anything at all, come back, and go."""
    for number in range(seed, seed + 50):
        random = Random(number)
        core, now = SchedulerCore("epoch"), 0.0
        for _ in range(40):
            peer = b"%d" % random.randrange(6)
            events = []
            if random.random() < 0.3:
                kind = random.choice((ClientHello, NannyHello, WorkerHello))
                events += _decode(peer, [garbage.batch(garbage.hello(random, kind))])
            for _ in range(5):
                events += _decode(peer, garbage.frames(random, garbage.ORDERS))
            if random.random() < 0.1:
                events.append((peer, Gone()))
            now += 0.3
            core.handle([*events, (b"", Tick())], now)
            check(core)


class Inbox:
    """Stands for a Router in which there is always one more message."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def gone(self) -> list[bytes]:
        return []

    def receive(self) -> list[tuple[bytes, list[bytes]]]:
        return [(b"%d" % self._random.randrange(3), garbage.frames(self._random, set()))]

    def send(self, peer: bytes, frames: Sequence[bytes]) -> bool:
        return True


def test_the_server_of_data_serves_on() -> None:
    """Keys have to be such that they can be looked up."""
    for seed in range(SEEDS):
        held: dict[str, list[bytes]] = {"x": [b"data"]}
        inbox: Any = Inbox(Random(seed))
        server = Server(
            inbox,
            lambda keys, reply, held=held: reply([(key, 0, held.get(key)) for key in keys]),  # type: ignore[misc]
            lambda key, assignment, frames, held=held: held.update({key: frames}),  # type: ignore[misc]
        )
        for _ in range(40):
            server.handle()
