"""Where our processor time goes: what each process spends on a task.

    python -m benchmarks.costs [--workloads map,submit] [--rounds 5]

Medians. Where four processes share two cores this says more of a change than a rate does.
"""

from __future__ import annotations

import argparse
import os
from statistics import median

from benchmarks.peers.ours import Ours
from benchmarks.report import aligned, shown
from benchmarks.system import processor_time
from benchmarks.workloads import WORKLOADS

USUAL = "map,submit,mixed,latency,chain,merge-10k,tree"
ROLES = ("session", "scheduler", "workers")
# The part of each workload that is done first and is not counted.
WARM_UP = 0.05


def measure(system: Ours, workload: str, size: int, start: int) -> list[float]:
    """Microseconds of each role for each that `size` counts, and what the workload itself measures."""
    run = WORKLOADS[workload].run
    assert run is not None
    before = _spent(system)
    figures = run(system, size, start)
    spent = [(b - a) / size * 1e6 for a, b in zip(before, _spent(system), strict=True)]
    return [*spent, *figures.values()]


def _spent(system: Ours) -> list[float]:
    """Seconds of processor time that each role has had."""
    pids = ([os.getpid()], [system.scheduler_pid], system.worker_pids)
    return [sum(map(processor_time, found)) for found in pids]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", default=USUAL)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    table = [["µs of processor time each", *ROLES, "all", "measured", ""]]
    system = Ours()
    try:
        start = 0
        for name in options.workloads.split(","):
            workload = WORKLOADS[name]
            size = workload.size
            measure(system, name, int(size * WARM_UP), start)
            rounds = []
            for _ in range(options.rounds):
                start += size
                rounds.append(measure(system, name, size, start))
            start += size
            medians = [median(values) for values in zip(*rounds, strict=True)]
            spent, figure = medians[: len(ROLES)], medians[len(ROLES)]
            row = next(iter(workload.rows.values()))
            title = row.title.format(size=f"{size:,}")
            cells = [f"{cost:.1f}" for cost in (*spent, sum(spent))]
            table.append([title, *cells, shown(figure), row.unit])
    finally:
        system.close()
    print("\n".join(aligned(table)))


if __name__ == "__main__":
    main()
