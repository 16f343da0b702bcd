"""What is measured, the same for every system.

A workload is given a system, a size and a number to start at: calls with numbers from there on have not
been made before, so no system knows their results. It checks what comes out, and returns figures. What
the size counts (tasks, mostly) its rows say.

Imported by the interpreters of all peers: the standard library only.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from statistics import median, quantiles
from typing import Any, NamedTuple

from benchmarks.system import Cannot, Figures, Graph, Key, System

# What the tasks do ------------------------------------------------------------------------------

MODULUS = 1_000_003


def inc(x: int) -> int:
    return x + 1


def total(values: list[int]) -> int:
    return sum(values) % MODULUS


def nap(number: int, seconds: float) -> None:
    time.sleep(seconds)


def spin(number: int, seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def mixed_0(x: int, *, y: int, z: str) -> int:
    return x + y


# Ten functions with ten names, as a program has.
MIXED = [mixed_0]
for _number in range(1, 10):
    _source = f"def mixed_{_number}(x, *, y, z):\n    return x + y + {_number}\n"
    exec(compile(_source, __file__, "exec"), globals())
    MIXED.append(globals()[f"mixed_{_number}"])


# Calls ------------------------------------------------------------------------------------------


def _rate(tasks: int, seconds: float) -> Figures:
    return {"rate": tasks / seconds}


def _check(found: Any, expected: Any) -> None:
    if found != expected:
        raise AssertionError(f"{str(found)[:200]} came out, not {str(expected)[:200]}")


def map_(system: System, size: int, start: int) -> Figures:
    numbers = range(start, start + size)
    begin = time.perf_counter()
    futures = system.map(inc, numbers)
    values = system.gather(futures)
    seconds = time.perf_counter() - begin
    _check(values, [n + 1 for n in numbers])
    return _rate(size, seconds)


def submit(system: System, size: int, start: int) -> Figures:
    numbers = range(start, start + size)
    begin = time.perf_counter()
    futures = [system.submit(inc, n) for n in numbers]
    values = system.gather(futures)
    seconds = time.perf_counter() - begin
    _check(values, [n + 1 for n in numbers])
    return _rate(size, seconds)


def mixed(system: System, size: int, start: int) -> Figures:
    numbers = range(start, start + size)
    begin = time.perf_counter()
    futures = [system.submit(MIXED[n % 10], n, y=n % 7, z="unit") for n in numbers]
    values = system.gather(futures)
    seconds = time.perf_counter() - begin
    _check(values, [n + n % 7 + n % 10 for n in numbers])
    return _rate(size, seconds)


def latency(system: System, size: int, start: int) -> Figures:
    delays = []
    for n in range(start, start + size):
        begin = time.perf_counter()
        value = system.result(system.submit(inc, n))
        delays.append(time.perf_counter() - begin)
        _check(value, n + 1)
    return {"p50": median(delays) * 1e6, "p99": quantiles(delays, n=100)[98] * 1e6}


def chain(system: System, size: int, start: int) -> Figures:
    begin = time.perf_counter()
    future = system.submit(inc, start)
    for _ in range(size - 1):
        future = system.then(inc, future)
    value = system.result(future)
    seconds = time.perf_counter() - begin
    _check(value, start + size)
    return {"hop": seconds / size * 1e6}


def connect(system: System, size: int, start: int) -> Figures:
    delays = []
    for n in range(start, start + size):
        begin = time.perf_counter()
        value = system.visit(inc, n)
        delays.append(time.perf_counter() - begin)
        _check(value, n + 1)
    return {"first": median(delays) * 1e3}


# Graphs -----------------------------------------------------------------------------------------


def merge(size: int, start: int) -> tuple[Graph, Key]:
    """So many tasks into one sum."""
    leaves: list[Key] = [("leaf", start, i) for i in range(size)]
    graph: dict[Key, Any] = {key: (inc, start + key[2]) for key in leaves}
    graph["sum", start, 0] = (total, leaves)
    return graph, ("sum", start, 0)


def tree(size: int, start: int) -> tuple[Graph, Key]:
    """So many leaves, added up two and two."""
    level: list[Key] = [("level-0", start, i) for i in range(size)]
    graph: dict[Key, Any] = {key: (inc, start + key[2]) for key in level}
    height = 0
    while len(level) > 1:
        height += 1
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [(f"level-{height}", start, i) for i in range(len(pairs))]
        graph.update((key, (total, pair)) for key, pair in zip(level, pairs, strict=True))
    return graph, level[0]


def layers(size: int, start: int) -> tuple[Graph, Key]:
    """20 layers of `size` tasks, each on 50 of the layer before."""

    def inputs(i: int) -> list[int]:
        return sorted({(7 * i + 11 * j) % size for j in range(50)})

    return _layered(20, size, start, inputs)


def stencil(size: int, start: int) -> tuple[Graph, Key]:
    """`size` layers of 100 tasks, each on itself and its two neighbours in the layer before."""
    return _layered(size, 100, start, lambda i: [(i - 1) % 100, i, (i + 1) % 100])


def _layered(
    depth: int, width: int, start: int, inputs: Callable[[int], list[int]]
) -> tuple[Graph, Key]:
    names = [[(f"layer-{d}", start, i) for i in range(width)] for d in range(depth)]
    graph: dict[Key, Any] = {key: (inc, start + key[2]) for key in names[0]}
    for before, layer in pairwise(names):
        graph.update((layer[i], (total, [before[j] for j in inputs(i)])) for i in range(width))
    graph["sum", start, 0] = (total, names[-1])
    return graph, ("sum", start, 0)


def graph_of(
    make: Callable[[int, int], tuple[Graph, Key]], system: System, size: int, start: int
) -> Figures:
    graph, key = make(size, start)
    begin = time.perf_counter()
    value = system.get(graph, key)
    seconds = time.perf_counter() - begin
    _check(value, evaluate(graph, key))
    return _rate(len(graph), seconds)


def evaluate(graph: Graph, key: Key) -> Any:
    """The value of the key. In our graphs, what a task needs stands before it."""
    values: dict[Key, Any] = {}
    for name, (func, argument) in graph.items():
        inputs = isinstance(argument, list)
        values[name] = func([values[k] for k in argument] if inputs else argument)
    return values[key]


# The shortest task for which the workers are half busy --------------------------------------------

WORKERS = 2
FIRST_SECONDS = 0.004  # the first tasks tried
LAST_SECONDS = 1.0  # whom tasks of this length do not keep busy, nothing will
WORK_SECONDS = 0.5  # all the work of one try, unless that is more tasks than `size`
LEAST_TASKS = 20


def metg(task: Callable[[int, float], None], system: System, size: int, start: int) -> Figures:
    """Halve the length of tasks until the workers are busy for less than half of the time."""
    used = start

    def busy(seconds: float) -> tuple[float, float]:
        """How long such a task really takes, and for which part of the time the workers were at one."""
        nonlocal used
        length = _length(task, seconds)
        tasks = max(LEAST_TASKS, min(size, int(WORK_SECONDS / length)))
        begin = time.perf_counter()
        system.gather(system.map(task, range(used, used + tasks), [seconds] * tasks))
        took = time.perf_counter() - begin
        used += tasks
        return length, tasks * length / (WORKERS * took)

    seconds = FIRST_SECONDS
    above = busy(seconds)
    while above[1] < 0.5 and seconds < LAST_SECONDS:
        seconds *= 2
        above = busy(seconds)
    if above[1] < 0.5:
        raise Cannot(f"its workers are not half busy even with tasks of {LAST_SECONDS:g} s")
    while True:
        seconds /= 2
        below = busy(seconds)
        if below[1] < 0.5:
            return {"length": _half(above, below) * 1e6}
        if below[0] > 0.9 * above[0]:
            # As short as this machine can take, and still they are half busy: what is asked for is less.
            return {"length": below[0] * 1e6}
        above = below


def _length(task: Callable[[int, float], None], seconds: float) -> float:
    """What the task takes by itself: a sleep is longer than asked for."""
    delays = []
    for n in range(20):
        begin = time.perf_counter()
        task(n, seconds)
        delays.append(time.perf_counter() - begin)
    return median(delays)


def _half(above: tuple[float, float], below: tuple[float, float]) -> float:
    """Where a line, on logarithmic axes, between the two is at one half."""
    (x1, y1), (x2, y2) = ((math.log(x), math.log(y)) for x, y in (above, below))
    return math.exp(x2 + (math.log(0.5) - y2) * (x1 - x2) / (y1 - y2))


# Many at once -------------------------------------------------------------------------------------


def held(system: System, size: int, start: int) -> Figures:
    gc.collect()
    before = system.memory()
    begin = time.perf_counter()
    futures = system.map(inc, range(start, start + size))
    system.wait(futures)
    seconds = time.perf_counter() - begin
    after = system.memory()
    _check(system.result(futures[-1]), start + size)
    grown = {role: (after[role] - before[role]) / size for role in before}
    return {"seconds": seconds, "each": seconds / size * 1e6, **grown}


# All of them --------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A figure of a workload; its title may have {size} in it."""

    title: str
    unit: str

    @property
    def more_is_better(self) -> bool:
        return self.unit.endswith("/s")


