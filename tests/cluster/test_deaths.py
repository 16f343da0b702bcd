"""Each process of a cluster dies, or is stopped: how soon that is noticed, and what becomes of the work."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from distributed import (
    Executor,
    KilledWorker,
    LocalCluster,
    OutOfMemory,
    SchedulerGone,
    fire_and_forget,
    get_worker,
    wait,
)
from tests.support import block, wait_until

# The shortest that a scheduler takes.
WORKER_TIMEOUT = 3.0


def note(path: str) -> int:
    """One more line in the file: the process that has come here."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    return os.getpid()


def noted(path: str) -> list[int]:
    return [int(line) for line in Path(path).read_text().split()] if Path(path).exists() else []


def note_and_block(log: str, gate: str) -> int:
    pid = note(log)
    block(gate)
    return pid


def has_ended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


# Workers


def leave() -> None:
    os._exit(3)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def large_and_pid() -> tuple[bytes, int]:
    return bytes(100_000), os.getpid()


def address_once(path: str) -> str:
    """Where this runs; the first process that comes here dies."""
    if not noted(path):
        note(path)
        kill()
    return get_worker().address


def test_a_worker_that_is_started_again_keeps_its_address(tmp_path: Path) -> None:
    with LocalCluster(n_workers=2) as cluster, Executor(cluster) as executor:
        addresses = set(executor.ncores())
        address = min(addresses)
        held = executor.submit(large_and_pid, workers=address)
        before = held.result()
        path = str(tmp_path / "log")
        assert executor.submit(address_once, path, workers=address).result(30) == address
        assert held.result(30) != before  # made again where it is pinned
        executor.restart()
        assert set(executor.ncores()) == addresses
        assert executor.submit(os.getpid, workers=[address]).result(30)


def test_where_its_port_is_taken_it_says_that_it_has_another(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with LocalCluster(n_workers=1) as cluster, Executor(cluster) as executor:
        (address,) = executor.ncores()
        port = int(address.rpartition(":")[2])
        future = executor.submit(hold_port_and_die, port, str(tmp_path / "log"))
        wait_until(lambda: set(executor.ncores()) not in ({address}, set()), 30, "another address")
        wait_until(lambda: "has a new address" in capfd.readouterr().err, 10, "a warning")
        future.result(30)


def hold_port_and_die(port: int, path: str) -> None:
    """Leave a process behind that takes the port as soon as this one has let go of it."""
    code = (
        "import socket, sys\n"
        "s = socket.socket()\n"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
        "while True:\n"
        "    try:\n"
        "        s.bind(('127.0.0.1', int(sys.argv[1]))); break\n"
        "    except OSError:\n"
        "        pass\n"
        "s.listen(); sys.stdin.read(); __import__('time').sleep(20)"
    )
    if not noted(path):
        note(path)
        subprocess.Popen([sys.executable, "-c", code, str(port)], start_new_session=True)
        kill()


def crash() -> None:
    ctypes.string_at(0)


def large(number: int) -> bytes:
    return bytes([number]) * 70_000_000


def test_results_that_do_not_fit_fail_with_a_reason_and_the_rest_goes_on() -> None:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="350MB") as cluster,
        Executor(cluster) as executor,
    ):
        futures = executor.map(large, range(12))
        wait(futures, 60)
        lost = [future for future in futures if future.status == "error"]
        kept = [future for future in futures if future.status == "finished"]
        assert lost and len(lost) + len(kept) == 12  # both workers may have died with all of it
        for future in lost:
            error = future.exception()
            assert isinstance(error, OutOfMemory) and isinstance(error, MemoryError)
            assert "may use 0." in str(error) and "(0.07 GB) is lost: memory is short" in str(error)
        assert executor.gather(executor.map(len, kept)) == [70_000_000] * len(kept)
        del futures, lost, kept, future
        assert executor.submit(large, 7).result()[0] == 7


def hoard() -> None:
    blocks = []
    while True:
        blocks.append(bytearray(os.urandom(1 << 20)))


