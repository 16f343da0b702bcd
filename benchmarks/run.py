"""Our figures beside the floor and a process pool, from one run: `make bench`.

All three systems are measured in turn in every round, and the medians of the rounds are compared: on a
machine that others use too, only ratios within one run mean anything.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import zmq

from benchmarks import floor
from benchmarks.floor import inc
from distributed import Executor, LocalCluster, __version__, wait

MEMORY_TASKS = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000, help="in one map")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-tasks", type=int, default=MEMORY_TASKS)
    options = parser.parse_args()
    print(
        f"distributed {__version__}, {datetime.date.today()}, Python {platform.python_version()}, "
        f"libzmq {zmq.zmq_version()}, {cpu()} with {os.cpu_count()} cores"
    )
    ours, theirs, bare = measure(options.tasks, options.rounds)
    memory = scheduler_memory(options.memory_tasks), pool_memory(options.memory_tasks)
    table(ours, theirs, bare, memory, options.tasks, options.memory_tasks)


Figures = tuple[float, float]  # tasks a second, seconds from submit to result


def measure(tasks: int, rounds: int) -> tuple[Figures, Figures, Figures]:
    """Of us, of a process pool of two, and of the floor."""
    rates: tuple[list[float], list[float], list[float]] = ([], [], [])
    delays: tuple[list[float], list[float], list[float]] = ([], [], [])
    with (
        Executor(n_workers=2, threads_per_worker=1) as executor,
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,
        floor.pipeline() as floor_rate,
    ):
        executor.submit(inc, -1).result()
        list(pool.map(inc, range(10)))
        for number in range(rounds):
            # Other arguments each time: equal calls would share their results.
            numbers = range(number * tasks, (number + 1) * tasks)
            rates[0].append(rate(lambda n=numbers: executor.gather(executor.map(inc, n)), tasks))  # type: ignore[misc]
            rates[1].append(rate(lambda n=numbers: list(pool.map(inc, n)), tasks))  # type: ignore[misc]
            rates[2].append(floor_rate(tasks))
            delays[0].append(delay(lambda i: executor.submit(inc, i).result(), -1 - number * 1000))
            delays[1].append(delay(lambda i: pool.submit(inc, i).result(), -1 - number * 1000))
            delays[2].append(floor.round_trip())
    found = [(median(rate), median(delay)) for rate, delay in zip(rates, delays, strict=True)]
    return found[0], found[1], found[2]


def rate(run: Callable[[], object], tasks: int) -> float:
    start = time.perf_counter()
    run()
    return tasks / (time.perf_counter() - start)


def delay(run: Callable[[int], object], first: int, times: int = 500) -> float:
    """The median time of one call, one at a time."""
    delays = []
    for i in range(first, first - times, -1):
        start = time.perf_counter()
        run(i)
        delays.append(time.perf_counter() - start)
    return median(delays)


def scheduler_memory(tasks: int) -> float:
    """Bytes by which the scheduler's peak memory grows for each task that is held."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1) as cluster,
        Executor(cluster) as executor,
    ):
        executor.submit(inc, -1).result()
        before = peak_memory(cluster.scheduler_pid)
        futures = executor.map(inc, range(tasks))
        wait(futures)
        return (peak_memory(cluster.scheduler_pid) - before) / tasks


def pool_memory(tasks: int) -> float:
    """The same for a process pool, which keeps its tasks in the process that submits them."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold_in_pool, args=(theirs, tasks))
    process.start()
    grown: float = ours.recv()
    process.join()
    return grown / tasks


def _hold_in_pool(answer: Connection, tasks: int) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        pool.submit(inc, -1).result()
        before = peak_memory(os.getpid())
        futures = [pool.submit(inc, i) for i in range(tasks)]
        for future in futures:
            future.result()
        answer.send(peak_memory(os.getpid()) - before)


def peak_memory(pid: int) -> int:
    """The most bytes of memory that the process has ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/{pid}/status does not tell the peak memory")


def cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def table(
    ours: Figures,
    pool: Figures,
    bare: Figures,
    memory: tuple[float, float],
    tasks: int,
    memory_tasks: int,
) -> None:
    def verdict(met: bool) -> str:
        return "met" if met else "MISSED"

    share, trips = ours[0] / bare[0], ours[1] / bare[1]
    head = ("", "distributed", "ProcessPool(2)", "floor", "against the floor", "target")
    rows = [
        (
            f"gather(map(inc, range({tasks:,}))), tasks/s",
            f"{ours[0]:,.0f}",
            f"{pool[0]:,.0f}",
            f"{bare[0]:,.0f}",
            f"{share:.2f}",
            f"at least 0.33: {verdict(share >= 1 / 3)}",
        ),
        (
            "submit(inc, i).result(), median µs",
            f"{ours[1] * 1e6:,.0f}",
            f"{pool[1] * 1e6:,.0f}",
            f"{bare[1] * 1e6:,.0f} (round trip)",
            f"{trips:.1f} trips",
            f"at most 5: {verdict(trips <= 5)}",
        ),
        (
            f"peak memory of the scheduler, {memory_tasks:,} tasks, bytes each",
            f"{memory[0]:,.0f}",
            f"{memory[1]:,.0f}",
            "-",
            "-",
            f"at most 2,048: {verdict(memory[0] <= 2048)}",
        ),
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells))


if __name__ == "__main__":
    main()
