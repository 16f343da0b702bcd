"""Modules that are loaded when a scheduler, a nanny or a worker starts, as `--preload` says."""

from __future__ import annotations

import asyncio
import atexit
import importlib
import importlib.util
import inspect
import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import click

from distributed.errors import DistributedError

logger = logging.getLogger("distributed.preloads")


class PreloadFailed(DistributedError):
    """A module of `--preload` cannot be imported, or its `dask_setup` has raised."""


def load_preloads(names: Sequence[str], arguments: Sequence[str], process: Any) -> None:
    """Import each module, and let it set up the process that it is in: a Broker, a Nanny or a Worker.

    A name is that of a module, or the path of a file that ends with '.py'. If the module has a function
    `dask_setup`, that is called with the process; a click command is given the arguments as well. What
    `dask_teardown` does, if it is there, is done when Python's exit functions run.

    Raises PreloadFailed, and logs the traceback.
    """
    for name in names:
        try:
            _load(name, arguments, process)
        except Exception as error:
            where = type(error), error, _in_the_module(error.__traceback__)
            logger.error("--preload %s has failed", name, exc_info=where)
            (first, *_) = traceback.format_exception_only(error)[-1].splitlines()
            raise PreloadFailed(f"--preload {name} has failed: {first}") from error
        except SystemExit as error:
            raise PreloadFailed(f"--preload {name} ended with {error}") from error


def _load(name: str, arguments: Sequence[str], process: Any) -> None:
    module = _import_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    setup = getattr(module, "dask_setup", None)
    if isinstance(setup, click.Command):
        with setup.make_context("dask_setup", list(arguments), allow_extra_args=False) as context:
            assert setup.callback is not None
            _complete(setup.callback(process, *context.args, **context.params))
    elif setup is not None:
        _complete(setup(process))
    teardown = getattr(module, "dask_teardown", None)
    if teardown is not None:
        atexit.register(lambda: _complete(teardown(process)))


def _in_the_module(found: TracebackType | None) -> TracebackType | None:
    """The traceback from where the module begins: the lines that call it help nobody."""
    while found is not None:
        file = found.tb_frame.f_code.co_filename
        if file != __file__ and "importlib" not in file:
            return found
        found = found.tb_next
    return None


def _import_file(path: Path) -> ModuleType:
    """The module is called like the file, so that what it defines can be pickled by name."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _complete(value: Any) -> None:
    if inspect.iscoroutine(value):
        asyncio.run(value)
