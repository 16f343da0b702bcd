"""The benchmarks run, and what they print follows from what they have measured."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import floor, plot, report, run, targets
from benchmarks import workloads as work
from benchmarks.process import Process, Trouble
from benchmarks.results import Cell, Results
from benchmarks.system import Cannot, Graph, Key, System

ROOT = Path(__file__).parents[1]


# The floor


def test_the_floor_runs_every_task_of_several_rounds() -> None:
    # More than two batches and not a multiple of one; fewer than there are workers; exactly one.
    sizes = (floor.BATCH * 2 + 7, 1, floor.BATCH)
    with floor.pipeline() as tasks_per_second:
        rates = [tasks_per_second(size) for size in sizes]
    assert len(rates) == 3
    assert all(rate > 0 for rate in rates)


def test_a_floor_round_trip_is_shorter_than_running_a_task() -> None:
    trip = floor.round_trip(200)
    with floor.pipeline() as tasks_per_second:
        task = statistics.median(1 / tasks_per_second(1) for _ in range(200))
    assert 0 < trip < task


def test_the_floor_ends_its_processes_when_its_user_fails() -> None:
    before = set(floor.multiprocessing.active_children())
    with pytest.raises(ZeroDivisionError), floor.pipeline():
        assert len(set(floor.multiprocessing.active_children()) - before) == 3
        raise ZeroDivisionError
    assert set(floor.multiprocessing.active_children()) == before


# The runner, with small sizes


def measured(tmp_path: Path, systems: str, workloads: list[str], scale: str) -> Results:
    file = tmp_path / "results.json"
    arguments = ["--systems", systems, "--workloads", ",".join(workloads), "--rounds", "1"]
    printed = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", *arguments, "--scale", scale, "--save", str(file)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert printed.returncode == 0, printed.stderr
    results = Results.load(file)
    assert printed.stdout.strip() == report.text(results).strip()
    return results


@pytest.mark.parametrize("group", ["calls", "graphs", "metg", "held 10000", "zero", "cores"])
def test_we_have_a_figure_for_every_row(group: str, tmp_path: Path) -> None:
    names = [name for name, what in work.WORKLOADS.items() if what.group == group]
    names = ["zero-64"] if group == "zero" else names  # each of which starts clusters of its own
    results = measured(tmp_path, "ours", names, "0.002")
    found = {(n, f): results.figure("ours", n, f) for n in names for f in work.WORKLOADS[n].rows}
    assert found
    assert {place: value for place, value in found.items() if value is None} == {}
    # A small process may have room for what is held.
    assert all(value > 0 for (_, f), value in found.items() if value and f not in MEMORY)


MEMORY = ("scheduler", "client")


def test_systems_have_what_they_can_do_and_reasons_for_the_rest(tmp_path: Path) -> None:
    names = ["map", "latency", "chain", "merge-10k", "core-tree"]
    results = measured(tmp_path, "floor,process_pool", names, "0.003")
    assert set(results.cells["floor"]) == {"map", "latency"}
    assert results.figure("floor", "latency", "p50")
    assert results.figure("process_pool", "map", "rate")
    assert results.cell("process_pool", "chain").cannot == "takes no futures as arguments"
    assert results.cell("process_pool", "merge-10k").cannot == "has no graphs of tasks"
    assert "core-tree" not in results.cells["process_pool"]


def test_what_is_not_installed_has_dashes_that_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "ROOT", tmp_path)
    with pytest.raises(Trouble, match=r"make \.venv-peer-ray/installed"):
        run._python("ray")


def test_no_peer_can_import_from_the_checkout() -> None:
    assert run._environment("dask", "/there")["PYTHONPATH"] == "/there"


# A process with a system in it

# It starts another in a session of its own, tells its number, and does not end when it is asked to.
STUBBORN = """
import json, subprocess, sys
wait = "import signal; signal.sigwait([signal.SIGUSR1])"
child = subprocess.Popen([sys.executable, "-c", wait], start_new_session=True)
print(json.dumps({"child": child.pid}), flush=True)
exec(wait)
"""


def test_what_takes_too_long_is_ended_with_all_that_it_has_started(tmp_path: Path) -> None:
    process = Process([sys.executable, "-c", STUBBORN], dict(os.environ), str(tmp_path))
    answer, _ = process.answer(30)
    child = psutil.Process(answer["child"])
    with pytest.raises(Trouble, match=r"not within 0\.1 s"):
        process.ask("anything", 0.1)
    assert child.is_running()
    process.kill()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()


def test_a_process_that_has_ended_leaves_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no room')"]
    process = Process(command, dict(os.environ), str(tmp_path))
    with pytest.raises(Trouble, match="has ended: no room"):
        process.ask("anything", 30)
    process.close()


# Workloads


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Here(System):
    """Calls at once, in this process; each costs so much on the clock beside what it takes."""

    def __init__(self, clock: Clock | None = None, overhead: float = 0.0) -> None:
        self.clock = clock or Clock()
        self.overhead = overhead
        self.graph: Graph = {}

    def submit(self, func, *args, **kwargs):  # type: ignore[no-untyped-def]
        return func(*args, **kwargs)

    def map(self, func, *iterables):  # type: ignore[no-untyped-def]
        values = [func(*args) for args in zip(*iterables, strict=False)]
        self.clock.now += self.overhead * len(values)
        return values

    def gather(self, futures):  # type: ignore[no-untyped-def]
        return futures

    def get(self, graph: Graph, key: Key) -> int:
        self.graph = graph
        return work.evaluate(graph, key)


@pytest.mark.parametrize(
    ("name", "size", "leaves", "inputs"),
    [
        ("merge-10k", 10, 10, [10]),
        ("tree", 8, 8, [2] * 7),
        ("layers", 60, 60, [50] * 19 * 60 + [60]),
        ("stencil", 5, 100, [3] * 4 * 100 + [100]),
    ],
)
def test_graphs_have_the_shape_that_their_name_says(
    name: str, size: int, leaves: int, inputs: list[int]
) -> None:
    here = Here()
    run = work.WORKLOADS[name].run
    assert run is not None
    assert run(here, size, 1000)["rate"] > 0
    found = [len(set(a)) for _, a in here.graph.values() if isinstance(a, list)]
    assert found == inputs
    assert len(here.graph) == leaves + len(inputs)


def test_a_wrong_value_is_no_figure() -> None:
    class Wrong(Here):
        def gather(self, futures):  # type: ignore[no-untyped-def]
            return [0 for _ in futures]

    with pytest.raises(AssertionError, match="came out"):
        work.map_(Wrong(), 10, 5)


def test_tasks_as_long_as_what_comes_between_keep_one_worker_half_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(work, "time", clock)
    monkeypatch.setattr(work, "WORKERS", 1)
    # The first tasks tried are longer; and shorter.
    for overhead in (0.000_7, 0.03):
        found = work.metg(work.nap, Here(clock, overhead), 100, 0)["length"]
        assert found == pytest.approx(overhead * 1e6, rel=0.05)


def test_where_the_shortest_sleep_keeps_workers_busy_it_is_the_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(Clock):
        def sleep(self, seconds: float) -> None:
            self.now += max(seconds, 60e-6)

    clock = Slow()
    monkeypatch.setattr(work, "time", clock)
    monkeypatch.setattr(work, "WORKERS", 1)
    assert work.metg(work.nap, Here(clock, 10e-6), 100, 0)["length"] == pytest.approx(60)


def test_what_never_keeps_workers_busy_has_no_shortest_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(work, "time", clock)
    with pytest.raises(Cannot, match="not half busy"):
        work.metg(work.nap, Here(clock, overhead=5.0), 20, 0)


def test_the_half_lies_on_a_line_between_its_neighbours() -> None:
    assert work._half((4.0, 0.8), (2.0, 0.5)) == pytest.approx(2.0)
    assert work._half((4.0, 1.0), (1.0, 0.25)) == pytest.approx(2.0)


# Reports


def cell(*values: float, figure: str = "rate", size: int = 100) -> Cell:
    return Cell(size, [{figure: value} for value in values], 1.0)


def some_results() -> Results:
    cells = {
        "ours": {
            "map": cell(40_000.0, 60_000.0, 50_000.0),
            "latency": cell(400.0, figure="p50"),
            "held-10k": cell(20.0, figure="each", size=10_000),
            "held-1m": cell(25.0, figure="each", size=1_000_000),
        },
        "floor": {"map": cell(100_000.0), "latency": cell(100.0, figure="p50")},
        "dask": {"map": cell(1_000.0), "latency": Cell(100, [], 5.0, "not within 5 s")},
    }
    return Results("the command", 3, "2026-01-02", "a machine", {"ours": "distributed 1"}, cells)


def test_a_table_has_medians_and_dashes_with_reasons() -> None:
    table, notes = report.figures(some_results())
    assert table[0] == ["", "", "distributed", "floor", "dask.distributed"]
    assert table[1] == ["map of 100, gather", "tasks/s", "50,000", "100,000", "1,000"]
    assert table[2][2:] == ["400", "100", "- [1]"]
    assert notes == ["[1] not within 5 s"]


def test_factors_are_above_one_where_we_are_better() -> None:
    table = report.factors(some_results())
    assert table[0][1:] == ["floor", "dask.distributed"]
    assert table[1][1:] == ["0.5", "50"]  # more of it is better
    assert table[2][1:] == ["0.25", "-"]  # less of it is better


def test_verdicts_follow_from_the_figures() -> None:
    found = {v.title: (v.asked, v.measured, v.met) for v in targets.verdicts(some_results())}
    assert found == {
        "map of 100, gather, against dask.distributed": ("≥ 100 x", "50 x", False),
        "map of 100, gather, against floor": ("≥ 0.45 x", "0.5 x", True),
        "submit to result, one at a time, median, against floor": ("≥ 0.333 x", "0.25 x", False),
        "time a task, 1,000,000 held, against 10,000": ("≤ 1.2 x", "1.25 x", False),
    }


def test_every_target_is_about_something_that_is_measured() -> None:
    places = [(w, f) for w, f, _, _ in targets.FACTORS]
    places += [(w, f) for _, w, f, _ in targets.SIZES]
    for _, many, few, f, _ in targets.GROWTHS:
        places += [(many, f), (few, f)]
    assert [(w, f) for w, f in places if f not in work.WORKLOADS[w].rows] == []


def test_what_is_saved_can_be_loaded(tmp_path: Path) -> None:
    results = some_results()
    results.save(tmp_path / "new" / "file.json")
    assert Results.load(tmp_path / "new" / "file.json") == results
    assert json.loads((tmp_path / "new" / "file.json").read_text())["date"] == "2026-01-02"


def test_the_page_has_figures_between_its_markers_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Before.\n\n{report.BEGIN}\n\nold\n\n{report.END}\n\nAfter.\n")
    report.write(some_results(), page)
    first = page.read_text()
    assert first.startswith(f"Before.\n\n{report.BEGIN}\n")
    assert first.endswith(f"{report.END}\n\nAfter.\n")
    assert "old" not in first
    assert "| map of 100, gather | tasks/s | 50,000 | 100,000 | 1,000 |" in first
    assert "2026-01-02, a machine" in first and "the command" in first
    picture = page.with_suffix(".svg").read_text()
    assert "<svg" in picture
    report.write(some_results(), page)
    assert page.read_text() == first
    assert page.with_suffix(".svg").read_text() == picture


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Nothing here.\n")
    with pytest.raises(SystemExit, match="no place for the figures"):
        report.write(some_results(), page)
    assert page.read_text() == "Nothing here.\n"


def test_our_page_has_a_place_for_the_figures() -> None:
    text = report.PAGE.read_text()
    assert text.count(report.BEGIN) == text.count(report.END) == 1
    assert text.index(report.BEGIN) < text.index(report.END)


def test_the_plot_has_what_can_be_compared() -> None:
    rates = plot.lines(some_results(), plot.RATES)
    assert rates == [
        ("map of 100, gather", {"ours": 50_000.0, "floor": 100_000.0, "dask": 1_000.0})
    ]
    ((_, times),) = plot.lines(some_results(), plot.TIMES)
    assert times == {"ours": 400.0, "floor": 100.0}
