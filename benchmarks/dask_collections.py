"""Dask's collections on our cluster, on dask.distributed's, on dask's threads: `make bench-collections`.

Our package and dask.distributed have one import name, so each system has a process of its own, in the
virtual environment where it is installed. It runs this file by its path (with `-I`, nothing else of the
checkout can be imported there), reads what to compute from stdin, and prints what came out to stdout:
so the systems can take turns, round after round, with their clusters kept.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd

PEER = Path(__file__).parents[1] / ".venv-peer-dask/bin/python"
PATIENCE = 300.0  # seconds for one answer
# Two workers are two threads' work, whatever numpy would do beside.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


# Workloads -------------------------------------------------------------------------------------

# Of each round, by its number: other random numbers in every round, the same ones on all systems.


def mean(number: int) -> Any:
    da.random.seed(number)
    x = da.random.normal(loc=10, scale=0.1, size=(10000, 10000), chunks=(1000, 1000))
    return x.mean()


def transpose(number: int) -> Any:
    x = da.ones((4000, 4000), chunks=100)
    return (x + x.T).sum()


def groupby(number: int) -> Any:
    return table(number).groupby("key").value.mean()


def tree(number: int) -> Any:
    return table(number).groupby("key").value.mean(split_out=1)


def table(number: int) -> Any:
    seeds = range(500 * number, 500 * (number + 1))
    return dd.from_map(frame, seeds, meta=frame(0).iloc[:0])


def frame(seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({"key": random.integers(0, 20, 1000), "value": random.normal(size=1000)})


WORKLOADS: dict[str, tuple[str, Callable[[int], Any]]] = {
    "mean": ("mean of 100 random blocks of 1000 x 1000", mean),
    "transpose": ("(x + x.T).sum(), 40 x 40 blocks", transpose),
    # Dask shuffles so many partitions, and each system has its own way to do that.
    "groupby": ("groupby mean, 500 partitions, shuffled", groupby),
    # The same graph everywhere.
    "tree": ("groupby mean, 500 partitions, split_out=1", tree),
}


# One system ------------------------------------------------------------------------------------

Options = dict[str, Any]  # for `compute`


@contextmanager
def ours() -> Iterator[tuple[Options, str]]:
    from distributed import Executor, __version__

    with Executor(n_workers=2, threads_per_worker=1) as executor:
        yield {"scheduler": executor.get}, f"distributed {__version__}"


@contextmanager
def peer() -> Iterator[tuple[Options, str]]:
    from distributed import Client, LocalCluster, __version__

    workers = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
    quiet = {"dashboard_address": None, "silence_logs": "ERROR"}  # it warns of each shuffle
    with LocalCluster(**workers, **quiet) as cluster, Client(cluster):
        yield {}, f"dask.distributed {__version__}"


@contextmanager
def threads() -> Iterator[tuple[Options, str]]:
    yield {"scheduler": "threads", "num_workers": 2}, "dask's threads"


SYSTEMS = {"ours": ours, "peer": peer, "threads": threads}


def serve(mode: str) -> None:
    """Answer the lines of stdin, "workload number", until there are no more."""
    with SYSTEMS[mode]() as (options, name):
        python = platform.python_version()
        libraries = f"dask {dask.__version__}, numpy {np.__version__}, pandas {pd.__version__}"
        print(json.dumps(f"{name}, Python {python}, {libraries}"), flush=True)
        for line in sys.stdin:
            workload, number = line.split()
            print(json.dumps(run(workload, int(number), options)), flush=True)


def run(workload: str, number: int, options: Options) -> tuple[float, list[float]]:
    """How long it takes from nothing, not even a graph, to the result; and the result."""
    _, collection = WORKLOADS[workload]
    start = time.perf_counter()
    value = collection(number).compute(**options)
    seconds = time.perf_counter() - start
    if isinstance(value, pd.Series):
        value = value.sort_index()
    return seconds, np.ravel(value).tolist()


# All of them -----------------------------------------------------------------------------------


class System:
    """A process that has a system in it. Whatever goes wrong there ends us, with its traceback printed."""

    def __init__(self, mode: str, python: str, directory: str) -> None:
        self.mode = mode
        self._process = subprocess.Popen(
            [python, "-I", str(Path(__file__).resolve()), "--mode", mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=directory,
            env={**os.environ, **ONE_THREAD},
            start_new_session=True,  # to be ended with all that it started
        )

    def ask(self, workload: str, number: int) -> tuple[float, list[float]]:
        assert self._process.stdin
        try:
            self._process.stdin.write(f"{workload} {number}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: its answer will not come
        seconds, value = self.answer(f"{workload}, round {number}")
        return seconds, value

    def answer(self, question: str) -> Any:
        """The next line, which is the answer to the last question."""
        stdout = self._process.stdout
        assert stdout
        deadline = time.monotonic() + PATIENCE
        # The end of the process is looked for too: what it started may hold the pipe open.
        while not select.select([stdout], [], [], 1)[0] and self._process.poll() is None:
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.mode}: no answer in {PATIENCE:.0f} s ({question})")
        line = stdout.readline() if select.select([stdout], [], [], 0)[0] else ""
        if not line:
            raise SystemExit(f"{self.mode} has ended, without an answer ({question})")
        return json.loads(line)

    def close(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let it end its cluster and itself; after an error, or if it does not, end all of it."""
        assert self._process.stdin
        try:
            self._process.stdin.close()
            self._process.wait(60 if kind is None else 10)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def measure(
    pythons: dict[str, str], rounds: int
) -> tuple[list[str], dict[str, dict[str, list[float]]]]:
    """What each system is, and its seconds by workload: those of each round.

    A first round, which is not counted, imports what is needed wherever it is needed.
    """
    seconds: dict[str, dict[str, list[float]]] = {w: {m: [] for m in pythons} for w in WORKLOADS}
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        systems = []
        for mode, python in pythons.items():
            systems.append(System(mode, python, directory))
            stack.push(systems[-1].close)
        names = [f"{system.mode}: {system.answer('start')}" for system in systems]
        for number in range(rounds + 1):
            for workload in WORKLOADS:
                values = {}
                for system in systems:
                    duration, values[system.mode] = system.ask(workload, number)
                    if number > 0:
                        seconds[workload][system.mode].append(duration)
                check(workload, values)
    return names, seconds


