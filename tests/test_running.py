"""The slots in which a worker notes what it runs, for its nanny."""

from __future__ import annotations

from pathlib import Path

import pytest

from distributed import running
from distributed.running import Running


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "running")


def test_the_other_side_sees_what_runs(path: str) -> None:
    nanny, worker = Running(path), Running(path)
    (words, first), (_, second) = worker.take(), worker.take()
    words[first], words[second] = 1 << 63, 7
    assert nanny.assignments() == [1 << 63, 7]
    words[first] = 0
    assert nanny.assignments() == [7]


def test_the_slot_of_a_thread_that_ends_is_empty_and_used_again(path: str) -> None:
    nanny, worker = Running(path), Running(path)
    slot = worker.take()
    slot[0][slot[1]] = 5
    worker.give_back(slot)
    assert nanny.assignments() == []
    assert worker.take()[1] == slot[1]


def test_the_other_side_sees_whose_result_is_being_pickled(path: str) -> None:
    nanny, worker = Running(path), Running(path)
    assert nanny.pickled() == ""
    for key in ("sum-ä€-1", "x", "", "y" * 4096):
        worker.pickles(key)
        assert nanny.pickled() == key
    worker.pickles("z" * 4097)
    assert nanny.pickled() == ""
    worker.pickles("x")
    worker.absolve()
    assert nanny.pickled() == ""


def test_nothing_runs_in_a_process_whose_end_was_ordered(path: str) -> None:
    nanny, worker = Running(path), Running(path)
    words, slot = worker.take()
    worker.absolve()
    words[slot] = 5  # a thread has just begun
    assert nanny.assignments() == []


def test_threads_beyond_the_limit_work_and_are_not_noted(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "SLOTS", 2)
    worker = Running(path)
    slots = [worker.take() for _ in range(4)]
    for number, (words, slot) in enumerate(slots, 1):
        words[slot] = number
    assert Running(path).assignments() == [1, 2]
    for each in slots:
        worker.give_back(each)
    assert len({worker.take()[1] for _ in range(2)}) == 2


def test_without_a_file_nobody_else_sees_it() -> None:
    words, slot = Running().take()
    words[slot] = 1
    assert Running().assignments() == []


def test_a_place_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Running(str(tmp_path / "nowhere" / "running"))
