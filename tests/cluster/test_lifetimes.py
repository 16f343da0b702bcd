"""What is let go of does not come back; what is held is shared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd
import pytest

from distributed import Executor, get_client, wait
from tests.support import block


def note(path: str, value: Any = None) -> Any:
    """Leaves a trace of each run."""
    with open(path, "a") as file:
        file.write(".")
    return value


def fail(path: str) -> None:
    note(path)
    raise ValueError("it fails")


def note_all(path: str, *values: Any) -> Any:
    return note(path, values)


def ask_inside(path: str) -> Any:
    return get_client().submit(note, path, 1).result()


@pytest.fixture
def trace(tmp_path: Path) -> Callable[[], int]:
    """How often `note` has run with the path `trace.path`."""
    path = tmp_path / "trace"
    path.touch()

    def count() -> int:
        return len(path.read_text())

    count.path = str(path)  # type: ignore[attr-defined]
    return count


# Asked for again


def test_a_frame_is_written_again_each_time(executor: Executor, tmp_path: Path) -> None:
    frame = dd.from_pandas(pd.DataFrame({"a": range(10)}), npartitions=3)
    for _ in range(5):
        frame.to_parquet(tmp_path / "out", overwrite=True)
        assert len(list((tmp_path / "out").glob("*.parquet"))) == 3
    assert len(pd.read_parquet(tmp_path / "out")) == 10


def test_pure_work_that_nobody_holds_runs_again(executor: Executor, trace: Any) -> None:
    for _ in range(5):
        assert dask.delayed(note, pure=True)(trace.path, 7).compute() == 7
    assert trace() == 5
    for _ in range(5):
        assert executor.submit(note, trace.path, 7).result() == 7
    assert trace() == 10
    for _ in range(5):
        assert executor.get({"x": (note, trace.path, 7)}, "x") == 7
    assert trace() == 15
    for _ in range(5):
        assert executor.gather(executor.map(note, [trace.path], [7])) == [7]
    assert trace() == 20
    for _ in range(5):
        assert executor.submit(note, trace.path, 7, key="by hand").result() == 7
    assert trace() == 25


def test_what_was_persisted_and_let_go_of_is_computed_again(executor: Executor, trace: Any) -> None:
    work = dask.delayed(note, pure=True)(trace.path, 7)
    for times in range(1, 4):
        kept = executor.persist(work)
        assert kept.compute() == 7
        assert trace() == times
        del kept


def test_intermediate_work_of_the_last_graph_runs_again(executor: Executor, trace: Any) -> None:
    first = dask.delayed(note, pure=True)(trace.path, 7)
    held = executor.compute(first + 1)
    assert held.result() == 8
    assert (first + 2).compute() == 9
    assert trace() == 2


def test_a_failed_task_runs_again(executor: Executor, trace: Any) -> None:
    for times in range(1, 4):
        with pytest.raises(ValueError, match="it fails"):
            executor.submit(fail, trace.path).result()
        with pytest.raises(ValueError, match="it fails"):
            dask.delayed(fail, pure=True)(trace.path).compute()
        assert trace() == 2 * times


def test_a_traceback_that_is_kept_holds_no_future(executor: Executor, trace: Any) -> None:
    """A notebook keeps the last one."""
    kept = []
    for times in range(1, 4):
        try:
            executor.submit(fail, trace.path).result()
        except ValueError as error:
            kept.append(error)
        try:
            executor.gather(executor.map(fail, [trace.path]))
        except ValueError as error:
            kept.append(error)
        assert trace() == 2 * times


def test_what_was_cancelled_runs_again(executor: Executor, trace: Any) -> None:
    for times in range(1, 4):
        future = executor.submit(note, trace.path)
        wait(future)
        future.cancel()
        assert trace() == times


# Shared


def test_what_a_future_holds_is_not_computed_again(executor: Executor, trace: Any) -> None:
    future = executor.submit(note, trace.path, 7)
    wait(future)
    for _ in range(3):
        assert executor.submit(note, trace.path, 7).result() == 7
    with Executor(executor.scheduler_address) as other:
        assert other.submit(note, trace.path, 7).result() == 7
    assert trace() == 1


def test_equal_work_in_flight_is_shared(executor: Executor, gate: str, trace: Any) -> None:
    one = executor.submit(block, gate)
    other = executor.submit(block, gate)
    Path(gate).touch()
    assert one.key == other.key and one.result() == other.result()


def test_a_task_sees_no_result_that_the_session_has_got_and_let_go_of(
    executor: Executor, trace: Any
) -> None:
    executor.get({"x": (note, trace.path, 1)}, "x")
    assert executor.submit(ask_inside, trace.path).result() == 1
    assert trace() == 2
