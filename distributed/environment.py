"""The environment that worker processes are started with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Setting(NamedTuple):
    """One variable, what workers get if the user has not set it, and why."""

    name: str
    value: str
    reason: str


WORKER_ENVIRONMENT = (
    Setting(
        "PYTHONHASHSEED",
        "1",
        "Tasks on two workers must agree on `hash(text)`: `bag.groupby` and programs of users put things "
        "that belong together into one bucket by it. The number is the same on all machines.",
    ),
    Setting(
        "OMP_NUM_THREADS",
        "1",
        "A worker has a thread for each task that it runs. With a pool of threads for each call of NumPy, "
        "SciPy or Arrow, several times as many threads as cores get in each other's way.",
    ),
    Setting("OPENBLAS_NUM_THREADS", "1", "The same, for OpenBLAS."),
    Setting("MKL_NUM_THREADS", "1", "The same, for MKL."),
    Setting("VECLIB_MAXIMUM_THREADS", "1", "The same, for Apple's Accelerate."),
    Setting(
        "MALLOC_TRIM_THRESHOLD_",
        "65536",
        "glibc gives memory back to the system when this many bytes at the end of its heap are free. By "
        "itself it raises the threshold with the largest arrays that it has seen, and a worker that has "
        "freed its results still seems to be full.",
    ),
)


def worker_environment(given: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment `given`, in which workers would start otherwise.

    >>> worker_environment({"OMP_NUM_THREADS": "4"})["OPENBLAS_NUM_THREADS"]
    '1'
    >>> "OMP_NUM_THREADS" in worker_environment({"OMP_NUM_THREADS": "4"})
    False
    """
    return {
        setting.name: setting.value
        for setting in WORKER_ENVIRONMENT
        # A seed that is different in each process is what Python takes without the variable, too.
        if given.get(setting.name) in (None, "", "random")
    }
