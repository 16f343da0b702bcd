"""Dask arrays, and what xarray makes of them, on a cluster: the same values as on dask's own threads."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from distributed import Executor, futures_of, wait
from tests.support import on_threads, wait_until

NUMBERS = np.random.default_rng(0).normal(size=(120, 80))
WITH_NAN = np.where(NUMBERS > 1, np.nan, NUMBERS)
STACK = np.random.default_rng(1).normal(size=(4, 40, 40))


def numbers() -> Any:
    return da.from_array(NUMBERS, chunks=(40, 30))


def blur(block: Any) -> Any:
    return (block + sum(np.roll(block, by, axis) for by in (1, -1) for axis in (1, 2))) / 5


ARRAYS: dict[str, Callable[[], Any]] = {
    "mean": lambda: numbers().mean(),
    "sum": lambda: numbers().sum(axis=0),
    "std": lambda: numbers().std(axis=1, ddof=1),
    "transpose and sum": lambda: (numbers() + 1).T.sum(axis=1),
    "matmul": lambda: numbers() @ numbers().T,
    "tensordot": lambda: da.tensordot(numbers(), numbers(), axes=((0,), (0,))),
    "slices": lambda: numbers()[3:100:7, ::-1][:, 5:],
    "lists": lambda: numbers()[[5, 1, 77]][:, [0, 0, 79]],
    "unknown chunks": lambda: numbers()[numbers()[:, 0] > 0].sum(axis=1),
    "rechunk": lambda: numbers().rechunk((10, 80)).rechunk((120, 7)) + 1,
    "stencil": lambda: da.from_array(STACK, chunks=(2, 20, 20)).map_overlap(
        blur, depth=(0, 1, 1), boundary="reflect"
    ),
    "map_blocks": lambda: numbers().map_blocks(
        lambda block, block_info=None: block + block_info[0]["chunk-location"][0], dtype=float
    ),
    "singular values": lambda: da.linalg.svd(numbers().rechunk((30, 80)))[1],
    "fft": lambda: da.fft.fft(numbers().rechunk((40, 80)), axis=1),
    "random": lambda: da.random.default_rng(7).normal(size=(90, 50), chunks=(30, 25)),
    "random of a state": lambda: da.random.RandomState(7).random_sample((60,), chunks=20).cumsum(0),
    "histogram": lambda: da.histogram(numbers(), bins=12, range=(-4, 4))[0],
    "percentile": lambda: da.percentile(numbers()[:, 0].rechunk(-1), [5, 50, 95]),
    "masked": lambda: da.ma.masked_greater(numbers(), 1).sum(axis=0),
    "not a number": lambda: da.from_array(WITH_NAN, chunks=50) * 2,
    "nanmean": lambda: da.nanmean(da.from_array(WITH_NAN, chunks=50), axis=0),
    "mean of nan": lambda: da.from_array(WITH_NAN, chunks=50).mean(),
    "concatenate and stack": lambda: da.stack([da.concatenate([numbers(), numbers() + 1])] * 2),
    "argmax": lambda: numbers().argmax(axis=0),
    "empty": lambda: numbers()[:0],
}


@pytest.mark.parametrize("name", ARRAYS)
def test_values(executor: Executor, name: str) -> None:
    array = ARRAYS[name]()
    expected = on_threads(array)
    for value in (array.compute(scheduler=executor), executor.compute(array).result()):
        assert type(value) is type(expected)
        assert value.dtype == expected.dtype
        np.testing.assert_allclose(value, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["matmul", "stencil", "unknown chunks", "rechunk"])
def test_values_without_optimization(executor: Executor, name: str) -> None:
    array = ARRAYS[name]()
    value = executor.compute(array, optimize_graph=False, sync=True)
    np.testing.assert_allclose(value, on_threads(array), rtol=1e-12)


def test_a_factorization_is_one(executor: Executor) -> None:
    tall = da.random.default_rng(3).normal(size=(400, 6), chunks=(50, 6))
    u, s, v = executor.compute(*da.linalg.svd(tall), sync=True)
    np.testing.assert_allclose(u * s @ v, on_threads(tall))
    q, r, same = executor.gather(executor.compute([*da.linalg.qr(tall), tall]))
    np.testing.assert_allclose(q @ r, same)


class File:
    """A file of numbers that is written to in parts, from anywhere."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path = str(path)
        np.lib.format.open_memmap(self.path, "w+", np.float64, shape).flush()

    def __setitem__(self, where: Any, part: Any) -> None:
        content = np.load(self.path, mmap_mode="r+")
        content[where] = part
        content.flush()


