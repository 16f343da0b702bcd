"""Lazy calls on a cluster, futures among them, and graphs as they are written by hand."""

from __future__ import annotations

import dataclasses
import gc
import operator
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask import delayed
from dask._task_spec import Task, TaskRef
from dask.imperative import do  # type: ignore[import-not-found]

from distributed import (
    CancelledError,
    Executor,
    Future,
    LocalCluster,
    LostData,
    as_completed,
    futures_of,
    get_client,
    graphs,
    wait,
)
from tests.support import block, on_threads, wait_until


def note_run(path: str) -> int:
    """How often it has run, this time included."""
    with open(path, "a+") as runs:
        print("once more", file=runs, flush=True)
        runs.seek(0)
        return len(runs.readlines())


def inc(x: Any) -> Any:
    return x + 1


def add(x: Any, y: Any) -> Any:
    return x + y


def div(x: float, y: float) -> float:
    return x / y


def note(path: str, value: Any) -> Any:
    """One more line in the file for each run."""
    with open(path, "a") as file:
        file.write(f"{value}\n")
    return value


def pid_of(*args: Any) -> int:
    return os.getpid()


def flaky(directory: str, failures: int) -> int:
    attempts = len(os.listdir(directory))
    Path(directory, str(attempts)).touch()
    if attempts < failures:
        raise RuntimeError("not yet")
    return attempts


@dataclasses.dataclass
class Pair:
    left: Any
    right: Any


def nothing_is_left(executor: Executor) -> None:
    wait_until(lambda: executor.scheduler_info()["tasks"] == {}, what="all tasks are released")


@pytest.fixture(scope="module")
def single_thread() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=1, threads_per_worker=1) as cluster:
        yield cluster


# The tutorial


def test_dask_imperative(executor: Executor, tmp_path: Path) -> None:
    def load(name: str) -> str:
        return Path(name).read_text()

    def store(text: str) -> int:
        with open(tmp_path / "stored", "a") as file:
            return file.write(text + "\n")

    names = [tmp_path / f"{n}.txt" for n in range(4)]
    for name in names:
        name.write_text(name.stem)
    values1 = [do(load)(name) for name in names]
    values2 = [do(str.upper)(value) for value in values1]
    values3 = [do(store)(value) for value in values2]
    futures3 = executor.compute(*values3)
    assert [type(future) for future in futures3] == [Future] * 4
    assert executor.gather(futures3) == [2] * 4
    assert sorted((tmp_path / "stored").read_text().split()) == list("0123")
    keys = {future.key for future in futures3}
    wait_until(lambda: executor.who_has().keys() == keys, what="only final results persist")


def test_dask_imperative_and_futures(executor: Executor) -> None:
    futures1 = executor.map(inc, range(4))
    values2 = [do(inc)(future) for future in futures1]
    values3 = [do(add)(value, 10) for value in values2]
    futures3 = executor.compute(*values3)
    assert executor.gather(futures3) == [12, 13, 14, 15]
    assert do(sum)(futures1).compute(get=executor.get) == 10


# Futures in lazy calls


