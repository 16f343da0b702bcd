"""What this machine has: cores and memory."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

# Where a container's limit stands, in the two generations of control groups.
_CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def count_cpus() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processes_and_threads(nworkers: int | str, nthreads: int | None, cpus: int) -> tuple[int, int]:
    """How many worker processes there are to be, and threads in each, on so many cores.

    `nworkers` is their number, or 'auto'; a negative number counts down from the number of cores: -1 is as
    many as there are. Without `nthreads` (None or 0) the processes share the cores; 'auto' takes up to four
    processes of one thread, and on more cores about as many processes as threads in each.
    Raises ValueError if no process is left.

    >>> processes_and_threads("auto", None, 2), processes_and_threads("auto", None, 32)
    ((2, 1), (8, 4))
    >>> processes_and_threads(-1, None, 8), processes_and_threads(2, 0, 8)
    ((8, 1), (2, 4))
    """
    if nworkers == "auto" and nthreads:
        return max(1, cpus // nthreads), nthreads
    if nworkers == "auto":
        divisors = (n for n in range(1, cpus + 1) if cpus % n == 0)
        count = cpus if cpus <= 4 else next(n for n in divisors if n * n >= cpus)
    else:
        count = int(nworkers)
        if count < 0:
            count += cpus + 1
        if count < 1:
            raise ValueError(
                f"--nworkers {nworkers} leaves no process: there are {cpus} cores here"
            )
    return count, nthreads or max(1, cpus // count)


def total_memory() -> int:
    """Bytes that this machine, or the container that we are in, has."""
    total = int(psutil.virtual_memory().total)
    for path in _CGROUP_FILES:
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


def parse_memory_limit(value: str | float | None, nthreads: int) -> int:
    """Bytes that a worker with this many threads may use; 0 for no limit.

    'auto' is the share of the machine's memory that its threads are of the cores; a number up to 1 is a
    share of that memory, a larger one bytes; texts like '4GB' are bytes. Raises ValueError.

    >>> parse_memory_limit("2 GB", 1), parse_memory_limit("0", 1)
    (2000000000, 0)
    """
    if value is None:
        return 0
    if value == "auto":
        return int(total_memory() * min(1.0, nthreads / count_cpus()))
    try:
        number = float(value)
    except ValueError:
        # Dask takes longer to import than a nanny does to start, and few limits are such texts.
        from dask.utils import parse_bytes

        try:
            return int(parse_bytes(str(value)))
        except ValueError:
            raise ValueError(f"{value!r} is not an amount of memory: write '4GB'") from None
    if number < 0:
        raise ValueError(f"a memory limit of {value} is negative")
    return int(number * total_memory()) if number <= 1 else int(number)