def test_store(executor: Executor, tmp_path: Path) -> None:
    """Memory of this process cannot be written to from elsewhere; a file can."""
    arrays = [numbers() + 1, numbers().sum(axis=0)]
    files = [File(tmp_path / f"{n}.npy", array.shape) for n, array in enumerate(arrays)]
    da.store(arrays, files)  # with the default: this executor
    for array, file in zip(arrays, files, strict=True):
        np.testing.assert_allclose(np.load(file.path), on_threads(array))
    later = da.store(arrays[0] + 1, files[0], compute=False)
    executor.compute(later, sync=True)
    np.testing.assert_allclose(np.load(files[0].path), NUMBERS + 2)
    stored = da.store(arrays[0], files[0], return_stored=True, load_stored=False)
    assert stored.shape == NUMBERS.shape


def test_to_npy_stack_and_back(executor: Executor, tmp_path: Path) -> None:
    da.to_npy_stack(str(tmp_path / "stack"), numbers())  # with the default: this executor
    back = da.from_npy_stack(str(tmp_path / "stack"))
    np.testing.assert_array_equal(back.compute(), NUMBERS)


def test_persisted_arrays_stay_and_can_be_used(executor: Executor) -> None:
    array = executor.persist(numbers() + 1)
    futures = futures_of(array)
    assert len(futures) == array.npartitions == 9
    wait(futures)
    assert all(future.key in executor.who_has() for future in futures)
    assert (array.chunks, array.dtype) == (numbers().chunks, np.float64)
    np.testing.assert_allclose(array.T.sum(axis=0).compute(), NUMBERS.sum(axis=1) + 80)
    np.testing.assert_allclose(executor.compute(array, sync=True), NUMBERS + 1)
    np.testing.assert_allclose(dask.compute(array, array[0])[1], NUMBERS[0] + 1)
    again = executor.persist(array * 2)
    np.testing.assert_allclose(again.compute(), (NUMBERS + 1) * 2)
    assert executor.persist(array).compute().shape == array.shape
    keys = {future.key for future in futures}
    del array, futures, again
    wait_until(lambda: not keys & executor.who_has().keys(), what="the parts are freed")


def test_parts_that_are_not_used_need_not_be_computed(executor: Executor) -> None:
    def check(block: Any, block_info: Any = None) -> Any:
        if block_info and block_info[0]["chunk-location"][0] == 2:
            raise RuntimeError("nobody needs this one")
        return block

    array = numbers().map_blocks(check, dtype=float)
    np.testing.assert_array_equal(array[:50].compute(scheduler=executor), NUMBERS[:50])
    with pytest.raises(RuntimeError, match="nobody needs this one"):
        array.compute(scheduler=executor)


def test_futures_are_blocks(executor: Executor) -> None:
    futures = executor.scatter([NUMBERS[:60], NUMBERS[60:]], hash=False)
    futures.append(executor.submit(operator.add, futures[0], 1))
    shape = (60, 80)
    blocks = [da.from_delayed(future, shape, dtype=float) for future in futures]
    array = da.concatenate(blocks)
    expected = np.concatenate([NUMBERS, NUMBERS[:60] + 1])
    np.testing.assert_array_equal(array.compute(scheduler=executor), expected)
    np.testing.assert_array_equal((array + numbers()[0]).compute(), expected + NUMBERS[0])
    np.testing.assert_array_equal(executor.persist(array).compute(), expected)


def test_a_future_is_an_operand_of_map_blocks(executor: Executor) -> None:
    weights = executor.scatter(np.arange(30.0), hash=False)
    array = numbers()[:, :60].map_blocks(operator.mul, weights, dtype=float)
    expected = NUMBERS[:, :60] * np.tile(np.arange(30.0), 2)
    np.testing.assert_array_equal(array.compute(scheduler=executor), expected)


def test_scattered_data_is_an_array_of_one_block(executor: Executor) -> None:
    future = executor.scatter(NUMBERS, hash=False)
    array = da.from_delayed(dask.delayed(future), NUMBERS.shape, dtype=float).rechunk((40, 30))
    np.testing.assert_allclose((array @ array.T).compute(), NUMBERS @ NUMBERS.T)


def test_arrays_of_objects_and_of_records(executor: Executor) -> None:
    objects = np.array([{"a": 1}, None, "text", (1, 2)], dtype=object)
    array = da.from_array(objects, chunks=2)
    assert array.compute(scheduler=executor).tolist() == objects.tolist()
    records = np.array([(1, 2.5), (3, 4.5)], dtype=[("a", int), ("b", float)])
    assert da.from_array(records, chunks=1)["b"].sum().compute(scheduler=executor) == 7


