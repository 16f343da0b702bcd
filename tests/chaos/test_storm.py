"""A short storm; `make chaos` goes on for longer, and with other seeds each time."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.chaos.cluster import Cluster
from tests.chaos.faults import KINDS, Mix, Nemesis
from tests.chaos.ledger import Ledger
from tests.chaos.storm import Storm
from tests.chaos.workloads import KINDS as WORKLOADS
from tests.chaos.workloads import Workload

# With the calm at its end it has to stay below the limit of a test.
SECONDS = 20.0
PATIENCE = 25.0
GENTLE = Mix(pause=0.4, stop=1.5, cut=1.5, restart=1.0)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:  # type: ignore[override]
    """With nobody who does anything to it but these tests."""
    with Cluster(nannies=1, nprocs=2) as cluster:
        yield cluster


def test_a_storm() -> None:
    report = Storm(seed=1, seconds=SECONDS, restarts=3, patience=PATIENCE, mix=GENTLE).run()
    assert not report.failure, report.failure
    assert report.faults["scheduler killed"] == 3
    assert sum(report.workloads.values()) > 10


@pytest.mark.parametrize("kind", WORKLOADS, ids=lambda kind: kind.__name__)
def test_workloads_are_right_where_nothing_happens(
    cluster: Cluster, kind: object, seed: int = 0
) -> None:
    ledger = Ledger(PATIENCE)
    with cluster.connect() as executor:
        kind(Workload(executor, ledger, Random(seed)))  # type: ignore[operator]
        ledger.close()
    assert set(ledger.outcomes) <= {"value", "raised", "cancelled"}


def test_every_fault_is_drawn() -> None:
    random = Random(1)
    assert len({random.choices(KINDS)[0] for _ in range(500)}) == len(KINDS)
    assert Nemesis.kill_scheduler not in KINDS
