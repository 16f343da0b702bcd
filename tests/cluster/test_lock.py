"""Locks between real processes."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from distributed import (
    CancelledError,
    DistributedError,
    Executor,
    LocalCluster,
    Lock,
    SchedulerGone,
    wait,
)
from distributed.core.client_events import Contending
from distributed.core.contenders import Contender
from distributed.core.locks import MAX_CONTENDERS
from distributed.waiting import Waiting
from tests.support import wait_until


def count_up(path: str, name: str, _: int) -> int:
    """Read, think, write. The process that has done it."""
    with Lock(name):
        count = int(Path(path).read_text())
        time.sleep(0.002)  # on a worker
        Path(path).write_text(str(count + 1))
    return os.getpid()


def use(lock: Lock) -> tuple[str, bool, bool]:
    with lock:
        return lock.name, lock.locked(), Lock(lock.name).acquire(blocking=False)


@pytest.fixture
def name(request: Any) -> str:
    """Locks of tests that share a cluster have names of their own."""
    return str(request.node.name)


def test_tasks_exclude_each_other_on_all_workers(
    executor: Executor, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "count"
    path.write_text("0")
    futures = [executor.submit(count_up, str(path), name, n) for n in range(60)]
    assert len(set(executor.gather(futures))) == 2
    assert path.read_text() == "60"
    assert not Lock(name, executor).locked()


def test_threads_of_one_process_exclude_each_other(
    executor: Executor, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "count"
    path.write_text("0")
    shared = Lock(name)

    def count(number: int) -> None:
        with shared if number % 2 else Lock(name):
            path.write_text(str(int(path.read_text()) + 1))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, range(100)))
    assert path.read_text() == "100"


def test_who_holds_it_and_who_does_not(executor: Executor, name: str) -> None:
    lock, other = Lock(name), Lock(name, client=executor)
    assert repr(lock) == f"<Lock: {name}>"
    with pytest.raises(RuntimeError, match="not held by this object"):
        lock.release()
    assert not lock.locked()
    assert lock.acquire()
    assert repr(lock) == f"<Lock: {name}, held>"
    assert lock.locked() and other.locked()
    assert not other.acquire(blocking=False)
    assert not other.acquire(timeout=0)
    assert not other.acquire(timeout=0.02)
    with pytest.raises(RuntimeError, match="not held by this object"):
        other.release()
    lock.release()
    assert not lock.locked()
    with pytest.raises(RuntimeError, match="not held by this object"):
        lock.release()
    # Those that did not get it do not wait for it any more.
    assert other.acquire(timeout=0)
    other.release()
    with other as held:
        assert held is other
        assert not lock.acquire(blocking=False)
    assert not other.locked()


def test_what_makes_no_sense_is_refused(executor: Executor) -> None:
    with pytest.raises(TypeError, match="is a string, not 7"):
        Lock(7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="surrogates"):
        Lock("\udcff")
    for arguments in ({"timeout": -1}, {"blocking": False, "timeout": 1}):
        with pytest.raises(ValueError, match="a timeout is at least 0"):
            Lock(client=executor).acquire(**arguments)  # type: ignore[arg-type]
    assert Lock().name != Lock().name


def test_a_client_with_too_many_locks_is_told(
    cluster: LocalCluster, executor: Executor, name: str
) -> None:
    with Executor(cluster) as greedy:
        for n in range(MAX_CONTENDERS):
            contender = Contender(f"{name}-{n}", True, Waiting())
            greedy._connection.handle(Contending(contender))
        with pytest.raises(DistributedError, match="let go of some first"):
            Lock(name, greedy).acquire()
        assert Lock(name, executor).acquire()  # others are not concerned
    wait_until(lambda: not Lock(f"{name}-0", executor).locked())


def test_a_pickled_lock_is_another_of_the_same_name(executor: Executor, name: str) -> None:
    lock = Lock(name, executor)
    lock.acquire()
    for other in (pickle.loads(pickle.dumps(lock)), copy.deepcopy(lock)):
        assert (other.name, repr(other)) == (name, f"<Lock: {name}>")
        assert not other.acquire(blocking=False)
    lock.release()
    unnamed = Lock()
    assert executor.submit(use, unnamed).result() == (unnamed.name, True, False)


def test_a_task_that_waits_for_a_lock_keeps_its_thread(
    executor: Executor, name: str, tmp_path: Path
) -> None:
    """Or else many would sit in memory and wait."""
    started, got = tmp_path / "started", tmp_path / "got"

    def take() -> None:
        started.touch()
        with Lock(name):
            got.touch()

    worker = next(iter(executor.ncores()))
    with Lock(name):
        first = executor.submit(take, workers=worker)
        wait_until(started.exists)
        second = executor.submit(got.exists, workers=worker, pure=False)
        wait_until(lambda: len(executor.processing()[worker]) == 2)
        # Had the first given its thread away, the second would run now.
        assert executor.run(os.getpid, workers=worker)
    wait([first, second])
    assert second.result()


def test_a_worker_that_dies_loses_its_lock_at_once(tmp_path: Path) -> None:
    """Not only when its client, which is of the same process, might have come back."""
    marker = tmp_path / "marker"

    def die_with_the_lock() -> str:
        if not Lock("l").acquire(timeout=1):
            return "it is still held"
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "it was free again"

    with Executor(n_workers=1, threads_per_worker=1) as executor:
        assert executor.submit(die_with_the_lock).result(timeout=40) == "it was free again"
        assert marker.exists()


def test_a_restart_frees_the_locks_of_tasks_and_keeps_those_of_sessions(tmp_path: Path) -> None:
    started = tmp_path / "started"

    def hold_for_ever() -> None:
        Lock("theirs").acquire()
        started.touch()
        while True:
            time.sleep(0.01)  # on a worker

    with Executor(n_workers=1, threads_per_worker=1) as executor, Lock("ours", executor) as ours:
        holding = executor.submit(hold_for_ever)
        wait_until(started.exists)
        executor.restart()
        assert holding.status == "cancelled"
        assert ours.locked()
        assert Lock("theirs", executor).acquire(timeout=30)


def wait_in_a_thread(lock: Lock) -> tuple[threading.Thread, list[BaseException | bool]]:
    """A thread that waits for the lock, and what becomes of that."""
    outcome: list[BaseException | bool] = []

    def run() -> None:
        try:
            outcome.append(lock.acquire())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: lock._client is not None and _waits(lock), what="a contender")
    return thread, outcome


def _waits(lock: Lock) -> bool:
    assert lock._client is not None
    table = lock._client._connection.core.contenders.table
    return any(c.name == lock.name and c.status == "waiting" for c in tuple(table.values()))


def test_waiting_ends_with_the_executor(cluster: LocalCluster, name: str) -> None:
    executor = Executor(cluster)
    held = Lock(name, executor)
    held.acquire()
    thread, outcome = wait_in_a_thread(Lock(name, executor))
    executor.close()
    thread.join()
    assert isinstance(outcome[0], CancelledError)
    assert f"waiting for the lock {name} ended: the executor was closed" in str(outcome[0])
    with pytest.raises(RuntimeError, match="any more: the executor was closed"):
        held.release()
    with pytest.raises(SchedulerGone, match="closed"):
        held.acquire()
    with Executor(cluster) as other:
        assert Lock(name, other).acquire(timeout=10)


def test_waiting_ends_with_the_cluster() -> None:
    with LocalCluster(n_workers=1) as cluster, Executor(cluster) as executor:
        Lock("l", executor).acquire()
        thread, outcome = wait_in_a_thread(Lock("l", executor))
        with Executor(cluster) as other:
            other.shutdown()
        thread.join()
        assert isinstance(outcome[0], SchedulerGone)
        assert "a client asked for it" in str(outcome[0])


def test_an_interrupted_wait_leaves_nobody_waiting(executor: Executor, name: str) -> None:
    def interrupt() -> None:
        wait_until(lambda: _waits(other))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    other = Lock(name, executor)
    # Where the tests run in the background of a shell, the signal is ignored from the start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Lock(name, executor):
            thread = threading.Thread(target=interrupt)
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                other.acquire()
            thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert not other.locked()


def answers(executor: Executor) -> bool:
    try:
        executor.ncores()
    except SchedulerGone:
        return False
    return True


def test_a_new_scheduler_learns_who_holds_what() -> None:
    """At the same address. Nobody else gets what is held, and whoever waits gets it in the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{probe.getsockname()[1]}"
    start = [sys.executable, "-c", "from distributed_commands import dscheduler; dscheduler()"]
    start += ["--port", place.partition(":")[2]]
    first = subprocess.Popen(start, stdout=subprocess.DEVNULL)
    try:
        with Executor(place) as executor, Executor(place) as other:
            held = Lock("l", executor)
            held.acquire()
            thread, outcome = wait_in_a_thread(Lock("l", other))
            first.kill()
            first.wait()
            with subprocess.Popen(start, stdout=subprocess.DEVNULL) as second:
                # All three have said hello: what the scheduler hears is in order.
                for client in (other, executor):
                    wait_until(lambda client=client: answers(client))
                with Executor(place) as late:
                    assert Lock("l", late).locked()
                    assert not Lock("l", late).acquire(blocking=False)
                assert not outcome
                held.release()
                thread.join()
                assert outcome == [True]
                executor.shutdown()
            assert second.returncode == 0
    finally:
        first.kill()
        first.wait()


