"""Results as a picture: a line for each figure, a dot on it for each system."""

from __future__ import annotations

from pathlib import Path

from benchmarks.results import Results
from benchmarks.systems import SYSTEMS
from benchmarks.workloads import WORKLOADS

# What the two halves show, and what to multiply a figure with.
RATES = {"tasks/s": 1.0}
TIMES = {"µs": 1.0, "ms": 1e3}
MARKERS = dict(zip(SYSTEMS, "oX^sDvP", strict=True))
Line = tuple[str, dict[str, float]]  # its title, and the value of each system


def lines(results: Results, units: dict[str, float]) -> list[Line]:
    """Those for which there is somebody to compare with."""
    found = []
    for workload, what in WORKLOADS.items():
        for figure, row in what.rows.items():
            values = {system: results.figure(system, workload, figure) for system in results.cells}
            there = {s: v * units[row.unit] for s, v in values.items() if v and row.unit in units}
            if len(there) > 1:
                size = max(results.cell(system, workload).size for system in there)
                # "The same" is that of the row above, which need not be in this picture.
                title = row.title.replace("the same", workload)
                found.append((title.format(size=f"{size:,}"), there))
    return found


def draw(results: Results, path: Path) -> None:
    import matplotlib  # here: to measure, nobody needs it

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # So that equal figures make equal files.
    with pyplot.rc_context({"svg.hashsalt": "figures", "font.size": 9}):
        halves = [(lines(results, RATES), "tasks a second"), (lines(results, TIMES), "µs")]
        heights = [max(1, len(found)) for found, _ in halves]
        size = (9, 2 + 0.3 * sum(heights))
        figure, axes = pyplot.subplots(2, 1, figsize=size, height_ratios=heights)
        for axis, (found, unit) in zip(axes, halves, strict=True):
            _half(axis, found, unit)
        axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)


def _half(axis, found: list[Line], unit: str) -> None:  # type: ignore[no-untyped-def]
    places = range(len(found), 0, -1)  # the first line on top
    for number, (system, entry) in enumerate(SYSTEMS.items()):
        dots = [(v[system], y) for (_, v), y in zip(found, places, strict=True) if system in v]
        if dots:
            x, y = zip(*dots, strict=True)
            axis.scatter(x, y, marker=MARKERS[system], color=f"C{number}", label=entry.title)
    axis.set_yticks(list(places), [title for title, _ in found])
    axis.set_ylim(0.5, max(1, len(found)) + 0.5)
    axis.set_xscale("log")
    axis.set_xlabel(unit)
    axis.grid(axis="both", linewidth=0.3)
