"""The spellings of 2016 on the dask of today, and who computes what nobody was named for."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from dask import delayed

import distributed
from distributed import Client, Executor, LocalCluster, compat, default_client, futures_of
from tests.support import wait_until


def inc(x: Any) -> Any:
    return x + 1


class Recorder:
    """A scheduler of its own, that counts what it is asked for."""

    def __init__(self) -> None:
        self.calls = 0

    def get(self, dsk: Any, keys: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return dask.get(dsk, keys)


@pytest.fixture(autouse=True)
def same_options() -> Iterator[None]:
    """No test leaves an option behind."""
    before = pickle.dumps(dask.config.config)
    assert dask.config.get("scheduler", None) is None
    yield
    left = dask.config.get("scheduler", None)
    dask.config.config["scheduler"] = None
    assert left is None
    if "scheduler" not in pickle.loads(before):
        del dask.config.config["scheduler"]
    assert dask.config.config == pickle.loads(before)


def chosen(*collections: Any, **given: Any) -> Any:
    """Whom dask would have compute."""
    return dask.base.get_scheduler(collections=collections or None, **given)


def tasks_of(executor: Executor) -> int:
    return sum(executor.scheduler_info()["tasks"].values())


# The tutorial


def test_get_is_taken_by_compute(executor: Executor) -> None:
    x = da.random.default_rng(1).normal(loc=10, scale=0.1, size=(100, 100), chunks=(50, 50))
    y = x.mean()
    assert y.compute(get=executor.get) == pytest.approx(10, abs=0.1)
    assert dask.compute(y, delayed(inc)(1), get=executor.get)[1] == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: delayed(inc)(1),
        lambda: da.ones(4, chunks=2).sum() - 2,
        lambda: db.range(3, 2).max(),
        lambda: dd.from_pandas(pd.DataFrame({"a": [1, 1]}), npartitions=2).a.sum(),
        lambda: xr.DataArray(np.ones(2), dims="x").chunk(x=1).sum(),
    ],
    ids=["delayed", "array", "bag", "frame", "xarray"],
)
def test_get_is_taken_by_the_methods_of_all_collections(executor: Executor, make: Any) -> None:
    recorder = Recorder()
    assert make().compute(get=recorder.get) == make().compute(get=executor.get) == 2
    assert recorder.calls == 1
    assert dask.compute(make(), get=recorder.get)[0] == 2
    assert recorder.calls == 2
    assert make().compute(get=dask.get) == 2
    for persisted in (
        make().persist(get=executor.get),
        dask.persist(make(), get=executor.get)[0],
        make().persist(scheduler=executor.get),
        make().persist(scheduler=executor),
    ):
        assert futures_of(persisted)
        assert persisted.compute() == 2
    before = recorder.calls
    assert make().persist(get=recorder.get).compute(scheduler="sync") == 2
    assert recorder.calls == before + 1


def test_get_is_taken_by_what_computes_by_the_way(executor: Executor, tmp_path: Any) -> None:
    recorder = Recorder()
    target = np.zeros(4)
    da.store(da.ones(4, chunks=2), target, get=recorder.get)
    assert (target.sum(), recorder.calls) == (4, 1)
    db.from_sequence("ab", npartitions=2).to_textfiles(
        [str(tmp_path / "a"), str(tmp_path / "b")], compute_kwargs={"get": executor.get}
    )
    assert (tmp_path / "b").read_text() == "b"


def test_set_options_as_a_call(cluster: LocalCluster) -> None:
    executor = Executor(cluster)
    with Executor(cluster) as other:
        dask.set_options(get=executor.get)
        assert chosen() == chosen(delayed(1)) == executor.get
        assert delayed(inc)(1).compute() == 2
        assert futures_of(delayed(inc)(1).persist())[0].executor is executor
        executor.close()
        assert chosen() == other.get  # what was set goes with the executor
        assert delayed(inc)(1).compute() == 2


def test_set_options_for_a_while(executor: Executor) -> None:
    recorder = Recorder()
    with dask.set_options(get=recorder.get):
        assert delayed(inc)(1).compute() == 2
        with dask.set_options(get=executor.get):
            assert chosen() == executor.get
        assert chosen() == recorder.get
    assert recorder.calls == 1
    with dask.set_options({"a.b": 5}, num_workers=3):
        assert dask.config.get("a.b") == 5
        assert dask.config.get("num_workers") == 3
    assert dask.config.get("a", None) is None


def test_config_set_is_undone_by_closing(cluster: LocalCluster) -> None:
    for value in ("get", "executor"):
        executor = Executor(cluster)
        dask.config.set(scheduler=executor.get if value == "get" else executor)
        assert chosen() == executor.get
        assert delayed(inc)(1).compute() == 2
        executor.close()
        assert dask.config.get("scheduler", None) is None
        assert chosen(delayed(1)) is dask.threaded.get


def test_a_setting_of_another_executor_stays(cluster: LocalCluster) -> None:
    with Executor(cluster) as one:
        with dask.config.set(scheduler=one.get):
            Executor(cluster).close()
            assert chosen() == one.get
        with Executor(cluster), dask.config.set(scheduler="sync"):
            assert chosen() is dask.local.get_sync


def test_dask_imperative() -> None:
    import dask.imperative  # type: ignore[import-not-found]
    from dask.imperative import Value, do, value

    assert do(inc)(1).compute(scheduler="sync") == 2
    assert do(pure=True)(inc)(1).key == do(inc, pure=True)(1).key
    assert do(inc)(1).key != do(inc)(1).key
    assert isinstance(do(inc)(1), Value)
    assert value([1, 2]).index(2).compute(scheduler="sync") == 1
    assert value(5, "five").key == "five"
    assert dask.imperative.do is do is compat.do
    assert dask.imperative.__spec__.name == "dask.imperative"

    @do
    def add(x: int, y: int) -> int:
        return x + y

    assert add(add(1, 2), 3).compute(scheduler="sync") == 6


def test_installing_twice_changes_nothing() -> None:
    before = dask.base.get_scheduler, dask.persist, dask.set_options, list(dask.config.defaults)
    compat.install()
    after = dask.base.get_scheduler, dask.persist, dask.set_options, list(dask.config.defaults)
    assert after == before
    assert dask.persist is dask.base.persist


ORDERS = {
    "dask first": "import dask; import dask.array as da; import distributed",
    "by dask": "import dask.array as da, dask; from dask.distributed import Executor",
    "a copy of persist": "import dask; from dask import persist, compute; import distributed; "
    "import dask.array as da",
}
TOUR = """
from dask.imperative import do
from distributed import Executor
if __name__ == "__main__":
    calls = []
    def get(dsk, keys, **kwargs):
        calls.append(keys)
        return dask.get(dsk, keys)
    y = da.ones(4, chunks=2).sum()
    assert y.compute(get=get) == 4
    with dask.set_options(get=get):
        assert y.compute() == 4
    assert do(sum)([1, 2]).compute(get=get) == 3
    assert dask.compute(y, y, get=get) == (4, 4)
    assert y.persist(get=get).compute(scheduler="sync") == 4
    assert len(calls) == 5
    assert dask.config.get("dataframe.shuffle.method") == "tasks"
    assert dask.base.get_scheduler(collections=[y]) is dask.threaded.get
    print("done")
