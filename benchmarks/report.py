"""Results to tables, and to docs/performance.md between its markers.

python -m benchmarks.report FILE      # which `python -m benchmarks.run --save FILE` has written
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import plot, targets
from benchmarks.results import Results
from benchmarks.systems import SYSTEMS
from benchmarks.workloads import WORKLOADS, Row

PAGE = Path(__file__).parents[1] / "docs/performance.md"
BEGIN, END = "<!-- figures begin -->", "<!-- figures end -->"
DASH = "-"

Table = list[list[str]]


def figures(results: Results) -> tuple[Table, list[str]]:
    """A row for each figure, a column for each system; and why there are dashes."""
    systems = _systems(results)
    notes: dict[str, int] = {}
    table = [["", "", *(SYSTEMS[system].title for system in systems)]]
    for workload, figure, row, title in rows(results):
        cells = []
        for system in systems:
            value = results.figure(system, workload, figure)
            reason = results.cell(system, workload).cannot
            if value is not None:
                cells.append(shown(value))
            elif reason:
                cells.append(f"{DASH} [{notes.setdefault(reason, len(notes) + 1)}]")
            else:
                cells.append(DASH)
        table.append([title, row.unit, *cells])
    return table, [f"[{number}] {reason}" for reason, number in notes.items()]


def factors(results: Results) -> Table:
    """How many times better we are than each of the others."""
    others = [system for system in _systems(results) if system != "ours"]
    table = [["better by a factor of", *(SYSTEMS[system].title for system in others)]]
    for workload, figure, row, title in rows(results):
        found = [results.factor(workload, figure, o, row.more_is_better) for o in others]
        if any(found):
            cells = [DASH if factor is None else f"{factor:.3g}" for factor in found]
            table.append([title, *cells])
    return table


def verdicts(results: Results) -> Table:
    table = [["target", "asked", "measured", ""]]
    for title, asked, measured, met in targets.verdicts(results):
        table.append([title, asked, measured, "met" if met else "MISSED"])
    return table


def _systems(results: Results) -> list[str]:
    return [system for system in SYSTEMS if system in results.cells]


def rows(results: Results) -> Iterator[tuple[str, str, Row, str]]:
    """(workload, figure, row, title) of all that has been tried."""
    for workload, what in WORKLOADS.items():
        cells = [cells[workload] for cells in results.cells.values() if workload in cells]
        size = max((cell.size for cell in cells), default=0)
        if size:
            for figure, row in what.rows.items():
                yield workload, figure, row, row.title.format(size=f"{size:,}")


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def head(results: Results) -> list[str]:
    """Where, when, with what."""
    return [
        f"{results.date}, {results.machine}. "
        f"Medians of {results.rounds} rounds, fewer where a system is slow, and of several measurements in "
        "each where it is quick.",
        *(results.names[system] for system in _systems(results) if system in results.names),
    ]


def text(results: Results) -> str:
    """For a terminal."""
    table, notes = figures(results)
    parts = [head(results), aligned(table), notes]
    for other in (factors(results), verdicts(results)):
        if len(other) > 1 and len(other[0]) > 1:
            parts.append(aligned(other))
    return "\n\n".join("\n".join(part) for part in parts if part)


def aligned(table: Table) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [_line(row, widths, str.rjust).rstrip() for row in table]


def _line(row: list[str], widths: list[int], align: Callable[[str, int], str]) -> str:
    cells = [row[0].ljust(widths[0])]
    cells += [align(cell, width) for cell, width in zip(row[1:], widths[1:], strict=True)]
    return "  ".join(cells)


def markdown(results: Results, picture: str) -> str:
    date, *names = head(results)
    table, notes = figures(results)
    parts = [
        f"{date}",
        f"    {results.command}",
        "\n".join(f"- {name}" for name in names),
        f"![The figures as a plot]({picture})",
        _markdown_table(table),
        "\n".join(f"- {note}" for note in notes),
        _markdown_table(factors(results)),
        _markdown_table(verdicts(results)),
    ]
    return "\n\n".join(part for part in parts if part)


def _markdown_table(table: Table) -> str:
    first, *others = table
    lines = [first, ["---", *("---:" for _ in first[1:])], *others]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(results: Results, page: Path) -> None:
    """Replace what stands between the page's markers, and the plot beside it."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{page} has no place for the figures, {BEGIN} ... {END}: add these lines")
    picture = page.with_suffix(".svg")
    plot.draw(results, picture)
    page.write_text(f"{before}{begin}\n\n{markdown(results, picture.name)}\n\n{end}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    write(Results.load(options.file), options.page)


if __name__ == "__main__":
    main()
