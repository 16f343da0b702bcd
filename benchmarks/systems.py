"""The systems that are measured, and how they are called in tables."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.workloads import WORKLOADS


class Entry(NamedTuple):
    """`at_home`: our own interpreter has all that it needs. `only`: what it is asked for, if not all."""

    title: str
    at_home: bool = False
    only: tuple[str, ...] = ()


SYSTEMS = {
    "ours": Entry("distributed", at_home=True),
    "floor": Entry("floor", at_home=True, only=("map", "latency")),
    "process_pool": Entry("ProcessPool", at_home=True),
    "dask": Entry("dask.distributed"),
    "ray": Entry("ray"),
    "ipyparallel": Entry("ipyparallel"),
    "loky": Entry("loky"),
}


def is_asked_for(system: str, workload: str) -> bool:
    if WORKLOADS[workload].run is None:
        return system == "ours"
    only = SYSTEMS[system].only
    return not only or workload in only
