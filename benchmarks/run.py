"""What README claims about speed and memory, measured beside the floor in one run.

    python benchmarks/run.py [--tasks N] [--rounds N]

The systems are measured in turn, round after round, so that whatever else the machine does hits
them alike; then medians are taken. See benchmarks/README.md for what is measured.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

import zmq
from floor import Floor

from distributed import Executor, LocalCluster, wait

WORKERS = 2
TASKS = 20_000
ROUNDS = 5
# A round has one single round trip for so many tasks, and at the end five times as many are held.
TASKS_PER_TRIP = 20
HELD_PER_TASK = 5
# Before anything is measured: processes are there, functions have travelled, caches are warm.
WARM_UP = 200

# What is promised, against the floor.
LEAST_RATE = 1 / 3
MOST_ROUND_TRIPS = 5
MOST_BYTES_PER_TASK = 2_000


def inc(x: int) -> int:
    return x + 1


class System(Protocol):
    """Something that runs tasks: what is measured of each."""

    def rate(self, numbers: range) -> float:
        """Tasks per second, for `inc` of each of the numbers, until the results are here."""

    def trip(self, number: int) -> float:
        """The seconds that one task takes, until its result is here."""


class FloorSystem:
    def __init__(self, floor: Floor) -> None:
        self.floor = floor

    def rate(self, numbers: range) -> float:
        return self.floor.tasks_per_second(len(numbers))

    def trip(self, number: int) -> float:
        return self.floor.round_trip()


class Distributed:
    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    def rate(self, numbers: range) -> float:
        start = time.perf_counter()
        values = self.executor.gather(self.executor.map(inc, numbers))
        seconds = time.perf_counter() - start
        check(values, numbers)
        # The scheduler answers in order: when this is back, it has cleaned up, before others' turn.
        self.executor.ncores()
        return len(numbers) / seconds

    def trip(self, number: int) -> float:
        start = time.perf_counter()
        value = self.executor.submit(inc, number).result()
        seconds = time.perf_counter() - start
        check([value], [number])
        return seconds


class ProcessPool:
    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self.pool = pool

    def rate(self, numbers: range) -> float:
        start = time.perf_counter()
        values = list(self.pool.map(inc, numbers))
        seconds = time.perf_counter() - start
        check(values, numbers)
        return len(numbers) / seconds

    def trip(self, number: int) -> float:
        start = time.perf_counter()
        value = self.pool.submit(inc, number).result()
        seconds = time.perf_counter() - start
        check([value], [number])
        return seconds


def check(values: list[int], numbers: range | list[int]) -> None:
    """A fast wrong answer is worth nothing."""
    if values != [number + 1 for number in numbers]:
        raise RuntimeError(f"inc of {numbers} came out wrong: {values!r:.200}")


# Measuring -------------------------------------------------------------------------------------


@dataclass
class Figures:
    """What was measured of one system: tasks per second a round, and seconds a round trip."""

    rates: list[float] = field(default_factory=list)
    trips: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def trip(self) -> float:
        return statistics.median(self.trips)

    @property
    def slow_trip(self) -> float:
        """The 99th percentile."""
        return sorted(self.trips)[len(self.trips) * 99 // 100]


class Numbers:
    """Numbers not used before: of a call that is made twice the result might be known already."""

    def __init__(self) -> None:
        self.used = 0

    def take(self, n: int) -> range:
        start, self.used = self.used, self.used + n
        return range(start, self.used)


def measure(systems: dict[str, System], tasks: int, rounds: int) -> dict[str, Figures]:
    """The figures of each system, taken in turn."""
    numbers = Numbers()
    figures = {name: Figures() for name in systems}
    for system in systems.values():
        system.rate(numbers.take(WARM_UP))
    for _ in range(rounds):
        for name, system in systems.items():
            figures[name].rates.append(system.rate(numbers.take(tasks)))
        for name, system in systems.items():
            trips = numbers.take(max(1, tasks // TASKS_PER_TRIP))
            figures[name].trips += [system.trip(number) for number in trips]
    return figures


def measure_speed(tasks: int, rounds: int) -> dict[str, Figures]:
    with ExitStack() as stack:
        # Fresh processes, as those of the others are.
        pool = stack.enter_context(ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")))
        floor = stack.enter_context(Floor())
        cluster = stack.enter_context(LocalCluster(WORKERS, 1))
        executor = stack.enter_context(Executor(cluster))
        executor.wait_for_workers(WORKERS)
        systems: dict[str, System] = {
            "floor": FloorSystem(floor),
            "distributed": Distributed(executor),
            "process pool": ProcessPool(pool),
        }
        return measure(systems, tasks, rounds)


def bytes_per_task(held: int) -> float | None:
    """How much a new scheduler's memory grows, at its peak, for each of so many tasks held at once.

    None where the system does not tell a process's peak.
    """
    with LocalCluster(WORKERS, 1) as cluster, Executor(cluster) as executor:
        executor.wait_for_workers(WORKERS)
        executor.submit(inc, -1).result()
        before = memory(cluster.scheduler_pid, "VmRSS")
        futures = executor.map(inc, range(held))
        wait(futures)
        after = memory(cluster.scheduler_pid, "VmHWM")
    return None if before is None or after is None else (after - before) / held


def memory(pid: int, name: str) -> int | None:
    """A process's memory in bytes: VmRSS is what it has, VmHWM the most that it ever had."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return None
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields[name].split()[0]) * 1024


