"""What has been measured, and where; kept as JSON between measuring and reporting."""

from __future__ import annotations

import datetime
import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any


@dataclass
class Cell:
    """A workload on a system: its size, the figures of each time that it was measured, the seconds that
    took in all, and why there are none."""

    size: int = 0
    measured: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    cannot: str = ""


@dataclass
class Results:
    command: str
    rounds: int
    date: str
    machine: str
    names: dict[str, str]
    cells: dict[str, dict[str, Cell]]  # of a system, by workload

    @classmethod
    def new(cls, command: str, rounds: int) -> Results:
        return cls(command, rounds, str(datetime.date.today()), machine(), {}, {})

    def cell(self, system: str, workload: str) -> Cell:
        return self.cells.get(system, {}).get(workload, Cell())

    def add(
        self, system: str, workload: str, size: int, answer: dict[str, Any], seconds: float
    ) -> None:
        cell = self.cells.setdefault(system, {}).setdefault(workload, Cell())
        cell.size = size
        cell.seconds += seconds
        if "figures" in answer:
            cell.measured.append(answer["figures"])
        else:
            cell.cannot = answer["cannot"]

    def figure(self, system: str, workload: str, figure: str) -> float | None:
        """The median of all that was measured. None if it could not be, once."""
        cell = self.cell(system, workload)
        values = [found[figure] for found in cell.measured if figure in found]
        return median(values) if values and not cell.cannot else None

    def factor(self, workload: str, figure: str, other: str, more_is_better: bool) -> float | None:
        """How many times better we are than the other system."""
        own, others = self.figure("ours", workload, figure), self.figure(other, workload, figure)
        if not own or not others:
            return None
        return own / others if more_is_better else others / own

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> Results:
        saved = json.loads(path.read_text())
        for cells in saved["cells"].values():
            for name, cell in cells.items():
                cells[name] = Cell(**cell)
        return cls(**saved)


def machine() -> str:
    return f"{processor()} with {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
