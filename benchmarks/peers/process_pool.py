"""concurrent.futures.ProcessPoolExecutor, with its defaults but that its processes are spawned, as ours."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from benchmarks.peers.pools import Pool
from benchmarks.workloads import WORKERS


def start() -> Pool:
    pool = ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn"))
    return Pool("concurrent.futures.ProcessPoolExecutor", pool)
