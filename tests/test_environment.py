"""What worker processes are started with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.bag as db
import pytest

from distributed import Executor, LocalCluster
from distributed.environment import WORKER_ENVIRONMENT, worker_environment
from tests.support import wait_until

ROOT = Path(__file__).parent.parent
USUAL = {setting.name: setting.value for setting in WORKER_ENVIRONMENT}


def of_worker() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in USUAL}


def test_what_a_user_has_set_is_kept() -> None:
    assert worker_environment({}) == USUAL
    assert worker_environment(USUAL) == {}
    assert "MKL_NUM_THREADS" not in worker_environment({"MKL_NUM_THREADS": "8"})


@pytest.mark.parametrize("seed", ["", "random"])
def test_a_seed_that_differs_in_each_process_is_none(seed: str) -> None:
    assert worker_environment({"PYTHONHASHSEED": seed})["PYTHONHASHSEED"] == USUAL["PYTHONHASHSEED"]


def test_the_guide_has_the_table() -> None:
    guide = (ROOT / "docs" / "guide.md").read_text()
    for name, value, reason in WORKER_ENVIRONMENT:
        assert f"| `{name}={value}` | {reason} |" in guide


def test_workers_of_a_cluster_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in USUAL:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with LocalCluster(n_workers=1) as cluster, Executor(cluster) as executor:
        assert list(executor.run(of_worker).values()) == [{**USUAL, "OMP_NUM_THREADS": "3"}]
        first = executor.submit(hash, "text", pure=False).result()
        cluster.add_worker()
        assert set(executor.run(hash, "text").values()) == {first}


WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]


def in_buckets(words: list[str]) -> list[tuple[int, str]]:
    return [(hash(word) % 2, word) for word in words]


def test_workers_put_equal_things_into_one_bucket(executor: Executor) -> None:
    found = [
        executor.submit(in_buckets, WORDS, workers=worker, pure=False).result()
        for worker in executor.ncores()
    ]
    assert len(found) > 1 and all(buckets == found[0] for buckets in found)


@pytest.mark.parametrize(
    "make",
    [
        lambda number: frozenset(["a", f"word {number}"]),
        lambda number: (None, number),
        lambda number: (number, frozenset(["z", f"word {number}", None])),
        lambda number: ["word", None, True, 0.5, b"word", ..., (1, (None, "x"))][number],
    ],
    ids=["frozensets", "None", "nested", "mixed"],
)
def test_bags_are_grouped_by_equal_keys(executor: Executor, make: Callable[[int], Any]) -> None:
    bag = db.from_sequence([make(number % 7) for number in range(70)], npartitions=7)
    groups = bag.groupby(lambda key: key, shuffle="tasks").compute(scheduler=executor)
    assert sorted(len(members) for _, members in groups) == [10] * 7


def test_a_worker_without_a_nanny_has_it_too(cluster: LocalCluster) -> None:
    place = re.sub("^tcp://", "", cluster.scheduler_address)
    command = [sys.executable, "-c", "from distributed_commands import dworker; dworker()"]
    worker = subprocess.Popen(
        [*command, place, "--no-nanny", "--name", "bare"],
        env={name: value for name, value in os.environ.items() if name not in USUAL},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with worker, Executor(cluster) as executor:
        assert executor.submit(of_worker, workers="bare").result() == USUAL
        assert executor.submit(hash, "text", workers="bare").result() == next(
            iter(executor.run(hash, "text").values())
        )
        worker.terminate()
        assert worker.communicate()[1] == ""
        wait_until(lambda: len(executor.ncores()) == 2, 10, "the worker has left")
