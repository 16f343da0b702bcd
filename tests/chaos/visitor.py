"""Client processes that are to be killed: they want much, and say when they are ready."""

from __future__ import annotations

import sys
import threading

from distributed import Executor, Lock, wait
from tests.chaos.tasks import block_of, slowly_add


def visit(place: str, salt: int) -> None:
    """One that holds a lock, data, and unfinished work."""
    with Executor(place) as executor, Lock(f"visitor-{salt}"):
        done = executor.map(slowly_add, range(salt, salt + 20), [1] * 20)
        data = [executor.submit(block_of, salt + n, 300_000) for n in range(4)]
        wait(done)
        running = executor.map(slowly_add, range(salt, salt + 1000), done * 50, seconds=0.1)
        print("ready", flush=True)
        threading.Event().wait()
        del running, data


def crowd(place: str, salt: int, count: int) -> None:
    """So many clients in one process, each with work of its own."""
    executors = [Executor(place, timeout=30) for _ in range(count)]
    futures = [e.submit(slowly_add, salt, n, 0.001) for n, e in enumerate(executors)]
    wait(futures)
    print("ready", flush=True)
    threading.Event().wait()


def main() -> None:
    visit(sys.argv[1], int(sys.argv[2]))
