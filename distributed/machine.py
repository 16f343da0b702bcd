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
    """Bytes that a worker with so many threads may use; 0 for no limit.

    'auto' is its threads' share of the machine; a number up to 1 is a share, a larger one bytes; texts
    like '4GB' are bytes. Raises ValueError.

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
