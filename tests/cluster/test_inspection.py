"""Why a task is not done, its story, and the whole state, on real processes."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from distributed import Executor, LocalCluster, TimeoutError, inspection
from distributed.broker import Broker
from tests.support import block, wait_until

MANY = 20_000  # ten parts of what the scheduler has to say


def inc(x: int, *others: Any) -> int:
    return x + 1


def fail() -> None:
    raise ValueError("this is why")


def test_why_and_story(executor: Executor, gate: str) -> None:
    first = executor.submit(block, gate, key=("first", 0))
    second = executor.submit(inc, 1, first, key="second")
    wait_until(lambda: "is running on worker" in executor.why(first))
    assert executor.why(second).startswith(
        "it waits for ('first', 0), which is running on worker tcp:"
    )
    assert "is running on worker" in executor.why(("first", 0))
    Path(gate).touch()
    assert second.result() == 2
    assert executor.why(second).startswith(
        "it is done: its result, 28 bytes, lies on the worker at"
    )
    story = executor.story("second")
    texts = [text for _, text in story]
    assert texts[0] == "submitted by this Executor"
    assert any(text.startswith("given to worker tcp://") for text in texts)
    assert any(text.startswith("finished on worker tcp://") for text in texts)
    assert [ago for ago, _ in story] == sorted((ago for ago, _ in story), reverse=True)
    assert repr(story).count("\n") == len(story) - 1


def test_why_it_has_failed(executor: Executor) -> None:
    future = executor.submit(fail, pure=False)
    future.exception()
    assert executor.why(future) == "it has failed: ValueError: this is why"
    waits = executor.submit(inc, 1, workers="nobody")
    executor.cancel(waits)
    assert executor.why(waits) == "it was cancelled"


def test_keys_that_nobody_knows(executor: Executor) -> None:
    assert executor.why("nothing").startswith("the scheduler does not know it")
    assert repr(executor.story("nothing")) == "nothing is remembered of it"
    with pytest.raises(ValueError, match=r"no task of this Executor has the key \('x', 1\)"):
        executor.why(("x", 1))


def test_a_worker_that_stands_still(
    tmp_path: Path, gate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1) as cluster, Executor(cluster) as executor:
        future = executor.submit(block, gate)
        (described,) = executor.scheduler_info()["workers"].values()
        wait_until(lambda: "is running on" in executor.why(future))
        os.kill(described["pid"], signal.SIGSTOP)
        try:
            assert executor.why(future).endswith(", which has not answered for 1 s")
            monkeypatch.setattr(inspection, "ANSWER_SECONDS", 2.0)
            executor.dump(tmp_path / "stopped.json")
        finally:
            os.kill(described["pid"], signal.SIGCONT)
        state = json.loads((tmp_path / "stopped.json").read_text())
        assert state["workers"][0]["answer"]["running"]
        (process,) = state["worker_processes"]
        assert "TimeoutError" in process["missing"]
        Path(gate).touch()
        future.result()


def test_a_dump_of_many_tasks(tmp_path: Path, executor: Executor, gate: str) -> None:
    held = executor.submit(block, gate)
    waiting = executor.map(inc, range(MANY), [held] * MANY, key="many")
    file = tmp_path / "state.json"
    executor.dump(file)
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    state = json.loads(file.read_text())
    found = [task for task in state["tasks"] if task["key"].startswith("many-")]
    assert len(found) == len(waiting) and {task["state"] for task in found} == {"waiting"}
    assert found[0]["wire"] == waiting[0].wire
    assert len(state["entries"]) > len(waiting)
    assert {process["address"] for process in state["worker_processes"]} == set(executor.ncores())
    jobs = [job for process in state["worker_processes"] for job in process["jobs"]]
    assert held.key in {job["key"] for job in jobs}
    executor.cancel([held, *waiting])


def test_a_dump_that_cannot_be_written(tmp_path: Path, executor: Executor) -> None:
    with pytest.raises(FileNotFoundError):
        executor.dump(tmp_path / "nowhere" / "state.json")
    assert list(tmp_path.iterdir()) == []


def test_without_a_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker()
    thread = threading.Thread(target=broker.run)
    thread.start()
    with Executor(broker.address) as executor:
        future = executor.submit(inc, 1)
        assert executor.why(future).startswith("it cannot start: there is work but no worker")
        monkeypatch.setattr(inspection, "ANSWER_SECONDS", 1.0)
        broker.stop()
        thread.join()
        wait_until(lambda: "there has been no connection to the scheduler" in executor.why(future))
        with pytest.raises(TimeoutError):
            executor.story(future)
        executor.dump(tmp_path / "state.json")
        state = json.loads((tmp_path / "state.json").read_text())
        assert "TimeoutError" in state["missing"]
        assert [entry["key"] for entry in state["entries"]] == [future.key]