def test_futures_anywhere_in_the_arguments(executor: Executor) -> None:
    one, two = executor.map(inc, range(2))

    def collect(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    lazy = delayed(collect)(
        one,
        [one, [two, 5]],
        (one, two),
        {"a": one, "b": [two]},
        {two},
        Pair(one, (two,)),
        slice(one, two),
        delayed(inc)(two),
        named=one,
        nested={"x": {"y": two}},
    )
    expected = (
        (1, [1, [2, 5]], (1, 2), {"a": 1, "b": [2]}, {2}, Pair(1, (2,)), slice(1, 2), 3),
        {"named": 1, "nested": {"x": {"y": 2}}},
    )
    assert lazy.compute(scheduler=executor) == expected
    assert executor.compute(lazy).result() == expected
    assert executor.compute(lazy, optimize_graph=False).result() == expected
    assert executor.persist(lazy).compute() == expected


def test_a_future_hidden_in_an_object_stays_a_future(executor: Executor) -> None:
    class Box:
        def __init__(self, content: Any) -> None:
            self.content = content

    def use(box: Any) -> Any:
        assert isinstance(box.content, Future)
        return box.content.result() + 1

    future = executor.submit(inc, 10)
    assert delayed(use)(Box(future)).compute(scheduler=executor) == 12


def test_futures_become_lazy(executor: Executor) -> None:
    future = executor.submit(inc, 4)
    lazy = delayed(future)
    assert lazy.compute(scheduler=executor) == 5
    assert (lazy + 1).compute() == 6
    assert executor.compute(lazy).result() == 5
    assert executor.persist(lazy).compute() == 5
    text = executor.scatter("some text", hash=False)
    assert delayed(text).upper().split()[1].compute() == "TEXT"
    assert delayed([future, text]).compute() == [5, "some text"]


def test_lazy_values_keep_their_futures_alive(executor: Executor) -> None:
    lazy = delayed(inc)(executor.submit(inc, 20))
    future = executor.scatter([1, 2, 3], hash=False)[0]
    lists = delayed(list)([future, delayed(inc)(future)])
    del future
    executor.ncores()  # answered after whatever is released
    assert executor.compute(lazy, lists, sync=True) == [22, [1, 2]]
    result = executor.compute(delayed(block)(delayed(str)(executor.scatter("/", hash=False))))
    assert result.result() == "/"


def test_a_failed_future_fails_what_needs_it(executor: Executor) -> None:
    failed = executor.submit(div, 1, 0)
    with pytest.raises(ZeroDivisionError):
        delayed(inc)(failed).compute(scheduler=executor)
    wait(failed)
    with pytest.raises(ZeroDivisionError):
        delayed([failed, 1]).compute(scheduler=executor)


def test_a_cancelled_future_cancels_what_needs_it(executor: Executor, gate: str) -> None:
    cancelled = executor.submit(block, gate)
    lazy = delayed(inc)(cancelled)
    cancelled.cancel()
    for use in (lambda: lazy.compute(scheduler=executor), lambda: executor.submit(inc, cancelled)):
        with pytest.raises(CancelledError, match=r"block-.* was cancelled"):
            use()


def test_a_result_that_is_kept_is_not_computed_again(executor: Executor, tmp_path: Path) -> None:
    counted = delayed(note_run)(str(tmp_path / "runs"))
    kept = executor.compute(counted)
    assert kept.result() == 1
    assert executor.compute(delayed(inc)(counted)).result() == 2


def test_futures_of_another_client_of_the_scheduler(executor: Executor) -> None:
    with Executor(executor.scheduler_address) as other:
        theirs = other.submit(inc, time.time_ns())
        scattered = other.scatter(np.arange(4), hash=False)
        lazy = delayed(add)(theirs, delayed(np.sum)(scattered))
        future = executor.compute(lazy)
        value = theirs.result() + 6
        persisted = executor.persist(da.from_delayed(scattered, (4,), dtype=int))
    assert future.result() == value
    assert persisted.sum().compute() == 6


def test_futures_of_another_scheduler_are_refused(
    executor: Executor, single_thread: LocalCluster
) -> None:
    with Executor(single_thread) as other:
        theirs = other.submit(inc, 1)
        message = f"belongs to the scheduler at {other.scheduler_address}.*gather it there"
        for lazy in (delayed(inc)(theirs), delayed(theirs), delayed(sum)([theirs, {"a": theirs}])):
            with pytest.raises(ValueError, match=message):
                lazy.compute(scheduler=executor)
            with pytest.raises(ValueError, match=message):
                executor.persist(lazy)
        with pytest.raises(ValueError, match=message):
            executor.get({"x": (inc, theirs)}, "x")
        assert delayed(inc)(theirs).compute() == 3  # the youngest executor
    assert executor.submit(inc, 1).result() == 2


# Compute and persist


def test_one_or_several(executor: Executor) -> None:
    x, y = delayed(inc)(1), delayed(inc)(2)
    assert executor.compute(x).result() == 2
    assert executor.gather(executor.compute(x, y)) == [2, 3]
    assert executor.gather(executor.compute([x, y])) == [2, 3]
    assert executor.gather(executor.compute((x,))) == [2]
    assert executor.compute([]) == []
    assert executor.compute(7) == 7
    assert executor.compute(x, 7, sync=True) == [2, 7]
    assert executor.compute({"a": x, "b": [y, 3]}).result() == {"a": 2, "b": [3, 3]}
    assert executor.persist(x).compute() == 2
    assert [lazy.compute() for lazy in executor.persist(x, y)] == [2, 3]
    assert [lazy.compute() for lazy in executor.persist([x])] == [2]


def test_the_same_twice(executor: Executor) -> None:
    x = delayed(inc)(1)
    futures = executor.compute(x, delayed(inc)(x), x)
    assert futures[0].key == futures[2].key
    assert executor.gather(futures) == [2, 3, 2]
    assert dask.compute(x, x, scheduler=executor) == (2, 2)


def mixed() -> list[Any]:
    """Collections that dask optimizes apart from each other, in an order that is not the one in which
    it does."""
    array = da.arange(6, chunks=2) + 1
    frame = dd.from_pandas(pd.DataFrame({"a": range(4)}), npartitions=2)
    return [
        array,
        delayed(inc)(1),
        array.sum(),
        db.range(4, 2).map(inc),
        frame.a.sum(),
        delayed(str)("text"),
        frame.a * 2,
        array[:2],
    ]


def plain(values: Any) -> list[Any]:
    return [v.tolist() if isinstance(v, (np.ndarray, np.generic, pd.Series)) else v for v in values]


MIXED = [[1, 2, 3, 4, 5, 6], 2, 21, [1, 2, 3, 4], 6, "text", [0, 2, 4, 6], [1, 2]]


@pytest.mark.filterwarnings("ignore:Computing mixed collections:UserWarning")  # of dask
@pytest.mark.parametrize("options", [{}, {"optimize_graph": False}], ids=["optimized", "raw"])
def test_mixed_collections_keep_their_order(executor: Executor, options: dict[str, Any]) -> None:
    assert plain(executor.compute(mixed(), sync=True, **options)) == MIXED
    assert plain(executor.gather(executor.compute(*mixed(), **options))) == MIXED
    assert plain(dask.compute(*mixed(), **options)) == MIXED
    assert plain(dask.compute(*mixed(), scheduler=executor, **options)) == MIXED
    assert plain(dask.compute(mixed(), scheduler=executor.get, **options)[0]) == MIXED
    nested = dask.compute({"a": mixed()[:2]}, 5, scheduler=executor, **options)
    assert (plain(nested[0]["a"]), nested[1]) == (MIXED[:2], 5)
    assert plain(dask.compute(*mixed()[:3], get=executor.get, **options)) == MIXED[:3]


@pytest.mark.filterwarnings("ignore:Computing mixed collections:UserWarning")  # of dask
@pytest.mark.parametrize("options", [{}, {"optimize_graph": False}], ids=["optimized", "raw"])
def test_mixed_collections_are_persisted(executor: Executor, options: dict[str, Any]) -> None:
    for persisted in (
        dask.persist(*mixed(), **options),
        dask.persist(*mixed(), scheduler=executor, **options),
        dask.persist(*mixed(), get=executor.get, **options),
        dask.persist(mixed(), scheduler=executor.get, **options)[0],
        executor.persist(mixed(), **options),
    ):
        assert [type(c) for c in persisted] == [type(c) for c in mixed()]
        assert all(futures_of(c) for c in persisted)
        assert plain(c.compute() for c in persisted) == MIXED
        assert plain(dask.compute(*persisted)) == MIXED
        del persisted
    nothing_is_left(executor)


def test_data_does_not_wait_for_the_garbage_collector(executor: Executor) -> None:
    gc.disable()
    try:
        for collection in mixed():
            persisted = executor.persist(collection)
            persisted.compute()
            executor.compute(persisted, sync=True)
            futures_of(dask.persist(persisted))
        del persisted, collection
        assert isinstance(executor.compute(delayed(div)(1, 0)).exception(), ZeroDivisionError)
        nothing_is_left(executor)
    finally:
        gc.enable()


def test_without_a_cluster_dask_does_as_before(executor: Executor) -> None:
    """Also where it is wrong about the order: that is not ours to change for other schedulers."""
    for collection in mixed():
        expected = on_threads(collection)
        assert plain([collection.compute(scheduler="sync")]) == plain([expected])


@pytest.mark.parametrize("how", ["executor", "dask", "persist"])
def test_what_is_shared_is_computed_once(executor: Executor, tmp_path: Path, how: str) -> None:
    path = str(tmp_path / "runs")
    shared = delayed(note)(path, 7)
    array = da.from_delayed(delayed(np.full)(4, shared), (4,), dtype=int)
    uses = [delayed(inc)(shared), delayed(add)(shared, shared), array, array.sum(), shared]
    # With its optimizations dask puts the call into the array, and leaves it for the others too.
    if how == "executor":
        results = executor.compute(uses, sync=True, optimize_graph=False)
    elif how == "dask":
        results = dask.compute(*uses, scheduler=executor, optimize_graph=False)
    else:
        results = [c.compute() for c in dask.persist(*uses, optimize_graph=False)]
    assert plain(results) == [8, 14, [7] * 4, 28, 7]
    assert Path(path).read_text() == "7\n"


def test_what_is_kept_is_not_computed_again(executor: Executor, tmp_path: Path) -> None:
    path = tmp_path / "runs"
    shared = delayed(note)(str(path), 7)
    kept = executor.persist(shared)
    assert [delayed(inc)(kept).compute() for _ in range(2)] == [8, 8]
    future = executor.compute(shared)
    assert executor.compute(delayed(add)(shared, delayed(inc)(shared)), sync=True) == 15
    assert future.result() == 7
    assert path.read_text() == "7\n"


def test_impure_values_are_each_their_own(executor: Executor) -> None:
    first, second = (delayed(time.time_ns, pure=False)() for _ in range(2))
    one, two, again = executor.compute(first, second, first, sync=True)
    assert one == again != two


def test_many_lazy_values(executor: Executor) -> None:
    layers = [[delayed(inc)(n) for n in range(300)]]
    for _ in range(3):
        layers.append(
            [delayed(add)(x, y) for x, y in zip(layers[-1], layers[-1][1:], strict=False)]
        )
    expected = sum(on_threads(delayed(layers[-1])))
    assert delayed(sum)(layers[-1]).compute(scheduler=executor) == expected
    assert sum(executor.gather(executor.compute(layers[-1]))) == expected


def test_futures_come_one_by_one(executor: Executor, gate: str) -> None:
    futures = executor.compute(delayed(block)(gate), delayed(inc)(100), delayed(inc)(200))
    completed = as_completed(futures)
    assert {next(completed).result(), next(completed).result()} == {101, 201}
    Path(gate).touch()
    assert next(completed) is futures[0]


# Errors


def test_errors_are_the_tasks_own(executor: Executor, gate: str) -> None:
    bad = delayed(div)(1, delayed(inc)(-1))
    graph = delayed(sum)([bad, delayed(len)(delayed(block)(gate)), *map(delayed(inc), range(20))])
    with pytest.raises(ZeroDivisionError) as raised:
        graph.compute(scheduler=executor)
    shown = "".join(traceback.format_tb(raised.value.__traceback__))
    assert "return x / y" in shown
    assert "distributed/worker.py" not in shown
    del raised
    Path(gate).touch()
    nothing_is_left(executor)


def test_an_error_of_one_of_several(executor: Executor, gate: str) -> None:
    class Mine(Exception):
        pass

    def fails() -> None:
        raise Mine("on purpose")

    with pytest.raises(Mine, match="on purpose"):
        dask.compute(delayed(fails)(), delayed(block)(gate), da.ones(4).sum(), scheduler=executor)
    good, bad = executor.compute(delayed(inc)(1), delayed(fails)())
    assert good.result() == 2
    assert isinstance(bad.exception(), Mine)
    with pytest.raises(Mine):
        delayed(inc)(bad).compute()
    Path(gate).touch()
    del good, bad
    nothing_is_left(executor)


def test_persisted_errors(executor: Executor) -> None:
    persisted = executor.persist(delayed(inc)(delayed(div)(1, 0)))
    wait(futures_of(persisted))
    with pytest.raises(ZeroDivisionError):
        persisted.compute()
    with pytest.raises(ZeroDivisionError):
        (persisted + 1).compute()


def test_what_cannot_be_sent(executor: Executor) -> None:
    with pytest.raises(TypeError, match="cannot be sent"):
        delayed(id)(threading.Lock()).compute(scheduler=executor)
    with pytest.raises(TypeError, match="cannot be sent"):
        executor.persist(delayed(inc)(delayed(id)(threading.Lock())))
    assert delayed(inc)(1).compute(scheduler=executor) == 2


class Packed:
    """Does something when it is pickled; the answer to everything when it is read."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    def __reduce__(self) -> Any:
        self.act()
        return int, (42,)


@pytest.fixture
def in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MESSAGE_TASKS", 2)


@pytest.mark.usefixtures("in_small_parts")
def test_tasks_run_while_the_rest_of_their_graph_is_packed(
    executor: Executor, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    dsk = {"x": (note_run, str(path)), "y": (inc, "x"), "z": (add, "x", "y")}
    dsk |= {"late": (inc, Packed(lambda: wait_until(path.exists))), "all": (list, ["z", "late"])}
    assert executor.get(dsk, "all") == [3, 43]


@pytest.mark.usefixtures("in_small_parts")
def test_what_ran_ahead_for_nothing_is_forgotten(executor: Executor) -> None:
    dsk: dict[Any, Any] = {f"x{n}": (inc, n) for n in range(3)}
    dsk["y"] = (inc, (n for n in range(3)))
    dsk["sum"] = (list, list(dsk))
    with pytest.raises(TypeError, match="'y' cannot be sent"):
        executor.get(dsk, "sum")
    nothing_is_left(executor)


@pytest.mark.usefixtures("in_small_parts")
def test_a_restart_calls_off_what_is_being_sent() -> None:
    with Executor(n_workers=1, threads_per_worker=1) as executor:
        dsk: dict[Any, Any] = {f"x{n}": (inc, n) for n in range(3)}
        dsk["y"] = (inc, Packed(executor.restart))
        dsk["sum"] = (list, list(dsk))
        with pytest.raises(CancelledError, match="the cluster was restarted"):
            executor.get(dsk, "sum")
        nothing_is_left(executor)
        assert executor.get({"x": (inc, 1)}, "x") == 2


def test_what_cannot_come_back(executor: Executor) -> None:
    lock = delayed(threading.Lock)()
    assert delayed(lambda lock: lock.acquire(False))(lock).compute(scheduler=executor) is True
    with pytest.raises(TypeError, match="cannot be sent"):
        lock.compute(scheduler=executor)


# Graphs


def test_tuples_nested_keys_and_all_kinds_of_values(executor: Executor) -> None:
    graph = {
        "x": 1,
        ("y", 0): (inc, "x"),
        ("y", 1): (inc, ("y", 0)),
        3: (sum, ["x", ("y", 0), ("y", 1), (add, "x", 10)]),
        "list": [("y", 0), "x", ["x", 5]],
        "text": (add, "not a key", "!"),
        "dict": (dict, [["a", ("y", 1)], ["b", "x"]]),
        "quoted": (list, (tuple, ["x", "x"])),
        "alias": ("y", 1),
        "none": None,
    }
    keys = ["x", [("y", 0), [("y", 1)]], 3, [], "list", "text", "dict", "quoted", "alias", "none"]
    expected = [
        1,
        [2, [3]],
        17,
        [],
        [2, 1, [1, 5]],
        "not a key!",
        {"a": 3, "b": 1},
        [1, 1],
        3,
        None,
    ]
    assert executor.get(graph, keys) == expected
    assert executor.get(graph, ("y", 1)) == 3
    assert executor.get(graph, [[["x"]]]) == [[[1]]]
    futures = executor.get(graph, ["x", [("y", 1)]], sync=False)
    assert executor.gather(futures) == [1, [3]]
    assert futures[1][0].key == ("y", 1)


def test_graphs_of_dask(executor: Executor) -> None:
    array = da.arange(4, chunks=2) * 2
    graph = array.__dask_graph__()
    values = executor.get(graph, array.__dask_keys__())
    assert np.concatenate(values).tolist() == [0, 2, 4, 6]
    values = executor.get(dict(graph), array.__dask_keys__())
    assert np.concatenate(values).tolist() == [0, 2, 4, 6]
    with pytest.raises(TypeError, match="not int"):
        executor.get(5, "x")


def test_a_key_with_other_work_is_other_work_for_two_clients_at_once(executor: Executor) -> None:
    with Executor(executor.scheduler_address) as other:
        two = executor.get({"x": (inc, 1), "y": (inc, "x")}, ["x", "y"], sync=False)
        three = other.get({"x": (inc, 2), "y": (inc, "x")}, ["x", "y"], sync=False)
        assert other.gather(three) == [3, 4]
        assert executor.gather(two) == [2, 3]
        assert [f.key for f in two] == [f.key for f in three] == ["x", "y"]
        assert executor.get({"x": (inc, 2)}, "x") == 3
        assert executor.get({}, "y") == 3  # the future of this client


def test_two_threads_with_one_key(executor: Executor) -> None:
    results: dict[int, Any] = {}

    def work(n: int) -> None:
        results[n] = [executor.get({"x": (inc, n), "y": (inc, "x")}, "y") for _ in range(20)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: [n + 2] * 20 for n in range(4)}


def test_names_of_futures_in_graphs(executor: Executor) -> None:
    future = executor.submit(inc, 1, key="base")
    assert executor.get({"y": Task("y", inc, TaskRef("base"))}, ["y", "base"]) == [3, 2]
    assert executor.get({"y": (add, "ba", "se")}, "y") == "base"  # a text, not a name
    other = executor.submit(inc, 2, key="base")
    with pytest.raises(ValueError, match="2 futures of that name"):
        executor.get({}, ["base"])
    assert executor.get({"y": (add, future, other)}, "y") == 5


def test_unknown_keys_and_cycles_are_named(executor: Executor) -> None:
    with pytest.raises(KeyError, match="'nothing' is not in the graph"):
        executor.get({"x": 1}, ["x", ["nothing"]])
    with pytest.raises(RuntimeError, match=r"cycle.*'x'"):
        executor.get({"x": (inc, "y"), "y": (inc, "z"), "z": (inc, "x")}, "x")
    with pytest.raises(RuntimeError, match="cycle"):
        executor.get({"x": (inc, "x")}, "x")
    with pytest.raises(RuntimeError, match="cycle"):
        executor.get({"x": "y", "y": "x"}, "x")
    assert executor.get({"x": (inc, "y"), "y": (inc, "x"), "z": 1}, "z") == 1


def test_lost_inputs_are_named() -> None:
    """Scattered data dies with its worker."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=1) as cluster,
        Executor(cluster) as executor,
    ):
        data = executor.scatter(np.arange(5), hash=False)
        lazy = delayed(np.sum)(data)
        persisted = executor.persist(delayed(inc)(delayed(pid_of)()))
        before = persisted.compute()
        (pid,) = executor.run(os.getpid).values()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: data.status == "lost")
        with pytest.raises(LostData, match="ndarray-"):
            lazy.compute(scheduler=executor)
        assert (persisted + 0).compute() != before  # computed again


