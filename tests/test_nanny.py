"""Nannies: what they say of a death, how long they wait, and what becomes of what workers start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from distributed import Executor, KilledWorker, LocalCluster
from distributed.nanny import FIRST_PAUSE, LAST_PAUSE, _name, pause_after
from distributed.processes import describe_exit
from tests.support import wait_until


def test_pauses_double_up_to_a_limit() -> None:
    pauses = [pause_after(crashes) for crashes in range(1, 30)]
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LAST_PAUSE


@pytest.mark.parametrize(
    ("status", "text"),
    [(-9, "signal 9 (SIGKILL)"), (-11, "signal 11 (SIGSEGV)"), (-250, "signal 250")],
)
def test_signals_are_named(status: int, text: str) -> None:
    assert describe_exit(status) == text


def test_several_workers_of_one_name_are_numbered() -> None:
    assert [_name("alice", number, 2) for number in range(2)] == ["alice-0", "alice-1"]
    assert _name("alice", 0, 1) == "alice"
    assert _name(None, 1, 2) is None


def reason_of_death(end: Callable[[], object], memory_limit: str | int = 0) -> str:
    """What users are told after `end` has ended four workers."""
    with (
        LocalCluster(n_workers=2, memory_limit=memory_limit) as cluster,
        Executor(cluster) as executor,
        pytest.raises(KilledWorker) as caught,
    ):
        executor.submit(end).result(30)
    return str(caught.value)


def test_the_exit_status_and_the_last_words_are_told() -> None:
    def end() -> None:
        print("these were", flush=True)
        print("my last words", file=sys.stderr, flush=True)
        os._exit(3)

    reason = reason_of_death(end)
    assert "exit status 3" in reason
    assert "these were" in reason and "my last words" in reason
    assert "Registered" not in reason


def test_the_signal_is_told() -> None:
    def end() -> None:
        os.kill(os.getpid(), 11)

    assert "signal 11 (SIGSEGV)" in reason_of_death(end)


def test_too_much_memory_is_the_reason() -> None:
    def end() -> None:
        hoard = []
        while True:
            hoard.append(bytearray(os.urandom(1 << 20)))

    reason = reason_of_death(end, "400MB")
    assert "memory" in reason
    assert "limit of 0.40 GB" in reason


def test_what_a_task_started_ends_with_its_worker(tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def start() -> None:
        note.write_text(str(subprocess.Popen(["sleep", "600"]).pid))
        os.kill(os.getpid(), 9)

    with LocalCluster(n_workers=1) as cluster, Executor(cluster) as executor:
        future = executor.submit(start)
        wait_until(lambda: note.exists() and note.read_text(), 10, "the task has run")
        pid = int(note.read_text())
        future.cancel()
        wait_until(partial(is_gone, pid), 10, "the process that the task started has ended")


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