@pytest.mark.parametrize("end", [leave, kill, crash, hoard])
def test_the_death_of_a_worker_is_noticed_within_a_second(end: Callable[[], None]) -> None:
    with (
        LocalCluster(n_workers=1, memory_limit="300MB") as cluster,
        Executor(cluster) as executor,
    ):
        ((address, pid),) = executor.run(os.getpid).items()
        future = executor.submit(end)
        wait_until(lambda: has_ended(pid))
        begin = time.monotonic()
        wait_until(lambda: address not in executor.ncores())
        assert time.monotonic() - begin < 1
        future.cancel()


def test_a_worker_that_was_stopped_is_given_up_and_changes_nothing_when_it_goes_on(
    tmp_path: Path,
) -> None:
    log, gate = str(tmp_path / "log"), str(tmp_path / "gate")
    with (
        LocalCluster(n_workers=2, worker_timeout=WORKER_TIMEOUT) as cluster,
        Executor(cluster) as executor,
    ):
        future = executor.submit(note_and_block, log, gate)
        wait_until(lambda: len(noted(log)) == 1)
        (stopped,) = noted(log)
        os.kill(stopped, signal.SIGSTOP)
        try:
            wait_until(lambda: len(noted(log)) == 2, 20, "the task to run elsewhere")
            Path(gate).touch()
            first, second = noted(log)
            assert first != second
            assert future.result() == second
        finally:
            os.kill(stopped, signal.SIGCONT)
        executor.wait_for_workers(2, timeout=20)
        assert stopped in executor.run(os.getpid).values()
        assert future.result() == second
        del future
        wait_until(lambda: not executor.scheduler_info()["tasks"])
        assert len(noted(log)) == 2


def hold_the_lock(log: str, seconds: int) -> int:
    """In C, and without letting go of the interpreter."""
    pid = note(log)
    ctypes.PyDLL(None).sleep(seconds)  # on a worker
    return pid


def test_a_worker_whose_task_keeps_the_interpreter_lock_is_not_dead(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    with (
        LocalCluster(n_workers=1, worker_timeout=WORKER_TIMEOUT) as cluster,
        Executor(cluster) as executor,
    ):
        assert (
            executor.submit(hold_the_lock, log, int(3 * WORKER_TIMEOUT)).result() == noted(log)[0]
        )
        assert executor.run(os.getpid) == dict.fromkeys(executor.ncores(), noted(log)[0])
        assert len(noted(log)) == 1


class Trap:
    """Whoever unpickles it ends."""

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return os._exit, (9,)


def test_an_input_that_kills_whoever_reads_it_is_its_users_fault(gate: str) -> None:
    with LocalCluster(n_workers=2) as cluster, Executor(cluster) as executor:
        here, _ = executor.ncores()
        trap = executor.submit(Trap, workers=here)
        wait([trap])
        blocked = executor.submit(block, gate, workers=here)
        with pytest.raises(KilledWorker, match="exit status 9"):
            executor.submit(id, trap).result(40)
        assert trap.status == "finished" and not blocked.done()


class Grenade:
    """Whoever pickles it ends."""

    def __reduce__(self) -> Any:
        os._exit(8)


def test_a_result_that_kills_whoever_sends_it_is_its_tasks_fault() -> None:
    with LocalCluster(n_workers=2) as cluster, Executor(cluster) as executor:
        grenade = executor.submit(Grenade)
        with pytest.raises(KilledWorker, match="exit status 8"):
            grenade.result(40)


def test_a_nanny_that_is_killed_takes_its_workers_along_and_another_comes(tmp_path: Path) -> None:
    log, gate = str(tmp_path / "log"), str(tmp_path / "gate")
    with LocalCluster(n_workers=1) as cluster, Executor(cluster) as executor:
        future = executor.submit(note_and_block, log, gate)
        wait_until(lambda: len(noted(log)) == 1)
        (worker,) = noted(log)
        (address,) = executor.ncores()
        psutil.Process(worker).parent().kill()
        begin = time.monotonic()
        wait_until(lambda: has_ended(worker))
        wait_until(lambda: address not in executor.ncores())
        assert time.monotonic() - begin < 3
        Path(gate).touch()
        assert future.result(30) != worker


# The scheduler


def test_a_session_brings_its_scheduler_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log, gate = str(tmp_path / "log"), str(tmp_path / "gate")
    with LocalCluster(n_workers=2) as cluster, Executor(cluster) as executor:
        first = cluster.scheduler_pid
        done = executor.map(abs, range(-10, 0))
        wait(done)
        blocked = executor.submit(note_and_block, log, gate)

        def end_it() -> None:
            wait_until(lambda: noted(log))
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: cluster.scheduler_pid != first)
            Path(gate).touch()

        thread = threading.Thread(target=end_it)
        thread.start()
        assert executor.gather([executor.submit(sum, done), blocked])[0] == 55
        thread.join()
        executor.wait_for_workers(2)
        assert executor.gather(executor.map(abs, range(10))) == list(range(10))
    assert "the scheduler of the cluster died (signal 9 (SIGKILL)); starting another" in caplog.text


