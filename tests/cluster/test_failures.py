"""Workers die, clients vanish, the cluster is restarted: the work gets done."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from distributed import (
    Executor,
    KilledWorker,
    LocalCluster,
    LostData,
    SchedulerGone,
    SerializationError,
    wait,
)
from distributed.packing import MIN_SHIPPED_BYTES
from tests.support import block, wait_until


def inc(x: int) -> int:
    return x + 1


def slow_inc(x: int) -> int:
    time.sleep(0.02)  # on a worker
    return x + 1


@pytest.fixture
def two_workers() -> Iterator[Executor]:
    """On a cluster of their own."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1) as cluster,
        Executor(cluster) as executor,
    ):
        yield executor


def kill_a_worker(executor: Executor) -> None:
    pid = next(iter(executor.run(os.getpid).values()))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(pid), what="the end of the worker")


def test_what_a_dead_worker_did_is_done_again(two_workers: Executor) -> None:
    done = two_workers.map(inc, range(10))
    wait(done)
    running = two_workers.map(slow_inc, range(100))
    sums = [two_workers.submit(sum, done), two_workers.submit(sum, running)]
    kill_a_worker(two_workers)
    assert two_workers.gather(sums) == [55, 5050]
    assert two_workers.gather(done) == list(range(1, 11))
    two_workers.wait_for_workers(2, timeout=10)


def test_large_data_that_vanished_under_gather_is_computed_again(two_workers: Executor) -> None:
    futures = two_workers.map(lambda n: bytes([n]) * 100_000, range(20))
    wait(futures)
    kill_a_worker(two_workers)
    assert [len(data) for data in two_workers.gather(futures)] == [100_000] * 20


def die_once(array: np.ndarray, path: str) -> int:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return int(array.sum())
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def test_data_of_a_graph_that_was_lost_with_a_worker_is_sent_again(
    two_workers: Executor, tmp_path: Path
) -> None:
    array = np.ones(2 * MIN_SHIPPED_BYTES, "u1")
    graph = {"x": (die_once, array, str(tmp_path / "died"))}
    assert two_workers.get(graph, "x") == array.size
    wait_until(lambda: not two_workers.scheduler_info()["tasks"])


def test_a_task_that_kills_its_worker_fails_after_four_deaths(two_workers: Executor) -> None:
    others = two_workers.map(slow_inc, range(20))
    killer = two_workers.submit(os._exit, 7)
    with pytest.raises(KilledWorker) as caught:
        killer.result(timeout=30)
    lines = str(caught.value).splitlines()
    assert "4 workers died while " in lines[0]
    for number, line in enumerate(lines[1:], 1):
        assert re.fullmatch(
            rf"  {number}\. tcp://127\.0\.0\.1:\d+ \(process \d+\): exit status 7; "
            r"it last used \d+\.\d\d GB of its limit of \d+\.\d\d GB",
            line,
        )
    assert len(lines) == 5
    assert killer.status == "error"
    assert two_workers.gather(others) == list(range(1, 21))


def test_scattered_data_that_dies_with_its_worker_is_lost(two_workers: Executor) -> None:
    futures = two_workers.scatter(list(range(10)))
    kill_a_worker(two_workers)
    wait_until(lambda: any(future.status == "lost" for future in futures))
    lost = next(future for future in futures if future.status == "lost")
    with pytest.raises(LostData, match="every worker that held it is gone"):
        lost.result()
    assert two_workers.submit(inc, lost).status in ("pending", "lost")


def make_lock(path: str) -> threading.Lock:
    """What cannot be pickled, with a side effect."""
    with open(path, "a") as file:
        file.write("made ")
    return threading.Lock()


def take(*locks: threading.Lock) -> tuple[int, list[bool]]:
    """Where it ran, and whether the locks were free."""
    return os.getpid(), [lock.acquire(False) for lock in locks]


def test_what_cannot_be_pickled_is_made_once_and_used_where_it_is(
    two_workers: Executor, tmp_path: Path, gate: str
) -> None:
    log = tmp_path / "log"
    here = next(iter(two_workers.ncores()))
    lock = two_workers.submit(make_lock, str(log), workers=here)
    pid, free = two_workers.submit(take, lock, workers=here).result()
    assert free == [True]
    blocked = two_workers.map(block, [gate] * 3, workers=here, pure=False)
    # Those that use the lock go before what was submitted earlier, but not before what has been given out.
    wait_until(lambda: len(two_workers.processing()[here]) == 2)
    users = [two_workers.submit(take, lock, pure=False) for _ in range(5)]
    # Some were given to the other worker, and came back.
    wait_until(lambda: two_workers.scheduler_info()["tasks"].get("ready") == 6)
    assert not any(user.done() for user in users)
    Path(gate).touch()
    assert two_workers.gather(users) == [(pid, [False])] * 5
    assert log.read_text() == "made "
    del blocked


