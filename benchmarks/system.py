"""What a workload asks of a system, and what each system (`peers/`) builds upon.

Imported by the interpreters of all peers: the standard library only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

# A call of a graph's task: the function and its one argument, a number or a list of keys of other tasks.
Key = tuple[str, int, int]
Graph = Mapping[Key, tuple[Callable[[Any], Any], Any]]
Figures = dict[str, float]


class Cannot(Exception):
    """The system has no way to do this, and why."""


class System:
    """A cluster of two workers with one thread each, and one session with it.

    Subclasses start it in `__init__` and end it in `close`. What is not overridden it cannot do. Where
    `submit` is a method that the system has, it is set to that one: a call in between would be a part of
    what is measured, and not a small one.
    """

    #: The system and its version.
    name = ""
    #: Workloads that it has its own way for. They are given a size and a start, see `workloads.py`.
    own: Mapping[str, Callable[[int, int], Figures]] = {}

    def submit(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A future for the call."""
        raise Cannot("has no such calls")

    def map(self, func: Callable[..., Any], *iterables: Iterable[Any]) -> list[Any]:
        """Futures for the calls."""
        return [self.submit(func, *args) for args in zip(*iterables, strict=False)]

    def result(self, future: Any) -> Any:
        return self.gather([future])[0]

    def gather(self, futures: list[Any]) -> list[Any]:
        raise Cannot("has no futures")

    def wait(self, futures: list[Any]) -> None:
        """Until all are done."""
        raise Cannot("has no futures")

    def then(self, func: Callable[..., Any], future: Any) -> Any:
        """A future for the call on what the other future will be."""
        raise Cannot("takes no futures as arguments")

    def get(self, graph: Graph, key: Key) -> Any:
        """The value of the key, once the graph has been computed."""
        raise Cannot("has no graphs of tasks")

    def visit(self, func: Callable[..., Any], *args: Any) -> Any:
        """What another session with the same cluster gets for its first call."""
        raise Cannot("has no cluster that sessions come to")

    def memory(self) -> Mapping[str, int]:
        """Peak bytes of the process of the "scheduler" and of the "client", if these are processes."""
        return {"client": peak_memory(os.getpid())}

    def close(self) -> None:
        pass


def peak_memory(pid: int) -> int:
    """The most bytes of memory that the process has ever had."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        raise Cannot(f"{sys.platform} does not tell the peak memory of a process") from None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise Cannot(f"/proc/{pid}/status does not tell the peak memory")


def processor_time(pid: int) -> float:
    """Seconds of processor time that all threads of the process have had."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) * 1e-9
    except OSError:
        raise Cannot(f"{sys.platform} does not tell the processor time of a process") from None
