"""Histories of a simulated cluster, and whether the simulator would notice if something were wrong."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.sim import mutants
from tests.sim.run import known_seeds, run

ROOT = Path(__file__).parents[2]
# Ten times ten of these are the same each time, some are fresh.
BUNDLES = [range(start, start + 10) for start in range(0, 100, 10)]
FRESH = 5
# Those that are found soon. `make mutants` tries all.
QUICK = (
    mutants.no_attempt_check,
    mutants.forgotten_location,
    mutants.double_decrement,
    mutants.no_resubmit,
    mutants.no_comparison,
    mutants.lost_requeue,
)


def assert_well(seeds: Iterable[int]) -> None:
    for seed in seeds:
        report = run(seed)
        assert not report.failure, f"python -m tests.sim --seed {seed}\n{report.failure}"
        assert report.events > 0 and report.virtual > 1


@pytest.mark.parametrize("seeds", BUNDLES, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_nothing_is_lost(seeds: Iterable[int]) -> None:
    assert_well(seeds)


def test_nothing_is_lost_where_something_was_once() -> None:
    assert_well(known_seeds())


def test_nothing_is_lost_in_histories_that_nobody_has_seen() -> None:
    assert_well(random.SystemRandom().randrange(1 << 40) for _ in range(FRESH))


def replay(seed: int, hash_seed: str) -> bytes:
    environment: dict[str, Any] = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-m", "tests.sim", "--seed", str(seed)]
    return subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE).stdout


def test_a_seed_is_the_same_history_each_time() -> None:
    for seed in (5, 20, 25):
        first = replay(seed, "1")
        assert first == replay(seed, "2")
        assert first.endswith(b"events\n")


@pytest.mark.parametrize("mutant", QUICK, ids=lambda mutant: mutant.__name__)
def test_a_deliberate_bug_is_found(mutant: Any) -> None:
    assert mutants.seeds_to_find(mutant, 30)
