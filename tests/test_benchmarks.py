"""The benchmarks run, and what they print can be true."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def floor(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("floor")


def test_the_floor_runs_every_task_of_several_rounds(floor: ModuleType) -> None:
    with floor.Floor() as running:
        # More than a batch, not a multiple of one, and fewer than there are workers.
        rates = [running.tasks_per_second(n) for n in (floor.BATCH * 2 + 7, 1, floor.BATCH)]
    assert all(rate > 0 for rate in rates)


def test_a_floor_round_trip_is_shorter_than_running_a_task(floor: ModuleType) -> None:
    with floor.Floor() as running:
        trips = sorted(running.round_trip() for _ in range(200))
        tasks = sorted(1 / running.tasks_per_second(1) for _ in range(200))
    assert 0 < trips[100] < tasks[100]


def test_the_floor_ends_its_processes_when_its_user_fails(floor: ModuleType) -> None:
    with pytest.raises(ZeroDivisionError), floor.Floor() as running:
        processes = list(running._processes)
        1 / 0  # noqa: B018
    assert len(processes) == 4
    assert not any(process.is_alive() for process in processes)


def test_a_dead_floor_is_reported(floor: ModuleType) -> None:
    with floor.Floor() as running:
        running._sock.rcvtimeo = 100
        for process in running._processes:
            process.kill()
            process.join()
        with pytest.raises(TimeoutError, match="died"):
            running.tasks_per_second(1)


def test_the_report_has_a_row_for_each_claim_and_ratios_that_agree_with_it() -> None:
    command = [sys.executable, "benchmarks/run.py", "--tasks", "200", "--rounds", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    printed = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert printed.returncode == 0, printed.stderr
    rows = {line[:26].strip(): line[26:].split() for line in printed.stdout.splitlines()[3:]}
    floor, ours, pool, ratio = (number(cell) for cell in rows["tasks per second"][:4])
    assert min(floor, ours, pool) > 0
    assert ratio == pytest.approx(ours / floor, abs=0.01)
    floor, ours, pool, ratio = (number(cell) for cell in rows["round trip, median, µs"][:4])
    assert min(floor, ours, pool) > 0
    assert ratio == pytest.approx(ours / floor, rel=0.1)
    assert "scheduler's bytes per task" in rows


def number(cell: str) -> float:
    return float(cell.replace(",", ""))
