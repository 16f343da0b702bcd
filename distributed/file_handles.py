"""Open files as arguments: what can be opened again by its path travels by that, and is read-only there."""

from __future__ import annotations

import io
import mmap
import os
from collections.abc import Callable
from typing import Any

from distributed.errors import SerializationError

_STAYS = "an open file stays in its process: give the task its path, and open it there"


def reduce_handle(value: Any) -> Any:
    """How to open the file of the value again, in the form of `__reduce__`; or NotImplemented."""
    reducer = _REDUCERS.get(type(value).__module__.partition(".")[0])
    return NotImplemented if reducer is None else reducer(value)


def _path_of(what: str, path: str) -> str:
    if not os.path.exists(path):
        raise SerializationError(
            f"{what} is in no file that a worker could open: write it to a file, or send its data"
        )
    return os.path.abspath(path)


def _reduce_h5py(value: Any) -> Any:
    import h5py

    if not isinstance(value, (h5py.Dataset, h5py.Group)):
        return NotImplemented
    if not value:
        raise SerializationError("its HDF5 file has been closed: open it again")
    file = value.file
    path = _path_of(f"the HDF5 object {value.name}", os.fsdecode(file.filename))
    if file.mode != "r":
        raise SerializationError(
            f"the HDF5 file {path} is open for writing: for tasks to read it, open it with mode 'r'"
        )
    return _open_h5py, (path, value.name)


def _open_h5py(path: str, name: str) -> Any:
    import h5py

    file = h5py.File(path, "r")
    return file if name == "/" else file[name]


def _reduce_netcdf(value: Any) -> Any:
    import netCDF4

    if isinstance(value, netCDF4.Variable):
        settings = (value.mask, value.scale, value.always_mask)
        group, name = value.group(), value.name
    elif isinstance(value, netCDF4.Dataset):
        settings, group, name = None, value, None
    else:
        return NotImplemented
    root = group
    while root.parent is not None:
        root = root.parent
    if not root.isopen():
        raise SerializationError("its netCDF file has been closed: open it again")
    path = _path_of("the netCDF dataset", group.filepath())
    return _open_netcdf, (path, group.path, name, settings)


def _open_netcdf(path: str, group: str, name: str | None, settings: Any) -> Any:
    import netCDF4

    dataset = netCDF4.Dataset(path, "r", keepweakref=False)
    found = dataset if group == "/" else dataset[group]
    if name is None:
        return found
    variable = found.variables[name]
    mask, scale, always_mask = settings
    variable.set_auto_mask(mask)
    variable.set_auto_scale(scale)
    variable.set_always_mask(always_mask)
    return variable


def _reduce_file(value: Any) -> Any:
    if isinstance(value, (io.BufferedIOBase, io.FileIO)) and not isinstance(value, io.BytesIO):
        raise SerializationError(_STAYS)
    return NotImplemented


def _reduce_pyarrow(value: Any) -> Any:
    import pyarrow

    if isinstance(value, pyarrow.NativeFile) or type(value).__name__ == "ParquetFile":
        raise SerializationError(_STAYS)
    return NotImplemented


class MappedFile:
    """Stands for a memory map of a file: what is unpickled is a map of that file."""

    def __init__(self, reduced: tuple[Any, ...]) -> None:
        self._reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reduced


def by_path(value: Any) -> Any:
    """A MappedFile in place of a memory map that was opened read-only. Others are copied, as any array:
    the session may write to them at any time, and the call has to find what was there when it was made."""
    path = getattr(value, "filename", None)
    if path is None or value.mode != "r" or value.nbytes == 0 or not os.path.exists(path):
        return value
    import numpy as np

    whole = np.frombuffer(
        value._mmap, np.uint8
    )  # from the page in which the array of the file begins
    first, end = _bounds(value)
    begin = value.offset - value.offset % mmap.ALLOCATIONGRANULARITY + first - _address(whole)
    layout = (value.shape, value.dtype, _address(value) - first, value.strides)
    return MappedFile((_map, (os.path.abspath(path), begin, end - first, *layout)))


def _address(array: Any) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _bounds(array: Any) -> tuple[int, int]:
    """The addresses of its first byte, and of the one after its last."""
    first = last = _address(array)
    for count, stride in zip(array.shape, array.strides, strict=True):
        if stride < 0:
            first += (count - 1) * stride
        else:
            last += (count - 1) * stride
    return first, last + array.itemsize


def _map(
    path: str,
    begin: int,
    size: int,
    shape: tuple[int, ...],
    dtype: Any,
    place: int,
    strides: tuple[int, ...],
) -> Any:
    import numpy as np

    mapped = np.memmap(path, np.uint8, "r", begin, (size,))
    array = np.ndarray(shape, dtype, mapped, place, strides).view(np.memmap)
    # A view of what is not a memmap has none of these. With them it may travel by its path once more.
    for name in ("_mmap", "filename", "mode", "offset"):
        setattr(array, name, getattr(mapped, name))
    return array


_REDUCERS: dict[str, Callable[[Any], Any]] = {
    "_io": _reduce_file,
    "h5py": _reduce_h5py,
    "netCDF4": _reduce_netcdf,
    "pyarrow": _reduce_pyarrow,
}
