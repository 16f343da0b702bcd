"""Open files: the limit, the reserve, and who is let in."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from distributed.descriptors import MAX_LIMIT, Reserve, are_left, raise_limit


@pytest.mark.parametrize(
    ("soft", "hard", "then"),
    [
        (64, 256, 256),
        (256, 256, 256),
        (64, 2 * MAX_LIMIT, MAX_LIMIT),
        (64, resource.RLIM_INFINITY, MAX_LIMIT),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY),
    ],
)
def test_the_limit_is_raised(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, then: int
) -> None:
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda kind, pair: limits.append(pair))
    raise_limit()
    assert limits[-1] == (then, hard)


def test_a_limit_that_cannot_be_raised_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kind: int, pair: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda kind: (64, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_limit()


def test_a_reserve_lends_what_it_has_and_takes_it_back() -> None:
    reserve = Reserve(3)
    assert reserve.refill() and len(reserve) == 3
    assert reserve.lend(2) and len(reserve) == 1
    assert not reserve.lend(2) and len(reserve) == 1
    assert reserve.refill() and len(reserve) == 3
    reserve.close()
    assert len(reserve) == 0


def test_a_reserve_that_cannot_be_filled_says_so_and_keeps_what_it_got() -> None:
    code = (
        "import os, resource; from distributed.descriptors import Reserve, are_left;"
        "free = os.dup(0); os.close(free);"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (free + 5, free + 5));"
        "assert are_left(5) and not are_left(6); reserve = Reserve(9);"
        "print(reserve.refill(), len(reserve), are_left(), reserve.lend(1), are_left())"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert said == "False 5 False True True\n"


def test_asking_what_is_left_leaves_nothing_open() -> None:
    before = os.listdir("/proc/self/fd")
    assert are_left(10)
    assert os.listdir("/proc/self/fd") == before
