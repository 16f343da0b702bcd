"""What tests share: waiting for conditions, and finding what a test has left behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

# How often a condition is looked at. Not how long anything is waited for.
LOOK_SECONDS = 0.01


def wait_until(condition: Callable[[], object], seconds: float = 10.0, what: str = "") -> None:
    """Until the condition is true. Fails with `what` if that does not happen in time."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what or condition}")
        pause.wait(LOOK_SECONDS)


def on_threads(collection: Any) -> Any:
    """A dask collection computed by dask itself, with threads that end then."""
    with ThreadPoolExecutor(2) as pool:
        return collection.compute(scheduler="threads", pool=pool)


def block(path: str) -> str:
    """A task that runs until there is a file at the path."""
    while not os.path.exists(path):
        time.sleep(LOOK_SECONDS)  # on a worker
    return path


class Baseline:
    """The threads, processes and sockets that there are now; and whether there are more later."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._threads = set(threading.enumerate())
        self._children = {child.pid for child in self._process.children(recursive=True)}
        self._sockets = _sockets()

    def leaked(self, expected: Collection[int] = ()) -> list[str]:
        """What is here now and was not then, in words; but for the processes that are expected."""
        found = [
            f"thread {thread.name}"
            for thread in threading.enumerate()
            if thread not in self._threads and not thread.name.startswith("asyncio")
        ]
        for child in self._process.children(recursive=True):
            command = _command(child)
            # The standard library starts that one once, for the life of this process.
            known = child.pid in self._children or child.pid in expected
            if not known and "resource_tracker" not in command:
                found.append(f"process {child.pid} {command}")
        extra = _sockets() - self._sockets
        found += [f"socket {socket}" for socket in sorted(extra)]
        return found

    def check(self, seconds: float = 5.0, expected: Callable[[], Collection[int]] = tuple) -> None:
        """Fails if something is still here after so long."""
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while leaked := self.leaked(expected()):
            if time.monotonic() > deadline:
                raise AssertionError("left behind: " + ", ".join(leaked))
            pause.wait(LOOK_SECONDS)


def _sockets() -> set[str]:
    """This process's sockets and pipes of the kinds that we open, by their names in /proc."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue  # it was the descriptor of this listing
        if target.startswith(("socket:", "anon_inode:[eventpoll]")):
            found.add(f"{entry.name} {target}")
    return found


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return "?"