def same_object(lock: Lock, other: list[Lock], gate: str) -> tuple[int, int, str]:
    """While another task of this process has the lock as well."""
    Path(f"{gate}-{os.getpid()}-{threading.get_ident()}").touch()
    for _ in range(1000):
        if len(list(Path(gate).parent.glob("gate-*"))) == 2:
            break
        time.sleep(0.01)  # on a worker
    try:
        with lock:
            found = id(lock), id(other[0])
            assert lock.locked() and "held" in repr(lock)
        lock.release()
    except RuntimeError as error:
        return *found, str(error)
    return 0, 0, ""


def test_locks_of_one_name_arrive_in_a_process_as_one_object(tmp_path: Path, name: str) -> None:
    with Executor(n_workers=1, threads_per_worker=2) as e:
        lock = Lock(name)
        gate = str(tmp_path / "gate")
        futures = [e.submit(same_object, lock, [lock], gate, pure=False) for _ in range(2)]
        first, second = e.gather(futures)
        assert first == second and first[0] == first[1]
        assert first[2] == f"the lock {name} is not held by this task or thread"
        future = e.submit(Lock, name)
        assert future.result() is pickle.loads(pickle.dumps(lock))


def test_only_the_thread_that_holds_a_lock_that_arrived_releases_it(
    executor: Executor, name: str
) -> None:
    lock = pickle.loads(pickle.dumps(Lock(name)))
    assert lock.acquire()
    with ThreadPoolExecutor(1) as other:
        with pytest.raises(RuntimeError, match="not held by this task or thread"):
            other.submit(lock.release).result()
        assert other.submit(lock.acquire, blocking=False).result() is False
        lock.release()
        assert other.submit(lock.acquire).result() is True
        with pytest.raises(RuntimeError, match="not held by this task or thread"):
            lock.release()
        other.submit(lock.release).result()
    assert not lock.locked()


def test_a_lock_that_arrived_belongs_to_the_executor_of_the_moment(
    executor: Executor, name: str
) -> None:
    lock = pickle.loads(pickle.dumps(Lock(name, executor)))
    assert lock.acquire()
    with Executor(n_workers=1, threads_per_worker=1):
        assert not lock.locked()  # it is another one, in another cluster
    assert lock.locked()
    lock.release()


def test_locks_that_arrived_are_not_kept(name: str) -> None:
    lock = weakref.ref(pickle.loads(pickle.dumps(Lock(name))))
    assert lock() is None
