"""All workloads on all systems, in turn: `make bench`, `make bench-peers`.

    python -m benchmarks.run [--systems ours,ray] [--workloads map,submit] [--rounds N] [--save FILE]

A *turn* is one group of workloads (`workloads.py`) on one system, in a new process with a new cluster
(`serve.py`). A round is a turn of every system for every group, so what is compared was measured within
minutes. Each workload is done first with a small part of its size, which is not counted. All this is
repeated for `--repeat` seconds: a machine's speed may change by a half within a tenth of a second, which is
all that a quick system takes, and averages out in what a slow one does. A system that has spent `--budget`
seconds with a workload does not get it again in later rounds; one that takes longer than `--limit`, or by
its first part would take twice as long, is ended and has no figure.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.process import Process, Trouble
from benchmarks.results import Results
from benchmarks.systems import SYSTEMS, is_asked_for
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).parents[1]
QUICK = "ours,floor"
# The size of what is done before a workload is measured, as a part of its size.
WARM_UP = 0.02
# One that is smaller takes its time for other reasons than its size.
LEAST_TO_JUDGE_BY = 1_000
START_SECONDS = 120.0
# A workload is measured in a turn so many times at the most.
MAX_REPEATS = 20
# Two workers are two threads' work, whatever libraries would do beside.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def main() -> None:
    options = _options()
    results = Results.new(options.command, options.rounds)
    with tempfile.TemporaryDirectory() as directory:
        # A place that has this package in it and nothing else of the checkout: dask.distributed has our
        # import name.
        Path(directory, "benchmarks").symlink_to(ROOT / "benchmarks")
        for number in range(options.rounds):
            for group in dict.fromkeys(w.group for w in WORKLOADS.values()):
                names = [name for name in options.workloads if WORKLOADS[name].group == group]
                for system in options.systems:
                    Turn(system, directory, options, results).take(names, number)
                    if options.save:
                        results.save(options.save)
    print(report.text(results))


class Turn:
    """A group of workloads on one system."""

    def __init__(
        self, system: str, directory: str, options: argparse.Namespace, results: Results
    ) -> None:
        self._system = system
        self._directory = directory
        self._options = options
        self._results = results
        self._process: Process | None = None

    def take(self, names: list[str], number: int) -> None:
        try:
            for name in names:
                if is_asked_for(self._system, name) and not self._has_had(
                    name, self._options.budget
                ):
                    self._measure(name, number)
            if self._process is not None:
                self._process.close()
                self._process = None
        finally:
            self._kill()

    def _has_had(self, name: str, seconds: float) -> bool:
        """Whether it has been measured for so long, in all turns, or cannot be."""
        cell = self._results.cell(self._system, name)
        return bool(cell.cannot) or cell.seconds >= seconds

    def _measure(self, name: str, number: int) -> None:
        """Once, and if it is quick, again."""
        end = self._results.cell(self._system, name).seconds + self._options.repeat
        for repeat in range(MAX_REPEATS if WORKLOADS[name].repeats else 1):
            self._measure_once(name, number, repeat)
            if self._has_had(name, end):
                break

    def _measure_once(self, name: str, number: int, repeat: int) -> None:
        size = max(2, int(WORKLOADS[name].size * self._options.scale))
        warm_up = max(2, int(size * WARM_UP))
        # Numbers that nothing before in this turn has used.
        start = (list(WORKLOADS).index(name) + 1) * 10_000_000 + repeat * (size + warm_up)
        try:
            process = self._started()
            limit = self._options.limit
            answer, seconds = process.ask(f"{name} {warm_up} {start - warm_up}", limit)
            if "figures" in answer:
                if seconds * size / warm_up > 2 * limit and warm_up >= LEAST_TO_JUDGE_BY:
                    raise Trouble(f"not within {limit:g} s: {warm_up:,} took {seconds:.0f} s")
                answer, seconds = process.ask(f"{name} {size} {start}", limit)
        except Trouble as trouble:
            self._kill()
            answer, seconds = {"cannot": str(trouble)}, self._options.limit
        if "error" in answer:
            self._kill()  # who knows what goes on in there
            _tell(answer["error"])
            answer = {"cannot": f"it failed: {answer['error'].strip().splitlines()[-1]}"}
        self._results.add(self._system, name, size, answer, seconds)
        _tell(f"{number + 1}: {self._system}: {name}: {answer.get('figures') or answer}")

    def _started(self) -> Process:
        if self._process is None:
            command = [_python(self._system), "-m", "benchmarks.serve", self._system]
            environment = _environment(self._system, self._directory)
            self._process = Process(command, environment, self._directory)
            answer, _ = self._process.answer(START_SECONDS)
            self._results.names[self._system] = answer["name"]
        return self._process

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None


def _python(system: str) -> str:
    if SYSTEMS[system].at_home:
        return sys.executable
    python = ROOT / f".venv-peer-{system}/bin/python"
    if not (python.parents[1] / "installed").exists():
        raise Trouble(f"not installed: `make .venv-peer-{system}/installed`")
    return str(python)


def _environment(system: str, directory: str) -> dict[str, str]:
    """Workers, too, find what they are to run in the directory; the checkout is only for us."""
    path = [directory, str(ROOT)] if system == "ours" else [directory]
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(path)}


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", default=QUICK, help=f"all, or of {','.join(SYSTEMS)}")
    parser.add_argument("--workloads", default="all", help="by their names, as in map,submit")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the workloads' sizes")
    parser.add_argument("--repeat", type=float, default=2.0, help="seconds")
    parser.add_argument("--budget", type=float, default=4.0, help="seconds")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds")
    parser.add_argument("--save", type=Path, help="where to keep all figures, as JSON")
    options = parser.parse_args()
    for name, known in (("systems", SYSTEMS), ("workloads", WORKLOADS)):
        given = getattr(options, name)
        given = list(known) if given == "all" else given.split(",")
        if unknown := [word for word in given if word not in known]:
            parser.error(f"--{name}: {', '.join(unknown)}: there are {', '.join(known)}")
        setattr(options, name, given)
    options.command = " ".join(["python -m benchmarks.run", *sys.argv[1:]])
    return options


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