def test_what_cannot_be_pickled_and_lies_on_two_workers_cannot_be_used_together(
    two_workers: Executor, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    locks = [
        two_workers.submit(make_lock, str(log), workers=address, pure=False)
        for address in two_workers.ncores()
    ]
    both = two_workers.submit(take, *locks)
    after = two_workers.submit(len, both)
    for future in (both, after):
        with pytest.raises(SerializationError, match=r"no worker has all of its inputs") as raised:
            future.result()
        for lock in locks:
            assert str(lock.key) in str(raised.value)
        for address in two_workers.ncores():
            assert address in str(raised.value)
    assert both.status == "error"
    assert [two_workers.submit(take, lock).result()[1] for lock in locks] == [[True], [True]]
    assert log.read_text() == "made made "


def test_what_cannot_be_pickled_is_not_had_on_the_other_worker(
    two_workers: Executor, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    here, there = two_workers.ncores()
    lock = two_workers.submit(make_lock, str(log), workers=here)
    with pytest.raises(SerializationError, match=f"no worker among {there} has .* on .* {here}"):
        two_workers.submit(take, lock, workers=there).result()
    with pytest.raises(SerializationError, match="cannot run"):
        two_workers.submit(take, lock, lock, workers="nobody").result()
    assert two_workers.submit(len, [lock]).result() == 1
    assert log.read_text() == "made "


def test_restart(two_workers: Executor, tmp_path: Path) -> None:
    old_pids = set(two_workers.run(os.getpid).values())
    done = two_workers.submit(inc, 1)
    done.result()
    with Executor(two_workers.scheduler_address) as other:
        theirs = other.submit(inc, 2)
        theirs.result()
        blocked = two_workers.map(block, [str(tmp_path / "never")] * 3, pure=False)
        start = time.monotonic()
        two_workers.restart()
        assert time.monotonic() - start < 10
        assert {future.status for future in [*blocked, done]} == {"cancelled"}
        wait_until(lambda: theirs.status == "cancelled")
        assert other.submit(inc, 3).result() == 4
    assert old_pids.isdisjoint(two_workers.run(os.getpid).values())
    assert two_workers.submit(inc, 1).result() == 2
    two_workers.restart()
    assert two_workers.submit(inc, 1).result() == 2


def test_files_survive_a_restart(two_workers: Executor, tmp_path: Path) -> None:
    module = tmp_path / "surviving_module.py"
    module.write_text("value = 1\n")
    two_workers.upload_file(module)
    two_workers.restart()

    def use() -> int:
        import surviving_module

        return int(surviving_module.value)

    assert set(two_workers.run(use).values()) == {1}


def test_a_worker_that_joins_gets_work(two_workers: Executor, tmp_path: Path) -> None:
    place = two_workers.scheduler_address.removeprefix("tcp://")
    futures = two_workers.map(slow_inc, range(400))
    command = [sys.executable, "-c", "from distributed_commands import dworker; dworker()", place]
    with subprocess.Popen([*command, "--name", "late", "--nthreads", "1"]) as process:
        two_workers.wait_for_workers(3, timeout=20)
        info = two_workers.scheduler_info()["workers"]
        (late,) = [address for address, worker in info.items() if worker["name"] == "late"]
        wait_until(lambda: two_workers.has_what().get(late), what="work for the new worker")
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    assert two_workers.gather(futures) == list(range(1, 401))


def test_the_keys_of_a_client_that_dies_are_released() -> None:
    with LocalCluster(n_workers=1, client_timeout=1) as cluster, Executor(cluster) as executor:
        keys_of_a_client_that_dies(executor)


def keys_of_a_client_that_dies(executor: Executor) -> None:
    script = (
        "import os, sys; from distributed import Executor, wait;"
        "e = Executor(sys.argv[1]); f = e.map(abs, range(7)); wait(f); print(len(f), flush=True);"
        "os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", script, executor.scheduler_address]
    died = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (died.stdout, died.returncode) == ("7\n", -signal.SIGKILL)
    wait_until(lambda: not executor.who_has(), 20, "the end of its keys")


def test_without_a_scheduler_waiting_ends_with_a_reason(tmp_path: Path) -> None:
    with LocalCluster(n_workers=1) as cluster:
        executor = Executor(cluster)
        pending = executor.submit(block, str(tmp_path / "never"))
        with Executor(cluster) as other:
            other.shutdown()
        wait_until(lambda: pending.status == "lost")
        with pytest.raises(SchedulerGone, match="a client asked for it"):
            pending.result()
        with pytest.raises(SchedulerGone, match="a client asked for it"):
            executor.submit(inc, 1)
        executor.close()


def test_shutdown_ends_every_process() -> None:
    executor = Executor(n_workers=1)
    pids = [executor.cluster.scheduler_pid, *executor.run(os.getpid).values()]  # type: ignore[union-attr]
    executor.shutdown()
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 5)


def test_processes_end_with_the_session_that_started_them() -> None:
    """Even if it is killed."""
    script = (
        "import os; from distributed import Executor; e = Executor(n_workers=1);"
        "print(e.cluster.scheduler_pid, *e.run(os.getpid).values(), flush=True);"
        "os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", script]
    died = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=30)
    pids = [int(pid) for pid in died.stdout.split()]
    assert len(pids) == 2
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 10)
