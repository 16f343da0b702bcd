"""Short adversarial histories, drawn by hypothesis."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.sim import mutants
from tests.sim.machine import SHORT, Machine


def test_nothing_is_lost_whatever_comes_next() -> None:
    run_state_machine_as_test(Machine, settings=SHORT)


# Those that are found soon.
@pytest.mark.parametrize(
    "mutant",
    [mutants.lost_requeue, mutants.failure_not_inherited, mutants.never_freed],
    ids=lambda mutant: mutant.__name__,
)
def test_a_deliberate_bug_is_found(mutant: Any) -> None:
    quick = settings(SHORT, phases=[Phase.generate], report_multiple_bugs=False)
    with mutants.replaced(mutant), pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(Machine, settings=quick)
