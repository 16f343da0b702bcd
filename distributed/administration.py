"""What an Executor does to its cluster as a whole: restart it, run functions beside tasks, copy data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

from distributed.answers import check_size, results
from distributed.arguments import Workers, worker_names
from distributed.core.client_events import Again
from distributed.futures import Future, flat_futures, futures_of, leave_slot, wait_for
from distributed.inspection import Inspection
from distributed.messages import Broadcast, Replicate, Restart, Upload
from distributed.registry import as_default
from distributed.serialize import pickle_bytes
from distributed.units import Seconds, optional_seconds
from distributed.uploads import check_syntax
from distributed.versions import check_same, versions_of

RESTART_SECONDS = 30.0
# A request whose answer nobody waits for.
NOBODY = 0


class Administration(Inspection):
    """The part of an Executor that is about the whole cluster."""

    def restart(self, timeout: Seconds = RESTART_SECONDS, wait_for_workers: bool = True) -> None:
        """Start all over: kill what runs, delete all data, everybody's futures read 'cancelled', new
        worker processes. Returns when they are there, or at once with `wait_for_workers=False`; raises
        TimeoutError after `timeout`."""
        if wait_for_workers:
            self._connection.ask(Restart, optional_seconds("timeout", timeout))
        else:
            self._connection.send(Restart(NOBODY))

    def run(
        self,
        /,
        *args: Any,
        workers: Workers = None,
        wait: bool = True,
        nanny: bool = False,
        on_error: str = "raise",
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Run `function(*args, **kwargs)` on every worker now, beside its tasks: {address: result}. The
        function comes first, or as `function=`. One with a parameter `dask_worker` gets the worker there.

        Raises what the first of them raised. With `on_error='return'` the exception stands in the place of
        the result, with `'ignore'` the worker is left out. With `wait=False` it returns {} at once, and
        nobody hears how it ended.
        """
        function, *args = args or (kwargs.pop("function", None),)  # type: ignore[assignment]
        if not callable(function):
            raise TypeError(f"run() needs a function, not {type(function).__name__}")
        if on_error not in ("raise", "return", "ignore"):
            raise ValueError(f"on_error is 'raise', 'return' or 'ignore', not {on_error!r}")
        if nanny:
            raise NotImplementedError("nannies run no functions: run it on the workers")
        called = call_with_worker if _wants_worker(function) else function
        if called is call_with_worker:
            args = (function, *args)
        call = pickle_bytes((called, args, kwargs))
        check_size("the call", call, "scatter large data, and pass the futures to tasks")
        names = worker_names(workers)
        if not wait:
            self._connection.send(Broadcast(NOBODY, call, names))
            return {}
        answers = self._connection.ask(lambda request: Broadcast(request, call, names))
        return results(self, answers, on_error)  # type: ignore[arg-type]

    def upload_file(self, filename: str | os.PathLike[str], load: bool = True) -> None:
        """Give a file to all workers, also to those that join later. A second upload replaces the first.

        Modules (.py) and packages (.zip, .egg) can be imported there, and are when a task does it: `load`
        changes nothing. Any other file is data: a task finds it in the directory
        `get_worker().local_directory`.

        Raises SyntaxError for a module that has one, also the first of a package, OSError if the file
        cannot be read, ValueError if it is too large.
        """
        file = Path(filename)
        content = file.read_bytes()
        check_syntax(file, content)
        way_out = "put it where all workers can read it, or scatter its content"
        check_size(file.name, content, way_out)
        answers = self._connection.ask(lambda request: Upload(request, file.name, content))
        results(self, answers)  # type: ignore[arg-type]

    def retry(self, futures: Any) -> None:
        """Run those of these again that have failed, and what failed before them. (A failure that another
        client waits for too stays as it is.)

        >>> from distributed import Executor
        >>> with Executor(n_workers=1, threads_per_worker=1) as e:
        ...     future = e.submit(divmod, 1, 0)
        ...     future.exception()
        ...     e.retry(future)
        ...     future.exception()
        ZeroDivisionError('integer division or modulo by zero')
        ZeroDivisionError('integer division or modulo by zero')
        """
        entries = [future._entry for future in flat_futures(futures, "retry")]
        self._connection.handle(Again(entries))

    def replicate(self, futures: Any, n: int | None = None, workers: Workers = None) -> None:
        """Have copies of the results on `n` workers each, of `workers` or of all; on all of those without
        `n`. Waits for results that are not there yet, and until the copies are."""
        found = flat_futures(futures, "replicate")
        leave_slot()
        wait_for(found, None, True)
        names = worker_names(workers)
        if n is None:
            keys = tuple(future.wire for future in found)
            self._connection.ask(lambda request: Replicate(request, keys, names))
            return
        for target, keys in self._targets(found, n, names).items():
            self._connection.ask(lambda r, k=keys, t=target: Replicate(r, tuple(k), (t,)))  # type: ignore[misc]

    def _targets(
        self, futures: list[Future], n: int, names: tuple[str, ...] | None
    ) -> dict[str, list[str]]:
        """{address: keys} of the copies that are missing, spread evenly."""
        addresses = list(self.nthreads(names))
        if not 1 <= n <= len(addresses):
            raise ValueError(f"n is from 1 to {len(addresses)}, the number of workers, not {n}")
        holders = self._ask("who_has", futures)
        targets: dict[str, list[str]] = {address: [] for address in addresses}
        for wire, places in holders.items():
            others = sorted(set(addresses).difference(places), key=lambda a: len(targets[a]))
            for address in others[: max(0, n - len(set(places).intersection(addresses)))]:
                targets[address].append(wire)
        return {address: keys for address, keys in targets.items() if keys}

    def write_scheduler_file(self, scheduler_file: str | os.PathLike[str]) -> None:
        """Write the scheduler's address into a file, for `dworker --scheduler-file` and
        `Executor(scheduler_file=)`."""
        description = {"address": self.scheduler_address, "id": self._connection.epoch}
        Path(scheduler_file).write_text(json.dumps(description))

    @contextmanager
    def as_current(self) -> Iterator[Any]:
        """Within the `with`, dask collections are computed with this one."""
        with as_default(self):  # type: ignore[arg-type]
            yield self

    def futures_of(self, futures: Any) -> list[Future]:
        """The futures of this Executor in dask collections, as the function `futures_of`."""
        return futures_of(futures, self)  # type: ignore[arg-type]

    def get_versions(self, check: bool = False, packages: Iterable[str] = ()) -> dict[str, Any]:
        """{'client': {package: version}, 'workers': {address: {package: version}}} of Python, this package,
        and what data and functions depend on; also of the `packages` that are named.

        With `check` raises ValueError that names what differs. (The scheduler unpickles nothing; members
        whose Python or protocol differ from its own are refused.)
        """
        names = tuple(packages)
        found = {"client": versions_of(names), "workers": self.run(versions_of, names)}
        if check:
            check_same(found)
        return found


def call_with_worker(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Runs on a worker, beside its tasks."""
    from distributed.registry import get_worker

    return function(*args, dask_worker=get_worker(), **kwargs)


def _wants_worker(function: Callable[..., Any]) -> bool:
    try:
        return "dask_worker" in signature(function).parameters
    except (TypeError, ValueError):
        return False  # it does not tell
