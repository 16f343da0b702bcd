"""What worker processes are started with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

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
