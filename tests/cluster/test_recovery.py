"""The scheduler dies, and another takes its place at its address. Nobody has to do anything."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from distributed import Executor, SchedulerGone, wait
from tests.support import block, wait_until


def inc(x: int) -> int:
    return x + 1


def noted_inc(log: str, x: int) -> int:
    with open(log, "a") as file:
        file.write(f"{x}\n")
    time.sleep(0.01)  # on a worker
    return x + 1


def noted_block(path: str) -> int:
    with open(f"{path}.begun", "a") as file:
        file.write("begun ")
    block(path)
    return 7


def block_and_return(path: str, value: str) -> str:
    Path(f"{path}.begun").touch()
    block(path)
    return value


def use_upload() -> int:
    import uploaded_before  # type: ignore[import-not-found]

    return int(uploaded_before.ANSWER)


class Place:
    """An address, a scheduler there that can be killed and started again, and workers."""

    def __init__(self, stack: ExitStack) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._stack = stack
        self._scheduler: subprocess.Popen[bytes] | None = None
        stack.callback(self.kill_scheduler)
        self.start_scheduler()

    def start_scheduler(self) -> None:
        self._scheduler = _run("dscheduler", "--port", self.address.partition(":")[2])

    def kill_scheduler(self) -> None:
        assert self._scheduler is not None
        self._scheduler.kill()
        self._scheduler.wait()

    def start_worker(self) -> None:
        worker = self._stack.enter_context(_run("dworker", self.address))
        self._stack.callback(worker.terminate)


def _run(command: str, *arguments: str) -> subprocess.Popen[bytes]:
    statement = f"from distributed_commands import {command}; {command}()"
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, "-c", statement, *arguments], stdout=quiet, stderr=quiet
    )


@pytest.fixture
def place() -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack)


@pytest.fixture
def executor(place: Place) -> Iterator[Executor]:
    place.start_worker()
    place.start_worker()
    with Executor(place.address) as executor:
        executor.wait_for_workers(2)
        yield executor


FIRING = """
import sys
from pathlib import Path
from distributed import Executor, fire_and_forget

def work(path, gate):
    from tests.support import block
    with open(path, "a") as file:
        file.write("begun ")
    block(gate)
    with open(path, "a") as file:
        file.write("done")

address, folder, gate = sys.argv[1:]
executor = Executor(address)
fire_and_forget(executor.map(work, [f"{folder}/{n}" for n in range(6)], [gate] * 6))
"""


def fire(place: Place, folder: Path, gate: str) -> list[Path]:
    """A script that hands in work and ends. Returns where the work tells of itself."""
    subprocess.run([sys.executable, "-c", FIRING, place.address, str(folder), gate], check=True)
    return [folder / str(n) for n in range(6)]


def told(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_fired_work_is_done_when_its_script_has_ended(place: Place, tmp_path: Path) -> None:
    place.start_worker()
    paths = fire(place, tmp_path, str(tmp_path / "gate"))
    wait_until(lambda: any(map(told, paths)))
    (tmp_path / "gate").touch()
    wait_until(lambda: [told(path) for path in paths] == ["begun done"] * 6)


def test_fired_work_survives_its_client_and_the_scheduler(place: Place, tmp_path: Path) -> None:
    place.start_worker()
    paths = fire(place, tmp_path, str(tmp_path / "gate"))
    wait_until(lambda: any(map(told, paths)))
    place.kill_scheduler()
    (tmp_path / "gate").touch()
    place.start_scheduler()
    wait_until(lambda: all("done" in told(path) for path in paths), seconds=30)


def test_who_was_waiting_gets_the_right_result_and_nothing_runs_twice(
    place: Place, executor: Executor, tmp_path: Path
) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    running = executor.submit(noted_block, str(gate))
    wait_until(lambda: (tmp_path / "gate.begun").exists())
    done = executor.map(noted_inc, [str(log)] * 20, range(20))
    wait(done)
    total = executor.submit(sum, executor.map(noted_inc, [str(log)] * 100, range(20, 120)))
    wait_until(lambda: len(log.read_text().splitlines()) > 30)
    results: list[int] = []
    waiter = threading.Thread(target=lambda: results.append(total.result(timeout=60)))
    waiter.start()
    place.kill_scheduler()
    place.start_scheduler()
    waiter.join()
    gate.touch()
    assert results == [sum(range(21, 121))]
    assert executor.gather(done) == list(range(1, 21))
    assert running.result(timeout=30) == 7
    counts = Counter(map(int, log.read_text().split()))
    assert counts == Counter(range(120))
    assert (tmp_path / "gate.begun").read_text() == "begun "


def test_scattered_data_survives(place: Place, executor: Executor) -> None:
    futures = executor.scatter(list(range(10)))
    place.kill_scheduler()
    later = executor.map(inc, futures)
    place.start_scheduler()
    assert executor.gather(later) == list(range(1, 11))
    assert executor.gather(futures) == list(range(10))


def test_a_question_waits_for_the_answer(place: Place, executor: Executor) -> None:
    place.kill_scheduler()
    answers: list[object] = []
    data = list(range(5))
    asking = threading.Thread(
        target=lambda: answers.append(executor.gather(executor.scatter(data)))
    )
    asking.start()
    place.start_scheduler()
    executor.wait_for_workers(2, timeout=30)
    asking.join()
    assert answers == [data]


def test_what_may_have_been_done_is_not_asked_again(
    place: Place, executor: Executor, tmp_path: Path
) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "gate.begun"
    failures: list[SchedulerGone] = []

    def run() -> None:
        with pytest.raises(SchedulerGone) as caught:
            executor.run(noted_block, str(gate))
        failures.append(caught.value)

    runner = threading.Thread(target=run)
    runner.start()
    wait_until(lambda: begun.exists() and begun.read_text() == "begun begun ")
    place.kill_scheduler()
    runner.join()
    assert f"the connection to the scheduler at tcp://{place.address} broke" in str(failures[0])
    gate.touch()
    place.start_scheduler()
    executor.wait_for_workers(2, timeout=30)
    assert len(executor.run(inc, 1)) == 2
    assert begun.read_text() == "begun begun "


def test_uploads_are_there_for_workers_that_come_later(
    place: Place, executor: Executor, tmp_path: Path
) -> None:
    module = tmp_path / "uploaded_before.py"
    module.write_text("ANSWER = 42\n")
    executor.upload_file(module)
    earlier = set(executor.ncores())
    place.kill_scheduler()
    place.start_scheduler()
    place.start_worker()
    executor.wait_for_workers(3, timeout=30)
    (later,) = set(executor.ncores()) - earlier
    assert executor.submit(use_upload, workers=later).result(timeout=30) == 42


def test_what_was_started_for_an_earlier_scheduler_is_not_taken_for_something_else(
    place: Place, tmp_path: Path
) -> None:
    """Its number must not come again: the result of the one would be that of the other."""
    old, new = tmp_path / "old", tmp_path / "new"
    place.start_worker()
    with Executor(place.address) as executor:
        executor.wait_for_workers(1)
        executor.submit(block_and_return, str(old), "old")
        wait_until(lambda: (tmp_path / "old.begun").exists())
        place.kill_scheduler()
    place.start_scheduler()
    with Executor(place.address) as executor:
        executor.wait_for_workers(1)
        future = executor.submit(block_and_return, str(new), "new")
        old.touch()  # now it ends, and says so
        wait_until(lambda: (tmp_path / "new.begun").exists())
        new.touch()
        assert future.result(timeout=30) == "new"
