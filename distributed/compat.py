"""The dask spellings of 2016 on the dask of today, and an Executor where dask expects its own client.

`install` runs when `distributed` is imported. It gives a meaning only to calls that dask refuses or
ignores, as `persist(get=)`: names that dask does not have are added, and the functions that choose a
scheduler are wrapped. The one exception, see `_InOrder`, is explained in docs/decisions/0007-dask.md.
"""

from __future__ import annotations

import functools
import importlib.machinery
import sys
import types
from collections.abc import Callable
from typing import Any

import dask
from dask._expr import Expr, HLGExpr
from dask.delayed import Delayed, delayed
from toolz import curry

from distributed.executor import Executor
from distributed.expressions import is_mixed

# With a cluster dask would choose p2p, which is made of the inside of another scheduler.
_CONFIG: dict[str, Any] = {
    "dataframe": {"shuffle": {"method": "tasks"}},
    "array": {"rechunk": {"method": "tasks"}},
}


def install() -> None:
    """Make all of this known to dask. Once; another call changes nothing."""
    if isinstance(getattr(dask, "set_options", None), type):
        return
    dask.set_options = set_options
    dask.imperative = sys.modules["dask.imperative"] = _imperative()
    dask.base.get_scheduler = _choosing_executors(dask.base.get_scheduler)
    dask.base.persist = dask.persist = _taking_get(dask.base.persist)
    _set_defaults()


# Spellings of 2016 -----------------------------------------------------------------------------


@curry
def do(function: Callable[..., Any], pure: bool = False) -> Callable[..., Delayed]:
    """Make a function lazy: `do(f)(x)` is a value to be computed. Today's name is `dask.delayed`.

    >>> do(max)(1, 2).compute(scheduler="sync")
    2
    """
    return delayed(function, pure=pure)  # type: ignore[no-any-return]


def value(val: Any, name: str | None = None) -> Delayed:
    """A value as something to be computed, so that its methods and operators are lazy.

    >>> (value([1, 2]) + [3]).compute(scheduler="sync")
    [1, 2, 3]
    """
    return delayed(val, name=name)


class set_options(dask.config.set):  # type: ignore[misc]
    """Options of dask, for good as a call, or for a while in a `with`. Today's name is `dask.config.set`.

    >>> with set_options(get=dask.get):
    ...     dask.config.get("scheduler") is dask.get
    True
    """

    def __init__(self, arg: Any = None, **options: Any) -> None:
        if "get" in options:
            options["scheduler"] = options.pop("get")
        super().__init__(arg, **options)


def _imperative() -> types.ModuleType:
    module = types.ModuleType("dask.imperative", "What is dask.delayed today.")
    module.__spec__ = importlib.machinery.ModuleSpec("dask.imperative", None)
    module.__dict__.update(do=do, value=value, Value=Delayed, compute=dask.compute)
    return module


def _taking_get(persist: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(persist)
    def wrapper(*args: Any, get: Any = None, **kwargs: Any) -> Any:
        if get is not None:
            kwargs.setdefault("scheduler", get)
        return persist(*args, **kwargs)

    return wrapper


# Choosing a scheduler --------------------------------------------------------------------------


def _choosing_executors(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def get_scheduler(
        get: Any = None, scheduler: Any = None, collections: Any = None, cls: Any = None
    ) -> Any:
        if scheduler is None:
            get, scheduler = None, get
        if isinstance(scheduler, Executor):
            scheduler = scheduler.get
        chosen = original(get=get, scheduler=scheduler, collections=collections, cls=cls)
        executor = getattr(chosen, "__self__", None)
        if isinstance(executor, Executor) and collections and is_mixed(collections):
            return _InOrder(executor, list(collections)).get
        return chosen

    return get_scheduler


class _InOrder:
    """Computes collections of several kinds for `dask.compute`, which sorts them by kind and takes the
    results to be in the order that they had before."""

    def __init__(self, executor: Executor, collections: list[Any]) -> None:
        self._executor = executor
        self._collections = collections
        self.persist = executor.persist

    def get(self, expr: Expr, keys: Any, **kwargs: Any) -> list[Any]:
        optimized = any(part.low_level_optimizer for part in expr.find_operations(HLGExpr))
        results: list[Any] = self._executor.compute(
            self._collections, sync=True, optimize_graph=optimized, **kwargs
        )
        return results


# Defaults --------------------------------------------------------------------------------------


# What dask leaves out of tracebacks, as it leaves out its own lines and those of its own client.
_HIDDEN = r"distributed[\\\/](computing|connection|executor|futures|gathering|waiting)\.py"


def _set_defaults() -> None:
    """Also for after a `dask.config.refresh()`; what the user has set goes first."""
    hidden = [*dask.config.get("admin.traceback.shorten", ()), _HIDDEN]
    _CONFIG["admin"] = {"traceback": {"shorten": hidden}}
    known = dask.config.merge(*dask.config.defaults)
    dask.config.defaults.insert(0, _CONFIG)
    dask.config.update(dask.config.config, _CONFIG, priority="new-defaults", defaults=known)