# Inside tasks


def nested(depth: int) -> int:
    if not depth:
        return 1
    x, y = dask.compute(delayed(nested)(depth - 1), delayed(nested)(depth - 1))
    return int(x + y)


def nested_sum(n: int) -> Any:
    array = da.arange(n, chunks=max(1, n // 2))
    return (array + 1).sum().compute() + delayed(inc)(n).compute()


def test_tasks_compute_on_one_thread(single_thread: LocalCluster) -> None:
    with Executor(single_thread) as executor:
        assert executor.submit(nested, 3).result() == 8
        assert delayed(nested)(2).compute() == 4
        expected = [n * (n + 1) // 2 + n + 1 for n in range(1, 15)]
        assert executor.gather(executor.map(nested_sum, range(1, 15))) == expected
        lazy = delayed(list)([delayed(nested_sum)(n) for n in range(1, 15)])
        assert lazy.compute() == expected
        nothing_is_left(executor)


def test_tasks_use_clients_of_all_spellings(single_thread: LocalCluster) -> None:
    def work(n: int) -> list[Any]:
        client = get_client()
        lazy = delayed(inc)(n)
        persisted = client.persist(da.arange(n, chunks=2))
        return [
            lazy.compute(scheduler=client),
            lazy.compute(scheduler="distributed"),
            lazy.compute(get=client.get),
            client.compute(lazy).result(),
            client.get({"x": (inc, n)}, "x"),
            int(persisted.sum().compute()),
            lazy.compute(scheduler="sync"),
            client.submit(inc, n).result(),
        ]

    with Executor(single_thread) as executor:
        assert executor.submit(work, 4).result() == [5, 5, 5, 5, 5, 6, 5, 5]
        assert dask.compute(*[delayed(work)(4)] * 2)[1][0] == 5


def test_errors_of_nested_computations(executor: Executor) -> None:
    def outer() -> Any:
        return delayed(div)(1, delayed(inc)(-1)).compute()

    with pytest.raises(ZeroDivisionError):
        delayed(outer)().compute(scheduler=executor)
    nothing_is_left(executor)


def test_lazy_values_travel_into_tasks(executor: Executor) -> None:
    """As data, if they are hidden from dask; with the futures of this session inside."""
    future = executor.submit(inc, 1)

    def work(lazies: Any) -> Any:
        return [lazy.compute() for lazy in lazies]

    lazies = [delayed(inc)(5), delayed(inc)(future), executor.persist(delayed(inc)(7))]
    assert executor.submit(work, lazies).result() == [6, 3, 8]


# Options


def test_annotations_say_where(executor: Executor) -> None:
    pids = executor.run(os.getpid)
    for address, pid in pids.items():
        with dask.annotate(workers=[address]):
            one = delayed(pid_of)(address)
        assert one.compute(scheduler=executor) == pid
        with dask.annotate(workers=address, allow_other_workers=False):
            array = da.ones(4, chunks=1).map_blocks(
                lambda block, _: np.full(1, os.getpid()), address, dtype=int
            )
        places = executor.compute(array, optimize_graph=False, sync=True)
        assert set(places.tolist()) == {pid}
        with dask.annotate(workers=[address]):
            assert delayed(pid_of)(address, 2).compute(scheduler=executor) == pid
        assert executor.compute(delayed(pid_of)(3), workers=address, sync=True) == pid
        assert executor.get({"x": (pid_of, address)}, "x", workers=[address]) == pid
    with dask.annotate(workers=["nobody"], allow_other_workers=True):
        anywhere = delayed(inc)(1)
    assert anywhere.compute(scheduler=executor) == 2


def test_annotations_of_persisted_data(executor: Executor) -> None:
    address = list(executor.ncores())[1]
    with dask.annotate(workers=[address]):
        array = da.zeros(6, chunks=1) + 1
    persisted = executor.persist(array, optimize_graph=False)
    wait(futures_of(persisted))
    assert set(map(tuple, executor.who_has(futures_of(persisted)).values())) == {(address,)}
    persisted = executor.persist(db.range(4, 4), workers=address)
    wait(futures_of(persisted))
    assert set(map(tuple, executor.who_has(futures_of(persisted)).values())) == {(address,)}


def test_annotations_may_be_functions_of_the_key(executor: Executor) -> None:
    here, there = executor.ncores()
    with dask.annotate(workers=lambda key: [here if key[1] % 2 else there]):
        array = da.zeros(6, chunks=1) + 1
    persisted = executor.persist(array, optimize_graph=False)
    wait(futures_of(persisted))
    places = executor.who_has(futures_of(persisted))
    assert places == {key: [here if key[1] % 2 else there] for key in places}


def test_retries(executor: Executor, tmp_path: Path) -> None:
    for number, run in enumerate(
        [
            lambda lazy: executor.compute(lazy, retries=2).result(),
            lambda lazy: executor.persist(lazy, retries=2).compute(),
            lambda lazy: lazy.compute(scheduler=executor, retries=2),
            lambda lazy: executor.get(lazy.__dask_graph__(), lazy.key, retries=2),
        ]
    ):
        directory = tmp_path / f"{number}"
        directory.mkdir()
        assert run(delayed(flaky)(str(directory), 2)) == 2
    annotated = tmp_path / "annotated"
    annotated.mkdir()
    with dask.annotate(retries=1):
        lazy = delayed(flaky)(str(annotated), 1)
    assert executor.compute(delayed(inc)(lazy)).result() == 2
    never = tmp_path / "never"
    never.mkdir()
    with pytest.raises(RuntimeError, match="not yet"):
        delayed(flaky)(str(never), 1).compute(scheduler=executor)


def test_priorities(executor: Executor, tmp_path: Path, gate: str) -> None:
    """A larger one runs earlier, among what waits while the only worker is busy."""

    def hold(path: str) -> None:  # how long it takes nobody knows, so the worker gets one ahead
        block(path)

    (worker, *_) = executor.ncores()
    path = str(tmp_path / "order")
    busy = [executor.submit(hold, gate, workers=worker, pure=False) for _ in range(2)]
    wait_until(lambda: len(executor.processing()[worker]) == 2)
    lazies = []
    for priority in range(3):
        with dask.annotate(priority=priority):
            lazies.append(delayed(note)(path, priority))
    futures = executor.compute(lazies, workers=worker)
    first = executor.compute(delayed(note)(path, 9), workers=worker, priority=9)
    executor.ncores()  # once this is answered the scheduler knows of all of them
    Path(gate).touch()
    wait([*busy, *futures, first])
    assert Path(path).read_text().split() == ["9", "2", "1", "0"]


def test_unknown_options_are_left_to_other_schedulers(executor: Executor) -> None:
    assert delayed(inc)(1).compute(scheduler=executor, num_workers=3, pool=None) == 2
    assert executor.get({"x": (operator.neg, 1)}, "x", num_workers=3) == -1


def numbers_of_other_tasks(count: int) -> Iterator[int]:
    for number in range(count):
        yield get_client().submit(inc, number).result()


def test_two_readers_of_a_generator_that_waits_for_tasks(single_thread: LocalCluster) -> None:
    with Executor(single_thread) as executor:
        numbers = executor.submit(numbers_of_other_tasks, 3)
        readers = [executor.submit(list, numbers), executor.submit(sum, numbers)]
        assert executor.gather(readers) == [[1, 2, 3], 6]


def test_gather_leaves_collections_as_they_are(executor: Executor) -> None:
    x = da.ones(4, chunks=2).persist(scheduler=executor)
    assert executor.gather([x, executor.submit(inc, 1)]) == [x, 2]
    assert set(executor.who_has(x)) == set(x.__dask_keys__())
    executor.cancel(x)
    assert {future.status for future in futures_of(x)} == {"cancelled"}


def test_siblings_of_what_failed_are_released_though_the_exception_is_kept(
    executor: Executor, gate: str
) -> None:
    """Of several kinds together: `dask.compute` comes down to `compute(sync=True)` then."""
    failing, blocked = delayed(div)(1, 0), delayed(block)(gate)
    with pytest.raises(ZeroDivisionError) as failure:
        dask.compute(blocked, da.ones(4, chunks=2).sum(), failing, scheduler=executor)
    nothing_is_left(executor)
    assert failure.value is not None
