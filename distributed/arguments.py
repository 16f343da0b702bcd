"""What callers of an Executor write, checked and made into what goes on the wire."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from inspect import signature
from math import inf, isfinite
from typing import Any, NoReturn, TypeAlias

from distributed.core.entries import Item
from distributed.keys import wire_key
from distributed.logs import say_once
from distributed.packing import MAX_ARGUMENT_BYTES, are_plain, pack_call, pack_plain
from distributed.recipes import Function, call_key, fresh_key, plain_key
from distributed.resources import check_resources
from distributed.units import optional_seconds

# Names, addresses or hosts of workers; None for all.
Workers: TypeAlias = "str | Iterable[str] | None"
# What is more is better scattered.
LARGE_ARGUMENT_BYTES = 10_000_000
# More would be a mistake.
MAX_RETRIES = 1_000_000


def call_item(
    function: Function,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    key: Any,
    pure: bool,
    order: int = 0,
) -> Item:
    plain = are_plain(args, kwargs)
    arguments, dependencies = (pack_plain(args, kwargs), None) if plain else pack_call(args, kwargs)
    if len(arguments) > MAX_ARGUMENT_BYTES:
        raise ValueError(
            f"the arguments of {function.name} take {len(arguments):,} bytes, more than the limit of "
            f"{MAX_ARGUMENT_BYTES:,}: send large data with scatter() and pass the future"
        )
    if len(arguments) > LARGE_ARGUMENT_BYTES:
        say_once(
            f"the arguments of {function.name} take {len(arguments) / 1e6:.0f} MB, which go through the "
            "scheduler with each call: scatter() sends large data once, straight to the workers"
        )
    if key is not None:
        wire = wire_key(key, call_key(function, args, kwargs)[-32:])
    elif pure:
        wire = (plain_key if plain else call_key)(function, args, kwargs)
    else:
        wire = fresh_key(function.name)
    return wire, arguments, dependencies, order


def nth_key(key: Any, index: int) -> Any:
    if key is None or isinstance(key, str):
        return key and f"{key}-{index}"
    return key[index]


def task_options(
    workers: Any,
    allow_other_workers: bool,
    retries: int,
    priority: float,
    resources: Mapping[str, float] | None = None,
    time_limit: Any = None,
) -> dict[str, Any] | None:
    """What goes on the wire; None if nothing was asked for. Raises TypeError or ValueError."""
    retries, priority = operator.index(retries), float(priority)
    if not 0 <= retries <= MAX_RETRIES:
        raise ValueError(f"retries are a number from 0 to {MAX_RETRIES:,}, not {retries}")
    if not isfinite(priority):
        raise ValueError(f"a priority is a finite number, not {priority}")
    time_limit = optional_seconds("time_limit", time_limit)
    if time_limit is not None and not 0 < time_limit < inf:
        raise ValueError(f"a time limit is a positive number of seconds, not {time_limit}")
    options: dict[str, Any] = {}
    names = worker_names(workers)
    if names is not None:
        options["workers"] = names
        if allow_other_workers:
            options["loose"] = True
    elif allow_other_workers:
        raise ValueError("allow_other_workers goes with workers, which was not given")
    if retries:
        options["retries"] = retries
    if priority:
        options["priority"] = priority
    if resources is not None and (checked := check_resources(resources)):
        options["resources"] = checked
    if time_limit is not None:
        options["time_limit"] = time_limit
    return options or None


def refuse_unknown(call: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises TypeError for the first of the names that are given, with the nearest that is known.

    >>> refuse_unknown("Executor()", ["n_worker"], ["n_workers", "timeout"])
    Traceback (most recent call last):
      ...
    TypeError: Executor() has no parameter 'n_worker': do you mean 'n_workers'?
    """
    for name in given:
        nearest = get_close_matches(name, tuple(known), 1)
        hint = f": do you mean {nearest[0]!r}?" if nearest else ""
        raise TypeError(f"{call} has no parameter {name!r}{hint}")


