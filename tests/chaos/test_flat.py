"""Over ten rounds of work and trouble no process grows."""

from __future__ import annotations

import gc
import signal
from contextlib import nullcontext
from random import Random

import psutil
import pytest

from distributed import Executor
from tests.chaos import garbage
from tests.chaos.cluster import Cluster, Usage, send_signal, until_gone
from tests.chaos.ledger import Ledger
from tests.chaos.tasks import block_of, mix
from tests.chaos.workloads import KINDS, Workload
from tests.support import wait_until

ROUNDS = 10
# Without tasks that are clients themselves: those die with a worker, and are waited for each time.
WORK = [kind for kind in KINDS if kind is not Workload.nested]
# By then all that is set up once has been.
WARM_ROUNDS = 5
LATE_ROUNDS = 3
PATIENCE = 20.0
# What the allocator keeps for itself varies.
SLACK_BYTES = 4 << 20


def test_nobody_grows() -> None:
    with Cluster(nannies=2, nprocs=2, proxied=1) as cluster, cluster.connect() as executor:
        usages = [one_round(cluster, executor, bool(n % 2)) for n in range(WARM_ROUNDS + ROUNDS)]
        survivors = set.intersection(*(set(usage) for usage in usages))
        assert len(survivors) >= 6  # but for the workers of one nanny, that die by turns
        for pid in survivors:
            check(f"{cluster.called(pid)} {pid}", [usage[pid] for usage in usages])


def one_round(cluster: Cluster, executor: Executor, kills: bool) -> dict[int, Usage]:
    """All kinds of work, a client that comes and goes, a worker that dies or cuts, and some noise."""
    random = Random(1)  # the same again, so that no round needs more than another
    ledger = Ledger(PATIENCE)
    with cluster.connect(through_proxy=True) as other:
        workloads = [Workload(e, ledger, random, (0.0, 0.001)) for e in (executor, other)]
        for number, kind in enumerate(WORK):
            kind(workloads[number % 2])
        if kills:
            kill_one(cluster)
        else:
            for link in (cluster.worker_link, cluster.client_link):
                link.cut()
                link.heal()
            cluster.wait_for_workers()
        meet_everybody(executor)
    ledger.close()
    for _ in range(5):
        garbage.raw("127.0.0.1", cluster.port, random)
    garbage.nonsense("127.0.0.1", cluster.port, random)
    gc.collect()
    wait_until(lambda: not executor.scheduler_info()["tasks"], PATIENCE, "the end of all tasks")
    return cluster.usage()


def meet_everybody(executor: Executor) -> None:
    """All workers get data from each other, and the client from all: then they have the connections that
    they can have, each time."""
    addresses = list(executor.ncores())
    blocks = [executor.submit(block_of, n, 300_000, workers=a) for n, a in enumerate(addresses)]
    mixed = [executor.submit(mix, *blocks, workers=address) for address in addresses]
    assert len(executor.gather(blocks + mixed)) == 2 * len(addresses)


def kill_one(cluster: Cluster) -> None:
    """One of the second nanny; the workers of the first live through all rounds."""
    victim = psutil.Process(cluster.nanny_pids()[1]).children()[0].pid
    send_signal(victim, signal.SIGKILL)
    until_gone(victim)
    cluster.wait_for_workers()


def check(name: str, usages: list[Usage]) -> None:
    """What comes and goes may be there in any round; what leaks is there in all of the last."""
    for what, slack in (("descriptors", 0), ("resident", SLACK_BYTES)):
        counts = [getattr(usage, what) for usage in usages]
        early, late = counts[:WARM_ROUNDS], counts[-LATE_ROUNDS:]
        assert min(late) <= max(early) + slack, f"{name} grows, {what}: {counts}"


@pytest.mark.parametrize(
    ("descriptors", "resident", "grows"),
    [
        ([20, 20, 23, 20, 20, 23, 23, 20, 23, 21], [1 << 20] * 10, False),
        (list(range(20, 35)), [1 << 20] * 15, True),
        ([20] * 15, [n << 20 for n in range(15)], True),
        ([20] * 15, [n << 10 for n in range(15)], False),
    ],
)
def test_growth_is_seen(descriptors: list[int], resident: list[int], grows: bool) -> None:
    usages = [Usage(*both) for both in zip(descriptors, resident, strict=True)]
    with pytest.raises(AssertionError, match="grows") if grows else nullcontext():
        check("it", usages)
