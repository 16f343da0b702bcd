"""Resources, with real workers that have them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from distributed import Executor, LocalCluster
from tests.cluster.test_commands import running
from tests.cluster.test_executor import inc
from tests.support import wait_until

GPU = {"GPU": 1}


def alone(x: int, mark: str, gate: str) -> int:
    """Fails if another is at it. Runs until there is a file at `gate`."""
    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    time.sleep(0.02)  # on a worker: a chance for another
    while not os.path.exists(gate):
        time.sleep(0.01)  # on a worker
    os.unlink(mark)
    return os.getpid()


@pytest.fixture
def mark(tmp_path: Path) -> str:
    return str(tmp_path / "mark")


def test_one_at_a_time_where_the_resource_is_while_others_go_on(mark: str, gate: str) -> None:
    with (
        LocalCluster(n_workers=1) as cluster,
        running(
            "dworker",
            cluster.scheduler_address,
            *("--nthreads", "3", "--name", "g", "--resources", "GPU=1 MEM=16e9"),
        ),
        Executor(cluster) as executor,
    ):
        executor.wait_for_workers(2, 10)
        described = executor.scheduler_info()["workers"].values()
        (pid,) = (worker["pid"] for worker in described if worker["name"] == "g")
        resources = [worker["resources"] for worker in described]
        assert {} in resources and {"GPU": 1.0, "MEM": 16e9} in resources
        waiting = executor.map(alone, range(6), mark=mark, gate=gate, resources=GPU)
        wait_until(lambda: os.path.exists(mark))
        assert executor.gather(executor.map(inc, range(50))) == list(range(1, 51))
        everywhere = executor.map(lambda _: os.getpid(), range(2), workers=["g", None], pure=False)
        assert pid in executor.gather(everywhere)
        assert not any(future.done() for future in waiting)
        Path(gate).touch()
        assert executor.gather(waiting) == [pid] * 6


def test_a_worker_that_is_replaced_has_the_same_resources(mark: str, gate: str) -> None:
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, resources=GPU) as cluster,
        Executor(cluster) as executor,
    ):
        futures = executor.map(alone, range(3), mark=mark, gate=gate, resources=GPU)
        wait_until(lambda: os.path.exists(mark))
        (pid,) = executor.run(os.getpid).values()
        Path(mark).unlink()
        os.kill(pid, signal.SIGKILL)
        Path(gate).touch()
        (new,) = set(executor.gather(futures))
        assert new != pid


def test_who_asks_for_what_nobody_has_is_told(
    executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    future = executor.submit(inc, 555_555, resources={"TPU": 2})
    wait_until(lambda: "no worker has TPU=2" in caplog.text, 10, "a warning")
    assert future.status == "pending"
    future.cancel()


def test_resources_that_are_none_are_refused_where_the_caller_stands(executor: Executor) -> None:
    for wrong in ("GPU", 1, ["GPU"], {"GPU": "1"}, {1: 1}):
        with pytest.raises(TypeError, match="resources are"):
            executor.submit(inc, 1, resources=wrong)  # type: ignore[arg-type]
    for amount in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="an amount of GPU is a positive number"):
            executor.map(inc, [1], resources={"GPU": amount})
    assert executor.submit(inc, 1, resources={}).result() == 2