def test_values_can_be_changed_in_place(executor: Executor) -> None:
    value = (numbers() + 1).rechunk(-1).compute(scheduler=executor)
    value += 1
    np.testing.assert_allclose(value, NUMBERS + 2)


# xarray ----------------------------------------------------------------------------------------


def cubes() -> Any:
    times = np.arange("2000-01-01", "2000-03-01", dtype="datetime64[D]")
    rng = np.random.default_rng(2)
    return xr.Dataset(
        {
            "temperature": (("time", "x"), rng.normal(15, 8, (60, 6))),
            "rain": (("time", "x"), rng.random((60, 6))),
            "height": ("x", np.arange(6.0)),
        },
        coords={"time": times, "x": np.linspace(0, 1, 6)},
    ).chunk({"time": 15, "x": 3})


CUBES: dict[str, Callable[[Any], Any]] = {
    "dataset": lambda ds: ds,
    "mean": lambda ds: ds.mean("time"),
    "one array": lambda ds: ds.temperature.std(),
    "groupby": lambda ds: ds.groupby("time.month").mean(),
    "anomalies": lambda ds: (
        ds.temperature.groupby("time.month") - ds.temperature.groupby("time.month").mean()
    ),
    "resample": lambda ds: ds.rain.resample(time="7D").sum(),
    "rolling": lambda ds: ds.temperature.rolling(time=5, center=True).mean(),
    "where": lambda ds: ds.where(ds.rain > 0.5).max("x"),
    "select": lambda ds: ds.sel(time="2000-02").isel(x=[0, 5]),
    "apply_ufunc": lambda ds: xr.apply_ufunc(
        np.hypot, ds.temperature, ds.rain, dask="parallelized", output_dtypes=[float]
    ),
    "apply_ufunc along an axis": lambda ds: xr.apply_ufunc(
        np.median,
        ds.rain.chunk({"time": -1}),
        input_core_dims=[["time"]],
        kwargs={"axis": -1},
        dask="parallelized",
        output_dtypes=[float],
    ),
}


@pytest.mark.parametrize("name", CUBES)
def test_labelled_arrays(executor: Executor, name: str) -> None:
    labelled = CUBES[name](cubes())
    expected = on_threads(labelled)
    xr.testing.assert_allclose(labelled.compute(scheduler=executor), expected)
    xr.testing.assert_allclose(labelled.compute(), expected)  # the default: this executor
    xr.testing.assert_allclose(executor.compute(labelled).result(), expected)
    xr.testing.assert_allclose(dask.compute(0, labelled, scheduler=executor)[1], expected)


@pytest.mark.parametrize("how", ["method", "dask", "executor"])
def test_persisted_labelled_arrays(executor: Executor, how: str) -> None:
    for labelled in (cubes(), cubes().rain):
        if how == "method":
            persisted = labelled.persist()
        elif how == "dask":
            (persisted,) = dask.persist(labelled, scheduler=executor)
        else:
            persisted = executor.persist(labelled)
        assert type(persisted) is type(labelled)
        assert persisted.chunks == labelled.chunks
        wait(futures_of(persisted))
        xr.testing.assert_allclose(persisted.mean().compute(), on_threads(labelled.mean()))
        xr.testing.assert_allclose(persisted.compute(), on_threads(labelled))


def test_labelled_and_other_collections_together(executor: Executor) -> None:
    ds = cubes()
    mean, ten, total = dask.compute(
        ds.mean(), dask.delayed(10), ds.rain.data.sum(), scheduler=executor
    )
    xr.testing.assert_allclose(mean, on_threads(ds.mean()))
    assert ten == 10
    assert total == pytest.approx(float(mean.rain) * 360)


def test_xarray_writes_netcdf_with_two_threads_a_worker(tmp_path: Path) -> None:
    """It takes two locks in the order of their ids: these have to be the same in all tasks of a process."""
    ones = xr.DataArray(np.ones((40, 4)), dims=("x", "y"))
    data = xr.Dataset({"a": ones, "b": ones}).chunk(x=2)
    with Executor(n_workers=1, threads_per_worker=2):
        data.to_netcdf(tmp_path / "file.nc", engine="netcdf4")
    with xr.open_dataset(tmp_path / "file.nc") as written:
        assert float(written.a.sum()) == float(written.b.sum()) == 160
