"""Histories of a simulated cluster, and whether the simulator would notice if something were wrong."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from distributed.messages import MESSAGES
from tests.sim import mutants, repeats
from tests.sim.run import known_seeds

ROOT = Path(__file__).parents[2]
# 300 that are the same each time, and 200 that nobody has seen.
FIXED = [range(start, start + 50) for start in range(0, 300, 50)]
FRESH = 4
# Each batch is shared among so many processes.
PROCESSES = 2
# Those that are found soon. `make mutants` tries all.
QUICK = (
    mutants.reused_numbers,
    mutants.forgotten_location,
    mutants.double_decrement,
    mutants.no_resubmit,
    mutants.no_comparison,
    mutants.lost_requeue,
)


def assert_well(seeds: Sequence[int]) -> None:
    command = [sys.executable, "-m", "tests.sim", "--seeds"]
    processes = [
        subprocess.Popen(
            [*command, ",".join(map(str, seeds[number::PROCESSES]))],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    try:
        outputs = [process.communicate()[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * PROCESSES, "\n".join(outputs)
    assert sum(map(count_seeds, outputs)) == len(seeds)


def count_seeds(output: str) -> int:
    found = re.search(r"^([\d,]+) seeds, ", output, re.MULTILINE)
    return int(found[1].replace(",", "")) if found else 0


@pytest.mark.parametrize("seeds", FIXED, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_nothing_is_lost(seeds: Sequence[int]) -> None:
    assert_well(seeds)


def test_nothing_is_lost_where_something_was_once() -> None:
    assert_well(known_seeds())


@pytest.mark.parametrize("number", range(FRESH))
def test_nothing_is_lost_in_histories_that_nobody_has_seen(number: int) -> None:
    assert_well([random.SystemRandom().randrange(1 << 40) for _ in range(50)])


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


def test_it_is_known_of_each_message_whether_it_may_come_twice() -> None:
    listed = (*repeats.ALWAYS, *repeats.AT_ONCE, *repeats.NEVER)
    assert len(listed) == len(set(listed))
    assert set(listed) == set(MESSAGES)
