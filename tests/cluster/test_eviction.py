"""Running tasks are ended: by force, or because they are over their time."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest

from distributed import CancelledError, Executor, LocalCluster, TimeoutError, wait
from distributed.core.lifecycle import MAX_DEATHS
from tests.support import block, wait_until


def hold_the_interpreter(path: str) -> None:
    """No thread of the process can do anything for a minute."""
    Path(path).touch()
    ctypes.PyDLL(None).sleep(60)  # on a worker


def note_and_block(path: str, gate: str) -> str:
    """Leaves a line for each time that it is begun."""
    with open(path, "a") as file:
        file.write("begun\n")
    return block(gate)


def sleep(seconds: float) -> float:
    time.sleep(seconds)  # on a worker
    return seconds


def begun(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def pids(executor: Executor) -> set[int]:
    return {worker["pid"] for worker in executor.scheduler_info()["workers"].values()}


@pytest.fixture
def one_worker() -> Iterator[Executor]:
    """With two threads, on a cluster of its own."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=2) as cluster,
        Executor(cluster) as executor,
    ):
        yield executor


def test_force_ends_what_holds_the_interpreter(one_worker: Executor, tmp_path: Path) -> None:
    before = pids(one_worker)
    path = tmp_path / "begun"
    future = one_worker.submit(hold_the_interpreter, str(path))
    wait_until(path.exists)
    future.cancel(force=True)
    with pytest.raises(CancelledError):
        future.result()
    assert one_worker.submit(pow, 2, 10).result(timeout=20) == 1024
    assert pids(one_worker).isdisjoint(before)


def test_neighbours_of_what_is_ended_by_force_are_not_blamed(
    one_worker: Executor, tmp_path: Path, gate: str
) -> None:
    done = one_worker.submit(pow, 3, 4)
    wait(done)
    path = tmp_path / "neighbour"
    neighbour = one_worker.submit(note_and_block, str(path), gate)
    for round_ in range(MAX_DEATHS):
        wait_until(lambda r=round_: begun(path) == r + 1, 30, "the neighbour's next attempt")
        started = tmp_path / f"started-{round_}"
        future = one_worker.submit(note_and_block, str(started), str(tmp_path / "never"))
        wait_until(lambda s=started: begun(s) == 1, 30, "what is to be ended")
        one_worker.cancel(future, force=True)
    wait_until(lambda: begun(path) == MAX_DEATHS + 1, 30, "the neighbour's last attempt")
    Path(gate).touch()
    assert neighbour.result(timeout=20) == gate
    assert done.result(timeout=20) == 81


def test_what_has_not_started_is_cancelled_without_ending_a_worker(
    one_worker: Executor, gate: str
) -> None:
    before = pids(one_worker)
    running = [one_worker.submit(block, gate, key=f"running-{n}") for n in range(2)]
    wait_until(lambda: sum(map(len, one_worker.processing().values())) == 2)
    waiting = one_worker.map(pow, range(10), range(10))
    one_worker.cancel(waiting, force=True)
    one_worker.run(sleep, 1.0)  # longer than it would take to end the worker
    Path(gate).touch()
    assert one_worker.gather(running) == [gate] * 2
    assert pids(one_worker) == before


def test_a_cancelled_task_that_runs_on_can_be_ended_later(
    one_worker: Executor, tmp_path: Path
) -> None:
    before = pids(one_worker)
    path = tmp_path / "begun"
    future = one_worker.submit(note_and_block, str(path), str(tmp_path / "never"))
    wait_until(lambda: begun(path) == 1)
    future.cancel()
    assert pids(one_worker) == before
    future.cancel(force=True)
    wait_until(lambda: pids(one_worker).isdisjoint(before), 20, "the end of the worker")
    one_worker.wait_for_workers(1)
    assert begun(path) == 1


def test_a_task_over_its_time_fails_and_its_neighbour_does_not(
    one_worker: Executor, tmp_path: Path, gate: str
) -> None:
    path = tmp_path / "neighbour"
    neighbour = one_worker.submit(note_and_block, str(path), gate)
    wait_until(lambda: begun(path) == 1)
    future = one_worker.submit(hold_the_interpreter, str(tmp_path / "begun"), time_limit=0.5)
    with pytest.raises(TimeoutError, match=r"hold_the_interpreter.* time limit of 0.5 s on .*tcp:"):
        future.result(timeout=20)
    assert future.status == "error"
    wait_until(lambda: begun(path) == 2, 30, "the neighbour's second attempt")
    Path(gate).touch()
    assert neighbour.result(timeout=20) == gate


def test_a_task_over_its_time_is_retried(one_worker: Executor, tmp_path: Path) -> None:
    path = tmp_path / "begun"
    gate = tmp_path / "gate"
    future = one_worker.submit(note_and_block, str(path), str(gate), time_limit=0.5, retries=2)
    wait_until(lambda: begun(path) == 2, 30, "the second attempt")
    gate.touch()
    assert future.result(timeout=20) == str(gate)


def test_what_is_in_time_costs_nothing(executor: Executor) -> None:
    before = pids(executor)
    assert executor.gather(executor.map(pow, range(100), [2] * 100, time_limit=30)) == [
        n**2 for n in range(100)
    ]
    assert pids(executor) == before


def test_time_limits_of_collections(one_worker: Executor) -> None:
    lazy = dask.delayed(sleep)
    with pytest.raises(TimeoutError, match=r"time limit of 0\.5 s"):
        one_worker.compute(lazy(60), time_limit=0.5).result(timeout=20)
    with dask.annotate(time_limit=0.5):
        annotated = lazy(60, pure=False)
    with pytest.raises(TimeoutError, match=r"time limit of 0\.5 s"):
        one_worker.compute(annotated, optimize_graph=False).result(timeout=20)


def test_each_task_of_a_chain_has_its_own_time(one_worker: Executor) -> None:
    lazy = dask.delayed(sleep)
    chain = lazy(lazy(lazy(lazy(0.5))))
    assert one_worker.compute(chain, time_limit=1.5, sync=True) == 0.5
