"""The ledger can say no."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import Any

import pytest

from distributed import DistributedError, Executor, KilledWorker, LostData, SchedulerGone
from tests.chaos.ledger import Ledger, Promise, Wrong
from tests.chaos.tasks import Deliberate
from tests.support import wait_until


def raising(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    ("promise", "error", "faults", "allowed"),
    [
        (Promise("x", 1), None, [], True),
        (Promise("x", 2), None, [], False),
        (Promise("x", None, Deliberate(1)), None, [], False),
        (Promise("x", None, Deliberate(1)), Deliberate(1), [], True),
        (Promise("x", None, Deliberate(1)), Deliberate(2), [], False),
        (Promise("x", 1), ValueError("?"), ["worker killed"], False),
        (Promise("x", 1), CancelledError(), ["worker killed"], False),
        (Promise("x", 1), KilledWorker(), [], False),
        (Promise("x", 1), KilledWorker(), ["worker killed"] * 3, False),
        (Promise("x", 1), KilledWorker(), ["worker killed"] * 4, True),
        (Promise("x", 1), KilledWorker(), ["worker ended"] * 4, False),
        (Promise("x", 1, deadly=True), KilledWorker(), [], True),
        (Promise("x", 1), LostData(), ["worker killed"], False),
        (Promise("x", 1, scattered=True), LostData(), [], False),
        (Promise("x", 1, scattered=True), LostData(), ["worker killed"], True),
        (Promise("x", 1), SchedulerGone(), ["scheduler killed"], False),
        (Promise("x", 1, asks=True), SchedulerGone(), ["scheduler killed"], False),
        (Promise("x", 1, scattered=True), LostData(), ["scheduler killed"], False),
        (Promise("x", 1), DistributedError(), ["worker killed"], False),
        (Promise("x", 1, asks=True), DistributedError(), ["scheduler killed"], False),
        (Promise("x", 1, asks=True), DistributedError(), ["worker killed"], True),
        (Promise("x", 1), TimeoutError(), ["scheduler killed"], False),
    ],
)
def test_outcomes(
    promise: Promise, error: BaseException | None, faults: list[str], allowed: bool
) -> None:
    ledger = Ledger(1.0)
    for fault in faults:
        ledger.fault(fault)
    ledger.look(promise, lambda: 1 if error is None else raising(error))
    if allowed:
        ledger.close()
    else:
        with pytest.raises(Wrong, match="x must not end as"):
            ledger.close()


def test_what_was_called_off_may_be_cancelled() -> None:
    ledger, promise = Ledger(1.0), Promise("x", 1)
    promise.called_off = True
    ledger.look(promise, lambda: raising(CancelledError()))
    ledger.close()


def test_a_future_that_nobody_has_looked_at(executor: Executor) -> None:
    ledger = Ledger(5.0)
    future = executor.submit(abs, -1)
    promise = ledger.expect(future, 1)
    with pytest.raises(Wrong, match="nobody has looked"):
        ledger.close()
    assert ledger.settle(promise, future) == "value"
    assert ledger.outcomes == {"value": 2}


def test_a_future_that_ends_twice(executor: Executor) -> None:
    ledger = Ledger(5.0)
    future = executor.submit(abs, -2)
    promise = ledger.expect(future, 2)
    future.add_done_callback(lambda _: ledger._ended(promise))
    ledger.settle(promise, future)
    wait_until(lambda: promise.endings == 2)
    with pytest.raises(Wrong, match="2 times"):
        ledger.close()