# Printing --------------------------------------------------------------------------------------


def machine() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("pyzmq", "msgpack", "cloudpickle"))
    return (
        f"{cpu_model()}, {os.cpu_count()} cores, {platform.system()}; "
        f"Python {platform.python_version()}, {packages}, libzmq {zmq.zmq_version()}; "
        f"{datetime.date.today()}"
    )


def cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def table(figures: dict[str, Figures], memory_per_task: float | None) -> list[list[str]]:
    """The rows of the table. The ratio is that of distributed to the floor."""
    systems = list(figures.values())
    floor, ours = figures["floor"], figures["distributed"]
    rate, trips = ours.rate / floor.rate, ours.trip / floor.trip
    held = "-" if memory_per_task is None else f"{memory_per_task:,.0f}"
    return [
        ["", *figures, "ratio to floor", "target", "met"],
        [
            "tasks per second",
            *(f"{system.rate:,.0f}" for system in systems),
            f"{rate:.2f}",
            "at least 1/3",
            verdict(rate >= LEAST_RATE),
        ],
        [
            "round trip, median, µs",
            *(f"{system.trip * 1e6:,.0f}" for system in systems),
            f"{trips:.1f}",
            f"at most {MOST_ROUND_TRIPS}",
            verdict(trips <= MOST_ROUND_TRIPS),
        ],
        [
            "round trip, 99 of 100, µs",
            *(f"{system.slow_trip * 1e6:,.0f}" for system in systems),
            f"{ours.slow_trip / floor.slow_trip:.1f}",
            "-",
            "-",
        ],
        [
            "scheduler's bytes per task",
            *("-", held, "-", "-"),
            f"at most {MOST_BYTES_PER_TASK:,}",
            "-" if memory_per_task is None else verdict(memory_per_task <= MOST_BYTES_PER_TASK),
        ],
    ]


def verdict(met: bool) -> str:
    return "yes" if met else "NO"


def aligned(rows: list[list[str]]) -> str:
    """Text in columns: the first to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed and memory, beside the floor.")
    parser.add_argument("--tasks", type=positive, default=TASKS, help="in a round (%(default)s)")
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help="(%(default)s)")
    args = parser.parse_args()
    start = time.perf_counter()
    held = args.tasks * HELD_PER_TASK
    figures = measure_speed(args.tasks, args.rounds)
    rows = table(figures, bytes_per_task(held))
    print(machine())
    print(
        f"{WORKERS} workers with 1 thread each; medians of {args.rounds} rounds of {args.tasks:,} "
        f"tasks; memory with {held:,} tasks held\n"
    )
    print(aligned(rows))
    print(f"\ntook {time.perf_counter() - start:.0f} s")


def positive(text: str) -> int:
    """As a type of argparse's."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


if __name__ == "__main__":
    main()
