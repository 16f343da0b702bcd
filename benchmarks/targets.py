"""What our speed must reach, as ratios of figures of one run."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.results import Results
from benchmarks.systems import SYSTEMS
from benchmarks.workloads import WORKLOADS


class Verdict(NamedTuple):
    """A target, what was asked, what came out."""

    title: str
    asked: str
    measured: str
    met: bool


# (workload, figure, whom we are compared with, by which factor we are to be better at least).
# A third: at most three times as long.
FACTORS = [
    ("map", "rate", "dask", 100),
    ("map", "rate", "process_pool", 5),
    ("map", "rate", "floor", 0.45),
    ("submit", "rate", "dask", 100),
    ("submit", "rate", "process_pool", 3),
    ("latency", "p50", "dask", 20),
    ("latency", "p50", "process_pool", 1),
    ("latency", "p50", "floor", 1 / 3),
    ("chain", "hop", "dask", 20),
    ("tree", "rate", "dask", 50),
    ("merge-10k", "rate", "dask", 50),
    ("merge-25k", "rate", "dask", 50),
    ("merge-100k", "rate", "dask", 50),
    ("metg-sleep", "length", "dask", 20),
    ("metg-busy", "length", "dask", 20),
]

# Of two of our own figures, (workload, figure), the first is to be at most so many times the second.
GROWTHS = [
    ("time a task, {size} held, against {less}", "held-1m", "held-10k", "each", 1.2),
    ("scheduler's time a task, 64 zero-workers against 2", "zero-64", "zero-2", "scheduler", 1.15),
]

# Of our own: (title, workload, figure, at most so many bytes).
SIZES = [
    ("scheduler's memory a task, {size} held", "held-1m", "scheduler", 1024),
    ("client's memory a future, {size} held", "held-1m", "client", 1024),
]


def verdicts(results: Results) -> list[Verdict]:
    """Of those targets for which the figures are there."""
    found = []
    for workload, figure, other, factor in FACTORS:
        what = WORKLOADS[workload]
        row = what.rows[figure]
        measured = results.factor(workload, figure, other, row.more_is_better)
        if measured is not None:
            size = results.cell("ours", workload).size
            title = f"{row.title.format(size=f'{size:,}')}, against {SYSTEMS[other].title}"
            asked = f"≥ {factor:.3g} x"
            found.append(Verdict(title, asked, f"{measured:.3g} x", measured >= factor))
    for title, many, few, figure, bound in GROWTHS:
        more, less = (results.figure("ours", name, figure) for name in (many, few))
        if more is not None and less:
            growth = more / less
            size, smaller = (results.cell("ours", name).size for name in (many, few))
            title = title.format(size=f"{size:,}", less=f"{smaller:,}")
            found.append(Verdict(title, f"≤ {bound:g} x", f"{growth:.3g} x", growth <= bound))
    for title, workload, figure, most in SIZES:
        value = results.figure("ours", workload, figure)
        if value is not None:
            title = title.format(size=f"{results.cell('ours', workload).size:,}")
            found.append(Verdict(title, f"≤ {most:,} B", f"{value:,.0f} B", value <= most))
    return found