def check(workload: str, values: dict[str, list[float]]) -> None:
    first, *others = values.values()
    for other in others:
        if len(other) != len(first) or not np.allclose(first, other):
            raise SystemExit(f"{workload}: the systems do not agree: {values}")


def show(seconds: dict[str, dict[str, list[float]]]) -> None:
    head = ("median seconds", "ours", "peer", "threads", "peer / ours", "ours / threads")
    rows = [head]
    for workload, (title, _) in WORKLOADS.items():
        own, other, local = (median(seconds[workload][mode]) for mode in SYSTEMS)
        ratios = f"{other / own:.2f}", f"{own / local:.2f}"
        rows.append((title, f"{own:.3f}", f"{other:.3f}", f"{local:.3f}", *ratios))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=SYSTEMS, help="be this system, and obey stdin")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", default=str(PEER), help="the Python that has dask.distributed")
    options = parser.parse_args()
    if options.mode:
        serve(options.mode)
        return
    from benchmarks.results import machine  # which no system's process could import

    here = sys.executable
    pythons = {"ours": here, "peer": os.path.abspath(options.peer), "threads": here}
    names, seconds = measure(pythons, options.rounds)
    print(f"{datetime.date.today()}, {machine()}, {options.rounds} rounds")
    print(f"python -m benchmarks.dask_collections {' '.join(sys.argv[1:])}")
    print(*names, sep="\n")
    show(seconds)


if __name__ == "__main__":
    main()
