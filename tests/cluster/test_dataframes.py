"""Dask dataframes on a cluster: the same values as on dask's own threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask.datasets import timeseries
from pandas.testing import assert_frame_equal, assert_index_equal, assert_series_equal

from distributed import Executor, futures_of, wait
from tests.support import on_threads, wait_until


def week() -> Any:
    """Seven days of a row every two minutes, a partition for each day: id, name, x, y."""
    return timeseries(end="2000-01-08", freq="2min", partition_freq="1D", seed=5)


def people() -> Any:
    names = ["Alice", "Bob", "Charlie", "Dan", "Edith", "Frank", "Nobody"]
    return dd.from_pandas(pd.DataFrame({"name": names, "age": range(7)}), npartitions=2)


def days() -> Any:
    stamps = pd.date_range("2000-01-01", periods=7, name="timestamp")
    return dd.from_pandas(pd.DataFrame({"day": range(7)}, index=stamps), npartitions=3)


def spread(group: Any) -> Any:
    return group.x.max() - group.x.min()


def same(value: Any, expected: Any, ordered: bool = True) -> None:
    """Unordered: as sets of rows, for operations that promise no order."""
    assert type(value) is type(expected)
    if isinstance(expected, pd.Index):
        assert_index_equal(value, expected)
    elif isinstance(expected, pd.Series):
        if not ordered:
            value, expected = (
                frame.to_frame("value").sort_values("value").value for frame in (value, expected)
            )
        assert_series_equal(value, expected)
    elif isinstance(expected, pd.DataFrame):
        if not ordered:
            columns = list(expected.columns)
            value, expected = (frame.sort_values(columns) for frame in (value, expected))
        assert_frame_equal(value, expected, check_freq=False)
    else:
        assert value == pytest.approx(expected)


def merged_on_a_column() -> Any:
    """Large enough on both sides that dask sends rows to where those with equal names are."""
    df = week()
    return df.merge(df[df.x > 0.99][["name", "y"]], on="name", how="inner", suffixes=("", "_2"))


FRAMES: dict[str, Callable[[], Any]] = {
    "all": week,
    "groupby-mean": lambda: week().groupby("name").x.mean(),
    "groupby-agg": lambda: week().groupby("name").agg({"x": ["mean", "std"], "y": "max"}),
    "groupby-agg in parts": lambda: week().groupby("id").x.sum(split_out=3),
    "groupby-apply": lambda: week().groupby("name").apply(spread, meta=("x", float)),
    "groupby-transform": lambda: (
        week().groupby("name").x.transform(lambda x: x - x.mean(), meta=("x", float))
    ),
    "filter and columns": lambda: week()[week().y > 0].assign(z=lambda d: d.x * 2)[["z", "id"]],
    "merge on an index": lambda: week().merge(days(), left_index=True, right_index=True),
    "merge with a small one": lambda: week().merge(people(), on="name", how="left"),
    "merge on a column": merged_on_a_column,
    "join": lambda: week().join(days(), how="inner"),
    "set_index": lambda: week().set_index("id"),
    "set_index with divisions": lambda: week().set_index("id", divisions=[0, 950, 1000, 2000]),
    "sort_values": lambda: week().sort_values("x"),
    "shuffle": lambda: week().shuffle("name", npartitions=4),
    "rolling": lambda: week().x.rolling("1h").mean(),
    "rolling by rows": lambda: week()[["x", "y"]].rolling(10).sum(),
    "resample": lambda: week()[["x"]].resample("12h").mean(),
    "cumsum": lambda: week().x.cumsum(),
    "drop_duplicates": lambda: week()[["id", "name"]].drop_duplicates(),
    "unique": lambda: week().name.unique(),
    "nunique": lambda: week().name.nunique(),
    "value_counts": lambda: week().name.value_counts(),
    "quantile": lambda: week().x.quantile(0.5),
    "describe": lambda: week().describe(),
    "corr": lambda: week()[["x", "y"]].corr(),
    "loc": lambda: week().loc["2000-01-03":"2000-01-04"],  # type: ignore[misc]
    "repartition": lambda: week().repartition(npartitions=3),
    "repartition by time": lambda: week().repartition(freq="2D"),
    "categories": lambda: week().categorize("name"),
    "tail": lambda: week().tail(7, compute=False),
    "len": lambda: week().index.size,
    "index": lambda: week().index,
    "map_partitions": lambda: week().map_partitions(lambda part: part.x.sum(), meta=("x", float)),
    "map_overlap": lambda: week().x.map_overlap(lambda part: part.diff(), 1, 0, meta=("x", float)),
    "from_map": lambda: dd.from_map(square_frame, range(4), meta={"n": "int64", "square": "int64"}),
    "concat": lambda: dd.concat([week(), week().assign(x=0.0)], interleave_partitions=True),
    "melt": lambda: week()[["x", "y"]].melt(),
}
UNORDERED = {
    "merge with a small one",
    "merge on a column",
    "set_index",
    "set_index with divisions",
    "shuffle",
    "drop_duplicates",
    "unique",
    "groupby-transform",
}


def square_frame(n: int) -> pd.DataFrame:
    return pd.DataFrame({"n": [n], "square": [n * n]})


@pytest.mark.parametrize("name", FRAMES)
def test_values(executor: Executor, name: str) -> None:
    frame = FRAMES[name]()
    expected = on_threads(frame)
    ordered = name not in UNORDERED
    same(frame.compute(scheduler=executor), expected, ordered)
    same(executor.compute(frame).result(), expected, ordered)


def test_without_optimization(executor: Executor) -> None:
    frame = week().groupby("name").x.mean()
    same(executor.compute(frame, optimize_graph=False, sync=True), on_threads(frame))


def test_shuffles_exchange_rows(executor: Executor) -> None:
    """Equal names end in one partition."""
    parts = executor.compute(list(week().shuffle("name", npartitions=4).partitions), sync=True)
    assert sum(map(len, parts)) == 7 * 720
    names = [set(part.name) for part in parts]
    assert sum(map(len, names)) == len(set().union(*names)) > 10


def test_shuffles_in_several_stages(executor: Executor) -> None:
    frame = week().repartition(npartitions=12)
    parts = frame.shuffle("name", max_branch=3).map_partitions(lambda p: p.name.nunique())
    assert parts.sum().compute(scheduler=executor) == on_threads(week().name.nunique())


@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")  # of dask to pandas
def test_parquet_there_and_back(executor: Executor, tmp_path: Path) -> None:
    week().to_parquet(str(tmp_path / "week"))  # with the default: this executor
    assert len(list((tmp_path / "week").glob("*.parquet"))) == 7
    back = dd.read_parquet(str(tmp_path / "week"), calculate_divisions=True)
    same(back.compute(), on_threads(week()))
    few = back[back.x > 0.5][["x"]].x.sum()
    assert few.compute() == pytest.approx(on_threads(week()[week().x > 0.5].x.sum()))


def test_csv_there_and_back(executor: Executor, tmp_path: Path) -> None:
    frame = week().reset_index()
    frame.to_csv(str(tmp_path / "week-*.csv"), index=False)
    back = dd.read_csv(str(tmp_path / "week-*.csv"), parse_dates=["timestamp"])
    same(back[["id", "x"]].sum().compute(), on_threads(frame[["id", "x"]].sum()))
    frame.to_csv(str(tmp_path / "one.csv"), index=False, single_file=True)
    assert len(pd.read_csv(tmp_path / "one.csv")) == 7 * 720


def test_persisted_frames_stay_and_can_be_used(executor: Executor) -> None:
    expected = on_threads(week())
    frame = executor.persist(week())
    futures = futures_of(frame)
    assert len(futures) == frame.npartitions == 7
    wait(futures)
    assert (frame.divisions, list(frame.columns)) == (week().divisions, list(week().columns))
    same(frame.x.sum().compute(), expected.x.sum())
    same(frame.compute(), expected)
    same(frame.loc["2000-01-02"].compute(), expected.loc["2000-01-02"])
    same(frame.set_index("id").y.max().compute(), expected.y.max())
    (again,) = dask.persist(frame[frame.x > 0])
    same(again.compute(), expected[expected.x > 0])
    same(frame.persist().compute(), expected)
    series = executor.persist(frame.x)
    same(series.compute(), expected.x)
    count, total = dask.compute(frame.index.size, frame.y.sum())
    assert (count, total) == (len(expected), pytest.approx(expected.y.sum()))
    keys = {future.key for future in futures}
    del frame, futures, again, series
    wait_until(lambda: not keys & executor.who_has().keys(), what="the parts are freed")


def test_a_persisted_frame_is_persisted_by_the_default_too(executor: Executor) -> None:
    frame = week().persist()
    assert len(futures_of(frame)) == 7
    same(frame.name.value_counts().compute(), on_threads(week().name.value_counts()))


def test_futures_are_partitions(executor: Executor) -> None:
    futures = executor.map(square_frame, range(5), pure=False)
    frame = dd.from_delayed(futures, meta=square_frame(0))
    assert frame.square.sum().compute(scheduler=executor) == 30
    expected = pd.concat([square_frame(n) for n in range(5)])
    same(executor.compute(frame).result(), expected)
    persisted = executor.persist(frame[frame.n > 1])
    del frame, futures
    same(persisted.compute(), expected[expected.n > 1])


def test_scattered_frames_are_partitions(executor: Executor) -> None:
    parts = executor.scatter([square_frame(n) for n in range(4)], hash=False)
    frame = dd.from_delayed(parts, verify_meta=False, meta=square_frame(0))
    assert dict(frame.max().compute()) == {"n": 3, "square": 9}


def test_a_frame_to_pieces_and_back(executor: Executor) -> None:
    pieces = [dask.delayed(len)(piece) for piece in week().to_delayed()]
    assert executor.gather(executor.compute(pieces)) == [720] * 7
    frame = dd.from_delayed(week().to_delayed(), meta=week()._meta, divisions=week().divisions)
    same(frame.compute(), on_threads(week()))


def test_a_frame_to_an_array_and_to_a_bag(executor: Executor) -> None:
    array = week()[["x", "y"]].to_dask_array(lengths=True)
    assert array.shape == (5040, 2)
    np.testing.assert_allclose(array.mean(axis=0).compute(), on_threads(week()[["x", "y"]].mean()))
    assert len(week().name.to_bag().distinct().compute()) == on_threads(week().name.nunique())


def test_several_frames_at_once(executor: Executor) -> None:
    df = week()
    both = dask.compute(df.x.sum(), df.y.mean(), df.name.value_counts(), scheduler=executor)
    expected = on_threads(df)
    assert both[:2] == (pytest.approx(expected.x.sum()), pytest.approx(expected.y.mean()))
    assert dict(both[2]) == dict(expected.name.value_counts())
    futures = executor.compute([df.x.sum(), df.x.max()])
    assert executor.gather(futures) == [pytest.approx(expected.x.sum()), expected.x.max()]


def test_errors_are_the_users(executor: Executor) -> None:
    def broken(part: Any) -> Any:
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        week().map_partitions(broken, meta=week()._meta).compute(scheduler=executor)