class Workload(NamedTuple):
    """`group`: what one process measures, one after the other; `repeats`: if quick, several times."""

    group: str
    size: int
    rows: dict[str, Row]
    run: Callable[[System, int, int], Figures] | None = None  # None: only in a system's own way
    repeats: bool = True


def _graph(make: Callable[[int, int], tuple[Graph, Key]], size: int, title: str) -> Workload:
    return Workload("graphs", size, {"rate": Row(title, "tasks/s")}, partial(graph_of, make))


def _held(size: int) -> Workload:
    rows = {
        "seconds": Row("{size} tasks held at once", "s"),
        "each": Row("the same, for each task", "µs"),
        "scheduler": Row("the same, memory of the scheduler for each task", "bytes"),
        "client": Row("the same, memory of the client for each task", "bytes"),
    }
    # Memory is measured in new processes.
    return Workload(f"held {size}", size, rows, held, repeats=False)


def _metg(task: Callable[[int, float], None], title: str) -> Workload:
    rows = {"length": Row(f"shortest tasks that keep two workers half busy, {title}", "µs")}
    return Workload("metg", 10_000, rows, partial(metg, task))


def _zero(workers: int) -> Workload:
    rows = {
        "scheduler": Row(f"{{size}} tasks on {workers} zero-workers, scheduler's time each", "µs"),
        "rate": Row("the same, from map to the last result", "tasks/s"),
    }
    return Workload("zero", 50_000, rows)


