"""The order of work, as a session sees it."""

from __future__ import annotations

from pathlib import Path
from time import sleep
from typing import Any

import dask.array as da
import numpy as np
import pytest

from distributed import Executor, LocalCluster, wait
from tests.support import block


def inc(x: int) -> int:
    return x + 1


def note(path: str, x: Any) -> Any:
    """A task that takes a moment, and leaves its argument in a file."""
    sleep(0.02)  # on a worker
    with open(path, "a") as file:
        file.write(f"{x}\n")
    return x


def note_chunk(chunk: np.ndarray, path: str) -> np.ndarray:
    note(path, chunk.flat[0])
    return chunk


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "order")


def test_a_follow_up_does_not_wait_for_the_rest_of_the_map(executor: Executor, path: str) -> None:
    futures = executor.map(note, [path] * 100, range(100))
    follow_up = executor.submit(note, path, executor.submit(str, futures[0]), pure=False)
    assert follow_up.result() == "0"
    assert futures[-1].status == "pending"
    wait(futures)


def test_a_corner_of_a_persisted_array_comes_at_once(executor: Executor, path: str) -> None:
    x = da.arange(100, chunks=1).map_blocks(note_chunk, path, dtype=int).persist()
    for _ in range(2):  # soon, and when its chunk is there
        assert x[0].compute() == 0
        assert len(Path(path).read_text().split()) < 100
    assert x.sum().compute() == 4950


def test_maps_of_maps_hold_few_results(path: str) -> None:
    """Sixty blocks of 32 MB go through two workers of 600 MB."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=600_000_000) as cluster,
        Executor(cluster) as executor,
    ):
        blocks = executor.map(lambda n: np.full(4_000_000, n), range(60))
        means = executor.map(lambda x: float(x.mean()), blocks)
        notes = executor.map(note, [path] * 60, means)
        del blocks, means
        assert executor.gather(notes) == list(range(60))
    assert len(Path(path).read_text().split()) == 60  # no worker died


def test_two_sessions_take_turns(cluster: LocalCluster, gate: str) -> None:
    with Executor(cluster) as one, Executor(cluster) as other:
        held = one.map(block, [gate] * 2, pure=False)
        many = one.map(lambda n: n, range(2000), pure=False)
        single = other.submit(inc, 1)
        Path(gate).touch()
        assert single.result() == 2
        assert one.gather([*held, *many])[-1] == 1999