def test_a_scheduler_that_is_told_to_end_is_not_brought_back() -> None:
    with LocalCluster(n_workers=0) as cluster:
        pid = cluster.scheduler_pid
        os.kill(pid, signal.SIGTERM)
        assert cluster._scheduler.child.join(10)
        assert cluster.scheduler_pid == pid


def test_without_a_scheduler_for_too_long_what_is_pending_fails(tmp_path: Path) -> None:
    start = [sys.executable, "-c", "from distributed_commands import dscheduler; dscheduler()"]
    with subprocess.Popen([*start, "--port", "0"], stdout=subprocess.PIPE, text=True) as scheduler:
        assert scheduler.stdout is not None
        place = scheduler.stdout.readline().split()[-1]
        with Executor(place, scheduler_timeout=1.0) as executor:
            future = executor.submit(abs, -1)
            scheduler.kill()
            begin = time.monotonic()
            with pytest.raises(
                SchedulerGone, match=f"no scheduler has answered at tcp://{place} for 1 s"
            ):
                future.result(20)
            assert time.monotonic() - begin < 5


def test_who_leaves_without_a_scheduler_is_told_that_fired_work_may_be_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    start = [sys.executable, "-c", "from distributed_commands import dscheduler; dscheduler()"]
    with subprocess.Popen([*start, "--port", "0"], stdout=subprocess.PIPE, text=True) as scheduler:
        assert scheduler.stdout is not None
        place = scheduler.stdout.readline().split()[-1]
        with Executor(place) as executor:
            fire_and_forget(executor.submit(abs, -1))
            scheduler.kill()
            wait_until(lambda: executor._connection.alone_seconds is not None)
    assert "1 fired task(s) may be lost, the first is abs-" in caplog.text


# Clients

CLIENT = """
import sys
from distributed import Executor, wait
with Executor(sys.argv[1]) as e:
    futures = e.map(abs, range(-7, 0))
    wait(futures)
    print("done", flush=True)
    sys.stdin.readline()
    print(e.gather(futures), flush=True)
"""


def test_a_client_that_was_stopped_is_given_up_and_carries_on_when_it_can() -> None:
    with LocalCluster(n_workers=1, client_timeout=1) as cluster, Executor(cluster) as executor:
        command = [sys.executable, "-c", CLIENT, cluster.scheduler_address]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, text=True, **pipes) as client:  # type: ignore[call-overload]
            assert client.stdout.readline() == "done\n"
            assert len(executor.who_has()) == 7
            client.send_signal(signal.SIGSTOP)
            wait_until(lambda: not executor.who_has(), 20, "the end of its keys")
            client.send_signal(signal.SIGCONT)
            output, _ = client.communicate("go on\n", timeout=20)
        assert output == "[7, 6, 5, 4, 3, 2, 1]\n"