WORKLOADS = {
    "map": Workload("calls", 10_000, {"rate": Row("map of {size}, gather", "tasks/s")}, map_),
    "submit": Workload(
        "calls", 5_000, {"rate": Row("loop of {size} submits, gather", "tasks/s")}, submit
    ),
    "mixed": Workload(
        "calls", 5_000, {"rate": Row("the same, ten functions, with keywords", "tasks/s")}, mixed
    ),
    "latency": Workload(
        "calls",
        1_000,
        {
            "p50": Row("submit to result, one at a time, median", "µs"),
            "p99": Row("the same, 99th percentile of {size}", "µs"),
        },
        latency,
    ),
    "chain": Workload(
        "calls", 1_000, {"hop": Row("chain of {size} submits on futures, each", "µs")}, chain
    ),
    "connect": Workload(
        "calls", 5, {"first": Row("from Executor(address) to the first result", "ms")}, connect
    ),
    "merge-10k": _graph(merge, 10_000, "get: {size} tasks and their sum"),
    "merge-25k": _graph(merge, 25_000, "get: {size} tasks and their sum"),
    "merge-100k": _graph(merge, 100_000, "get: {size} tasks and their sum"),
    "tree": _graph(tree, 1 << 15, "get: tree of {size} leaves"),
    "layers": _graph(layers, 500, "get: 20 layers of {size}, each task on 50"),
    "stencil": _graph(stencil, 100, "get: {size} layers of 100, each task on 3"),
    "metg-sleep": _metg(nap, "asleep"),
    "metg-busy": _metg(spin, "computing"),
    "held-10k": _held(10_000),
    "held-100k": _held(100_000),
    "held-1m": _held(1_000_000),
    "zero-2": _zero(2),
    "zero-16": _zero(16),
    "zero-64": _zero(64),
    "core-tree": Workload(
        "cores", 1 << 15, {"rate": Row("SchedulerCore alone, tree of {size} leaves", "events/s")}
    ),
    "core-merge": Workload(
        "cores",
        25_000,
        {"rate": Row("SchedulerCore alone, {size} tasks and their sum", "events/s")},
    ),
}