def checked_count(name: str, given: Any, least: int = 1) -> int:
    """A whole number, of the argument of that name. Raises TypeError or ValueError that name it."""
    try:
        count = operator.index(given)
    except TypeError:
        raise TypeError(f"{name} is a whole number, not {given!r:.100}") from None
    if count < least or isinstance(given, bool):
        raise ValueError(f"{name} is a whole number from {least} on, not {given!r}")
    return count


def refuse_others(call: str, given: dict[str, Any], method: Callable[..., Any]) -> None:
    """For options of `compute` and `persist` that do not exist here."""
    if given.pop("actors", None) or given.get("fifo_timeout") is not None:
        refuse_options(given.get("fifo_timeout"))
    refuse_unknown(call, given.keys() - {"fifo_timeout", "traverse"}, signature(method).parameters)


def parameters(kind: type) -> list[str]:
    """Those that a caller may give to make an instance."""
    return [name for name in signature(kind).parameters if not name.startswith("_")]


def refuse_asynchronous(asynchronous: bool | None) -> None:
    if asynchronous:
        raise NotImplementedError(
            "there is no asynchronous mode: futures can be awaited (`await future`), and calls that take "
            "long run in a thread (`await asyncio.to_thread(...)`)"
        )


def refuse_security(security: Any) -> None:
    """Not ignored: who asks for encryption must not go on without."""
    if security is not None:
        raise NotImplementedError(
            "connections are not encrypted yet, so there is no security=: use a network that you trust, "
            "or a tunnel (ssh -L)"
        )


def refuse_options(fifo_timeout: Any) -> NoReturn:
    """For options of dask.distributed that have been given and are not here: they must not reach the user's
    function in silence."""
    if fifo_timeout is not None:
        raise NotImplementedError(
            "there is no fifo_timeout: priority= says which calls go before others"
        )
    raise NotImplementedError(
        "there are no actors: keep state in a value that tasks take and return, or outside the cluster"
    )


def worker_names(workers: Any) -> tuple[str, ...] | None:
    """What the caller wrote to mean some workers, as a tuple; None for no restriction."""
    if workers is None:
        return None
    if not isinstance(workers, Iterable):
        raise TypeError(f"workers are names or addresses, not {workers!r}")
    names = (workers,) if isinstance(workers, str) else tuple(workers)
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"workers are names or addresses, not {workers!r}")
    for name in names:
        name.encode()  # here, where the caller stands, if it cannot be sent
    return names


def per_call(workers: Any) -> list[Any] | None:
    """If there is one set of workers for each call: the list of them."""
    if isinstance(workers, (list, tuple)) and any(not isinstance(w, str) for w in workers):
        return list(workers)
    return None


def nth_workers(placed: list[Any], index: int) -> Any:
    if index >= len(placed):
        raise ValueError(f"there are {len(placed)} sets of workers, and more calls than that")
    return placed[index]


def option_finder(
    given: dict[str, Any], annotations: dict[str, dict[Any, Any]], everywhere: dict[str, Any]
) -> Callable[[Any], dict[str, Any] | None]:
    """The options of each task of a graph, by its key.

    `given` are those of the call, `annotations` those that dask has for some keys (name -> key -> value),
    `everywhere` those of a `with dask.annotate(...)` around the call; a function stands for its value
    for each key.
    """
    general = {name: value for name, value in everywhere.items() if name in given}
    general = {**general, **{name: value for name, value in given.items() if value}}
    special = {name: values for name, values in annotations.items() if name in given}
    if not special and not any(map(callable, general.values())):
        shared = task_options(**{**given, **general})
        return lambda key: shared

    def options(key: Any) -> dict[str, Any] | None:
        found = {n: value(key) if callable(value) else value for n, value in general.items()}
        own = {name: values[key] for name, values in special.items() if key in values}
        merged = {**given, **found, **own}
        if not merged["workers"] and "allow_other_workers" not in own:
            merged["allow_other_workers"] = (
                False  # it was said of all, and meant for those that have
            )
        return task_options(**merged)

    return options