"""


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_imports_does_not_matter(order: str) -> None:
    program = f"{ORDERS[order]}\n{TOUR}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=50
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


# Who computes


def test_without_an_executor_nothing_changes() -> None:
    x, frame = da.ones(4, chunks=2), dd.from_pandas(pd.DataFrame({"a": [1, 2]}), npartitions=1)
    with pytest.raises(ValueError, match="no Executor"):
        default_client()
    assert chosen(x) is chosen(delayed(1)) is chosen(frame) is dask.threaded.get
    assert chosen(db.range(2, 1)) is dask.multiprocessing.get
    assert chosen() is None
    for name in ("threads", "sync", "processes"):
        assert chosen(x, scheduler=name) is dask.base.named_schedulers[name]
    assert chosen(scheduler=dask.get) is chosen(get=dask.get) is dask.get
    with pytest.raises(RuntimeError, match="Client"):
        chosen(x, scheduler="distributed")
    with pytest.raises(ValueError, match=r"Expected one of.*threads"):
        chosen(x, scheduler="nonsense")
    with ThreadPoolExecutor(1) as pool:
        assert x.sum().compute(pool=pool) == 4
        assert x.sum().compute(scheduler="threads", pool=pool) == 4
        assert x.sum().persist(pool=pool).compute(scheduler="sync") == 4
        assert chosen(scheduler=pool) is not None


def test_with_an_executor_others_can_still_be_named(executor: Executor) -> None:
    x = da.ones(4, chunks=2)
    for name in ("threads", "sync", "processes"):
        assert chosen(x, scheduler=name) is dask.base.named_schedulers[name]
    assert chosen(x, get=dask.get) is dask.get
    with dask.config.set(scheduler="sync"):
        assert chosen(x) is dask.local.get_sync
        assert x.sum().compute() == 4
    assert x.sum().compute(scheduler="sync") == 4
    with pytest.raises(ValueError, match="Expected one of"):
        x.compute(scheduler="nonsense")
    with pytest.raises(ValueError, match="Unexpected scheduler"):
        x.compute(scheduler=5)
    assert tasks_of(executor) == 0  # nothing of this was seen there


def test_the_ways_to_name_an_executor(cluster: LocalCluster) -> None:
    with Executor(cluster) as executor, Client(cluster) as client, Executor(cluster):
        for named in (executor, client):
            assert chosen(scheduler=named) == chosen(scheduler=named.get) == named.get
            assert chosen(get=named.get) == chosen(get=named) == named.get
            assert delayed(inc)(1).compute(scheduler=named) == 2
            assert dask.compute(delayed(inc)(1), da.ones(2), get=named)[0] == 2
            with dask.config.set(scheduler=named):
                assert chosen() == named.get
        both = {"scheduler": client, "get": executor.get}
        with pytest.raises(TypeError, match="get= keyword"):
            chosen(**both)


def test_the_default_is_the_youngest_that_lives(cluster: LocalCluster) -> None:
    x = delayed(inc)(1)
    one = Executor(cluster)
    assert chosen(x) == chosen() == chosen(x, scheduler="distributed") == one.get
    assert default_client() is Executor.current() is one
    two = Client(cluster)
    assert chosen(x) == chosen(x, scheduler="dask.distributed") == two.get
    assert futures_of(x.persist())[0].executor is two
    two.close()
    assert chosen(x) == one.get
    assert x.compute() == 2
    three, four = Executor(cluster), Executor(cluster)
    three.close()
    assert chosen(x) == four.get
    one.close()
    assert chosen(x) == four.get
    four.close()
    assert chosen(x) is dask.threaded.get
    with pytest.raises(RuntimeError, match="Client"):
        chosen(x, scheduler="distributed")


def test_an_executor_that_nobody_has_any_more_is_not_the_default(cluster: LocalCluster) -> None:
    executor = Executor(cluster)
    with executor:
        assert chosen() == executor.get
    del executor
    assert chosen() is None


def test_mixed_collections_are_persisted_by_whom_was_named(cluster: LocalCluster) -> None:
    with Executor(cluster) as named, Executor(cluster):
        for option in ({"get": named.get}, {"scheduler": named}, {"scheduler": named.get}):
            array, lazy = dask.persist(da.ones(4, chunks=2), delayed(inc)(1), **option)
            assert {f.executor for f in futures_of([array, lazy])} == {named}
            assert dask.compute(lazy, array.sum(), **option) == (2, 4)


def test_shuffles_are_made_of_tasks(executor: Executor) -> None:
    from dask.utils import get_default_shuffle_method

    assert get_default_shuffle_method() == "tasks"
    assert dask.config.get("array.rechunk.method") == "tasks"
    with dask.config.set({"dataframe.shuffle.method": "disk"}):
        assert get_default_shuffle_method() == "disk"
    dask.config.refresh()
    assert get_default_shuffle_method() == "tasks"
    assert dask.config.get("array.rechunk.method") == "tasks"


def test_what_the_user_has_set_goes_before_our_defaults() -> None:
    program = (
        "import os; os.environ['DASK_DATAFRAME__SHUFFLE__METHOD'] = 'disk'\n"
        "import dask, distributed\n"
        "print(dask.config.get('dataframe.shuffle.method'))\n"
        "dask.config.refresh()\n"
        "print(dask.config.get('dataframe.shuffle.method'))\n"
        "print(dask.config.get('array.rechunk.method'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=50
    )
    assert (done.stdout.split(), done.stderr) == (["disk", "disk", "tasks"], "")


def test_dask_distributed_is_this_package() -> None:
    import dask.distributed

    for name in distributed.__all__:
        assert getattr(dask.distributed, name) is getattr(distributed, name)


def test_what_is_wrapped_looks_as_before() -> None:
    assert dask.persist.__name__ == "persist"
    assert dask.base.get_scheduler.__name__ == "get_scheduler"
    assert "scheduler" in (dask.base.get_scheduler.__doc__ or "")
    x = da.ones(4, chunks=2)
    assert dask.base.get_scheduler(None, "sync", [x], None) is dask.local.get_sync  # by place
    assert dask.base.get_scheduler(dask.get) is dask.get


def test_closing_releases_what_was_persisted(cluster: LocalCluster) -> None:
    with Executor(cluster) as other:
        with Executor(cluster) as executor:
            x = da.ones(4, chunks=2).persist(scheduler=executor)
            assert x.sum().compute(scheduler=executor) == 4
        wait_until(lambda: tasks_of(other) == 0)
        with pytest.raises(distributed.SchedulerGone, match="closed"):
            x.compute(scheduler=executor)
        with pytest.raises((distributed.CancelledError, distributed.LostData), match="ones"):
            x.compute(scheduler=other)


def test_every_executor_counts_as_a_client(cluster: LocalCluster) -> None:
    """As xarray asks before it writes files."""
    with Executor(cluster) as executor:
        assert isinstance(executor, distributed.Client)
        assert isinstance(dask.base.get_scheduler().__self__, dask.distributed.Client)
    assert not isinstance(1, distributed.Client)


def test_a_name_of_a_result_that_was_let_go_is_unknown(cluster: LocalCluster) -> None:
    with Executor(cluster) as executor:
        for value in range(3):
            executor.get({"let go": value}, "let go")
        with pytest.raises(KeyError, match="let go"):
            executor.get({"x": 1}, "let go")
