"""Lets `from dask.imperative import do` stand before `import distributed`, where sorted imports have it.

While dask is imported it asks installed packages for the sizes of their objects, and calls `register`.
That only leaves a note with Python's import system: whoever imports `dask.imperative` imports
`distributed`, which makes that module (distributed/compat.py). This module imports neither dask nor
distributed, and stands beside the package because to import a module of it would import all of it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

NAME = "dask.imperative"


class ImperativeFinder(MetaPathFinder, Loader):
    """Finds the one module, after all other finders have not."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname == NAME else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        importlib.import_module("distributed")
        return sys.modules[NAME]

    def exec_module(self, module: ModuleType) -> None:
        """It has all that it needs."""


def register(sizeof: object) -> None:
    """Called by dask, which offers its table of sizes; that is not what we are after."""
    if not any(isinstance(finder, ImperativeFinder) for finder in sys.meta_path):
        sys.meta_path.append(ImperativeFinder())
