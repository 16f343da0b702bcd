"""Open files as arguments and results."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pyarrow
import pytest

from distributed.errors import SerializationError
from distributed.packing import pack_call, unpack_call
from distributed.serialize import dumps, pickle_bytes
from distributed.unpickling import unpickle, unpickle_frames


def moved(value: Any) -> Any:
    """The value as a worker gets it, and passes it on."""
    return unpickle(pickle_bytes(unpickle(pickle_bytes(value))))


@pytest.fixture
def hdf(tmp_path: Path) -> Iterator[h5py.File]:
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["group/x"] = np.arange(6.0).reshape(2, 3)
    with h5py.File(tmp_path / "file.h5") as file:
        yield file


def test_an_hdf5_dataset_travels_by_the_path_of_its_file(hdf: h5py.File) -> None:
    dataset = moved({"a": [hdf["group/x"]]})["a"][0]
    assert type(dataset) is h5py.Dataset
    assert (dataset[:] == hdf["group/x"][:]).all()
    assert (dataset.name, dataset.file.mode) == ("/group/x", "r")


def test_groups_and_files_travel_too(hdf: h5py.File) -> None:
    group, file = moved([hdf["group"], hdf])
    assert (type(group), group.name, list(group)) == (h5py.Group, "/group", ["x"])
    assert (type(file), file.mode, list(file)) == (h5py.File, "r", ["group"])


def test_an_hdf5_file_that_no_worker_could_read_is_refused(hdf: h5py.File, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file["x"] = [1]
        with pytest.raises(SerializationError, match="is open for writing: for tasks to read it"):
            pickle_bytes(file["x"])
    with pytest.raises(SerializationError, match="its HDF5 file has been closed: open it again"):
        pickle_bytes(file)
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        file["x"] = [1]
        with pytest.raises(SerializationError, match="/x is in no file that a worker could open"):
            pickle_bytes(file["x"])


@pytest.fixture
def netcdf(tmp_path: Path) -> Iterator[Any]:
    with netCDF4.Dataset(tmp_path / "file.nc", "w") as file:
        file.createDimension("x", 4)
        packed = file.createVariable("packed", "i2", ("x",))
        packed.scale_factor = 0.5
        packed[:] = np.arange(4)
        file.createGroup("a/b").createVariable("y", "f8", ("x",))[:] = np.arange(4)
    with netCDF4.Dataset(tmp_path / "file.nc") as file:
        yield file


def test_a_netcdf_variable_travels_by_the_path_of_its_file(netcdf: Any) -> None:
    inner, packed = moved([netcdf["a/b/y"], netcdf["packed"]])
    gc.collect()  # the datasets belong to the variables
    assert type(inner) is netCDF4.Variable
    assert (inner[:] == np.arange(4)).all()
    assert (packed[:] == np.arange(4)).all()
    netcdf["packed"].set_auto_maskandscale(False)
    assert moved(netcdf["packed"])[:].tolist() == [0, 2, 4, 6]


def test_netcdf_groups_and_datasets_travel_too(netcdf: Any) -> None:
    group, dataset = moved([netcdf["a/b"], netcdf])
    assert (type(group), list(group.variables)) == (netCDF4.Group, ["y"])
    assert (type(dataset), list(dataset.variables)) == (netCDF4.Dataset, ["packed"])


def test_a_netcdf_dataset_that_no_worker_could_read_is_refused() -> None:
    dataset = netCDF4.Dataset("memory", "w", memory=1000)
    with pytest.raises(SerializationError, match="is in no file that a worker could open"):
        pickle_bytes(dataset)
    dataset.close()
    with pytest.raises(SerializationError, match="its netCDF file has been closed"):
        pickle_bytes(dataset)


NUMBERS = np.arange(2000.0)


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    NUMBERS.tofile(tmp_path / "numbers")
    return tmp_path / "numbers"


CUTS: dict[str, Any] = {
    "all": lambda m: m,
    "a part": lambda m: m[700:900],
    "backwards": lambda m: m[::-3],
    "transposed": lambda m: m.reshape(9, 100)[2:5, ::7].T,
    "one": lambda m: m[5:6].reshape(()),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("offset", [0, 8, 8192])
def test_a_map_of_a_file_travels_by_its_path(numbers: Path, cut: Any, offset: int) -> None:
    array = cut(np.memmap(numbers, float, "r", offset, (900,)))
    packed = pack_call((array,), {})[0]
    assert max(map(len, (pickle_bytes(array), *dumps(array), packed))) < 500
    for copy in (unpickle_frames(dumps(array)), unpack_call(packed, {})[0][0]):
        assert type(copy) is np.memmap
        assert (copy.dtype, copy.shape, copy.strides) == (array.dtype, array.shape, array.strides)
        assert (copy == array).all() and not copy.flags.writeable
        assert (copy.filename, copy.mode) == (str(numbers), "r")
        again = dumps(copy)
        assert max(map(len, again)) < 500
        assert (unpickle_frames(again) == array).all()


@pytest.mark.parametrize("mode", ["r+", "c"])
def test_a_map_that_may_be_written_to_is_copied(numbers: Path, mode: Any) -> None:
    array = np.memmap(numbers, float, mode)
    blob = pickle_bytes(array)
    array[0] = 7
    assert unpickle(blob)[0] == 0


def test_a_map_of_a_file_that_is_gone_is_copied(numbers: Path) -> None:
    array = np.memmap(numbers, float, "r")
    numbers.unlink()
    assert (moved(array) == NUMBERS).all()


def test_open_files_are_refused_with_what_to_do(numbers: Path) -> None:
    with pyarrow.OSFile(str(numbers)) as file, pytest.raises(SerializationError, match="its path"):
        pickle_bytes(file)
    with numbers.open("rb") as file, pytest.raises(SerializationError, match="its path"):
        pickle_bytes({"a": file})
