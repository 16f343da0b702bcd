"""Which versions of what a process has."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from distributed.version import __version__

# What decides whether data and functions of one process are understood by another.
PACKAGES = (
    "dask",
    "cloudpickle",
    "msgpack",
    "pyzmq",
    "numpy",
    "pandas",
    "pyarrow",
    "toolz",
)


def versions_of(others: Iterable[str] = ()) -> dict[str, str | None]:
    """{package: version}, None for what is not installed.

    >>> versions_of(["no-such-package"])["no-such-package"] is None
    True
    """
    found: dict[str, str | None] = {"python": platform.python_version()}
    found["distributed"] = __version__  # of what is imported, which may not be what is installed
    for name in (*PACKAGES, *others):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def check_same(found: Mapping[str, Any]) -> None:
    """Raises ValueError that names what differs between the client and workers."""
    differences = [
        f"{name} is {theirs} on {address}, {found['client'][name]} here"
        for address, versions in found["workers"].items()
        for name, theirs in versions.items()
        if theirs != found["client"][name]
    ]
    if differences:
        raise ValueError(f"versions differ: {'; '.join(differences)}")
