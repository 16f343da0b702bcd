"""The leak checker finds leaks."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

import pytest

from tests.support import Baseline, wait_until


def test_a_thread_that_is_left_behind_is_found() -> None:
    baseline = Baseline()
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="forgotten", daemon=True)
    thread.start()
    with pytest.raises(AssertionError, match="thread forgotten"):
        baseline.check(seconds=0)
    end.set()
    baseline.check()


def test_a_process_that_is_left_behind_is_found() -> None:
    baseline = Baseline()
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        with pytest.raises(AssertionError, match=f"process {process.pid}"):
            baseline.check(seconds=0)
        process.kill()
    baseline.check()


def test_a_socket_that_is_left_behind_is_found() -> None:
    baseline = Baseline()
    with socket.socket(), pytest.raises(AssertionError, match="socket"):
        baseline.check(seconds=0)
    baseline.check()


def test_a_condition_that_never_comes_fails_with_its_name() -> None:
    with pytest.raises(AssertionError, match=r"not within 0 s: the moon"):
        wait_until(lambda: False, 0, "the moon")
