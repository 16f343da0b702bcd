"""A thread that does what others put into a queue."""

from __future__ import annotations

import logging
import queue
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from distributed.errands import Errands, run_errands

logger = logging.getLogger("distributed.test")


class Data:
    """Something that an errand refers to."""


def test_they_run_in_order_until_none_comes() -> None:
    done: list[int] = []
    errands: Errands = queue.SimpleQueue()
    for act in (lambda: done.append(1), lambda: done.append(2), None, lambda: done.append(3)):
        errands.put(act)
    run_errands(errands, logger, "it has failed")
    assert done == [1, 2]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), KeyboardInterrupt()])
def test_one_that_fails_is_logged_and_the_next_runs(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise error

    done: list[int] = []
    errands: Errands = queue.SimpleQueue()
    for act in (fail, lambda: done.append(1), None):
        errands.put(act)
    run_errands(errands, logger, "it has failed")
    assert done == [1]
    (record,) = caplog.records
    assert record.getMessage() == "it has failed"
    assert record.exc_info is not None and record.exc_info[1] is error


def test_what_has_run_is_not_kept_until_the_next_comes() -> None:
    class Watched:
        """A queue that looks, when it is asked for the next, whether the last is still there."""

        def __init__(self) -> None:
            data = Data()
            self.data = weakref.ref(data)
            self.acts: list[Callable[[], object] | None] = [lambda: data]
            self.kept: list[bool] = []

        def get(self) -> Callable[[], object] | None:
            if self.acts:
                return self.acts.pop()
            self.kept.append(self.data() is not None)
            return None

    watched: Any = Watched()
    run_errands(watched, logger, "it has failed")
    assert watched.kept == [False]
