"""The Executor: what a Python session uses to run functions on a cluster."""

from __future__ import annotations

import atexit
import json
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from distributed.connection import Connection
from distributed.core.client import FINISHED, PENDING, CallOff, Calls, Entry, Item, Unreachable
from distributed.errors import DistributedError, LostData, SerializationError, TimeoutError
from distributed.futures import Future, leave_slot, wait_for
from distributed.messages import Ask, Broadcast, Replicate, Restart, Scatter, Stop, Upload
from distributed.recipes import (
    Function,
    call_key,
    fold_kwargs,
    fresh_key,
    function_of,
    pack_call,
    shown_key,
    wire_key,
)
from distributed.resources import check_resources
from distributed.serialize import dumps, loads, pickle_bytes, unpickle
from distributed.tasks import current_task, workers_here
from distributed.tracebacks import load_exception
from distributed.transport import Address, parse_address

if TYPE_CHECKING:
    from distributed.local import LocalCluster

# `map` submits so many tasks in one message: enough to make the message's own cost vanish, few enough
# that the first tasks run while the last are being packed.
MAP_TASKS = 2000
# Arguments travel through the scheduler, to which they are a burden.
MAX_ARGUMENT_BYTES = 256 << 20
# How often data is asked for that its holder turns out not to have, before that is reported. Each time
# in between it has been computed again.
FETCH_ATTEMPTS = 5
# How often scattered data is sent to another worker because the first one died.
SCATTER_ATTEMPTS = 3
RESTART_SECONDS = 30.0
# Looking at an executor must not hang a session.
REPR_SECONDS = 1.0

Workers: TypeAlias = "str | Iterable[str] | None"


class Executor:
    """Connects this process to a cluster.

    `address` is 'host:port', 'tcp://host:port', (host, port), or a LocalCluster; or give the
    `scheduler_file` that `dscheduler --scheduler-file` wrote. Without either, a LocalCluster of
    `n_workers` processes with `threads_per_worker` threads each is started, sized to the machine, and
    closed with the executor.

    Raises SchedulerGone (an OSError) that names the address if no scheduler answers within `timeout`
    seconds.

    It may be shared by any number of threads.

    >>> with Executor(n_workers=1, threads_per_worker=1) as e:
    ...     future = e.submit(pow, 2, 10)
    ...     future.result()
    1024
    """

    def __init__(
        self,
        address: str | tuple[str, int] | LocalCluster | None = None,
        *,
        scheduler_file: str | os.PathLike[str] | None = None,
        timeout: float = 10.0,
        n_workers: int | None = None,
        threads_per_worker: int | None = None,
        memory_limit: str | float | None = "auto",
    ) -> None:
        self._process = os.getpid()
        self._cluster: LocalCluster | None = None
        if address is None and scheduler_file is None:
            from distributed.local import LocalCluster

            self._cluster = LocalCluster(n_workers, threads_per_worker, memory_limit=memory_limit)
            address = self._cluster.scheduler_address
        elif n_workers is not None or threads_per_worker is not None:
            raise ValueError(
                "n_workers and threads_per_worker are for a cluster that is started here"
            )
        try:
            self._address = _address(address, scheduler_file)
            self._connection = Connection(self._address, timeout)
        except BaseException:
            if self._cluster is not None:
                self._cluster.close()
            raise
        _remember(self)

    @property
    def scheduler_address(self) -> str:
        """As in 'tcp://127.0.0.1:8786'."""
        return self._address.url

    # Submitting work

    def submit(
        self,
        func: Callable[..., Any],
        *args: Any,
        key: Any = None,
        pure: bool = True,
        workers: Workers = None,
        allow_other_workers: bool = False,
        retries: int = 0,
        priority: float = 0,
        resources: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> Future:
        """Run `func(*args, **kwargs)` on a worker; returns a future at once.

        Futures anywhere in the arguments are replaced by their data on the worker. Calls of equal
        functions with equal arguments share one result, unless `pure=False`. `workers` (names,
        addresses or hosts) restricts where it runs; with `allow_other_workers` that is only a wish.
        A task that raises is run again `retries` times. A larger `priority` runs earlier. `resources`,
        as in {'GPU': 1}, are what a worker must have free, and what the task takes of it until it ends.

        Raises TypeError if `func` is not callable, SerializationError (a TypeError) if an argument
        cannot be pickled, TypeError or ValueError for resources that are not positive numbers.
        """
        function = function_of(func)
        options = _options(workers, allow_other_workers, retries, priority, resources)
        item = _item(function, args, kwargs, key, pure)
        calls = Calls({function.id: function.blob}, [(function.id, options, True, [item])])
        return Future(self._connection.submit(calls)[0], self)

    def map(
        self,
        func: Callable[..., Any],
        *iterables: Iterable[Any],
        key: str | Sequence[Any] | None = None,
        pure: bool = True,
        workers: Workers | Sequence[Workers] = None,
        allow_other_workers: bool = False,
        retries: int = 0,
        priority: float = 0,
        resources: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> list[Future]:
        """Run `func` on each of the items; as many futures as the shortest iterable has items.

        As `submit` for each. Keyword arguments are the same for all calls. `key` may be a list of
        keys, or a prefix for them; `workers` may be a list with one set of workers for each call.
        """
        if not iterables:
            raise ValueError("map() needs at least one iterable beside the function")
        folded = fold_kwargs(func, kwargs)
        function = function_of(folded)
        left = {} if folded is not func else kwargs
        calls = enumerate(zip(*iterables, strict=False))
        placed = _per_call(workers)
        others = (allow_other_workers, retries, priority, resources)
        shared = None if placed else _options(workers, *others)
        futures: list[Future] = []
        while chunk := list(islice(calls, MAP_TASKS)):
            groups: list[tuple[str, dict[str, Any] | None, bool, list[Item]]] = []
            for index, args in chunk:
                item = _item(function, args, left, _nth_key(key, index), pure, index)
                if placed:
                    options = _options(_nth_workers(placed, index), *others)
                    groups.append((function.id, options, True, [item]))
                elif groups:
                    groups[0][3].append(item)
                else:
                    groups.append((function.id, shared, True, [item]))
            entries = self._connection.submit(Calls({function.id: function.blob}, groups))
            futures += [Future(entry, self) for entry in entries]
        return futures

    def get(self, dsk: Mapping[Any, Any], keys: Any, **kwargs: Any) -> Any:
        """Compute keys of a dask graph and return their values, in the shape of `keys`.

        >>> with Executor(n_workers=1, threads_per_worker=1) as e:
        ...     e.get({"x": 1, "y": (sum, ["x", 2])}, "y")
        3
        """
        from distributed.graphs import graph_calls

        calls, wires = graph_calls(dsk, keys)
        entries = self._connection.submit(calls)
        futures = {entry.key: Future(entry, self) for entry in entries}
        values = self.gather(futures)
        return _shape(keys, lambda key: values[wires[key]])

    # Data

    def gather(self, futures: Any, errors: str = "raise") -> Any:
        """Wait for the futures and fetch their results, in the shape in which they came: a future, or
        nested lists, tuples, dicts and sets of them.

        With `errors='skip'` those that failed are left out. Otherwise the first exception is raised.
        """
        if errors not in ("raise", "skip"):
            raise ValueError(f"errors is 'raise' or 'skip', not {errors!r}")
        found: dict[Future, None] = {}
        _find_futures(futures, found)
        values = self._collect(list(found), errors == "raise")
        return _rebuild(futures, values)

    def _gather_one(self, future: Future, timeout: float | None) -> Any:
        return self._collect([future], True, timeout)[future._entry]

    def _collect(
        self, futures: list[Future], strict: bool, timeout: float | None = None
    ) -> dict[Entry, Any]:
        """The value of each entry. Those that failed raise if `strict`, and are not there if not."""
        deadline = None if timeout is None else time.monotonic() + timeout
        values: dict[Entry, Any] = {}
        left = futures
        for _ in range(FETCH_ATTEMPTS):
            wait_for(left, deadline, strict)
            places: dict[str, list[str]] = {}
            for future in left:
                entry = future._entry
                inline, address = entry.inline, entry.address
                if entry.status is not FINISHED:
                    if strict and entry.status is not PENDING:
                        raise future._failure()
                elif inline is not None:
                    values[entry] = unpickle(inline)
                elif entry not in values:
                    places.setdefault(address, []).append(entry.key)
            if not places:
                return values
            missing = self._fetch(places, left, values)
            if not missing:
                return values
            left = [future for future in left if future._entry.key in missing]
        raise LostData(
            f"the data of {left[0].key} could not be fetched from {left[0]._entry.address} "
            f"in {FETCH_ATTEMPTS} attempts: is the worker's port reachable from here?"
        )

    def _fetch(
        self, places: dict[str, list[str]], futures: list[Future], values: dict[Entry, Any]
    ) -> set[str]:
        """Add what can be had to `values`; returns the keys of the rest, after having reported it."""
        leave_slot()
        fetched = self._connection.fetch({a: list(dict.fromkeys(k)) for a, k in places.items()})
        at = {key: address for address, keys in places.items() for key in keys}
        missing: set[str] = set()
        for future in futures:
            entry = future._entry
            if entry.key not in at or entry in values:
                continue
            frames = fetched.get(entry.key)
            if isinstance(frames, str):
                raise SerializationError(f"the result of {future.key} cannot be sent: {frames}")
            if frames is None:
                missing.add(entry.key)
            else:
                values[entry] = loads(frames)
        if missing:
            self._connection.handle(Unreachable([(key, at[key]) for key in missing]))
        return missing

    def scatter(
        self, data: Any, workers: Workers = None, broadcast: bool = False, hash: bool = True
    ) -> Any:
        """Send data to workers; futures for it, that read 'finished', in the shape of the data: a list
        for a list, a dict for a dict (whose keys become the futures'), one future for anything else.

        It is spread over `workers` (default: all) by their threads; with `broadcast` each of them gets
        a copy. Equal data has an equal key unless `hash=False`.
        """
        if isinstance(data, (list, tuple, set, frozenset)):
            items = [(_data_key(value, frames, hash), frames) for value, frames in _frames(data)]
            futures = self._scatter(items, _names(workers), broadcast)
            return type(data)(futures)
        if isinstance(data, Mapping):
            items = [
                (wire_key(key, _digest(frames)), frames)
                for key, (_, frames) in zip(data, _frames(data.values()), strict=True)
            ]
            return dict(zip(data, self._scatter(items, _names(workers), broadcast), strict=True))
        if isinstance(data, Iterator):
            return self.scatter(list(data), workers, broadcast, hash)
        return self.scatter([data], workers, broadcast, hash)[0]

    def _scatter(
        self, items: list[tuple[str, list[Any]]], workers: tuple[str, ...] | None, broadcast: bool
    ) -> list[Future]:
        leave_slot()
        frames = dict(items)
        futures = self._adopt([key for key, _ in items], announce=False)
        left = tuple((key, sum(map(_size, f))) for key, f in frames.items())
        for _ in range(SCATTER_ATTEMPTS):
            if not left:
                break
            targets = self._connection.ask(lambda r, i=left: Scatter(r, i, workers))  # type: ignore[misc]
            places: dict[str, list[tuple[str, int, list[Any]]]] = {}
            for key, address, assignment in targets:
                places.setdefault(address, []).append((key, assignment, frames[key]))
            failures = self._connection.put(places)
            failed = {key for key, address, _ in targets if address in failures}
            left = tuple(item for item in left if item[0] in failed)
        if left:
            raise DistributedError(f"{len(left)} items could not be sent: {failures}")
        wait_for(futures, None, True)
        if broadcast:
            self._connection.ask(lambda r: Replicate(r, tuple(frames), workers))
        return futures

    def _adopt(self, keys: list[str], announce: bool = True) -> list[Future]:
        return [Future(entry, self) for entry in self._connection.adopt(keys, announce)]

    def cancel(self, futures: Future | Iterable[Future]) -> None:
        """Call the work off, and all that waits for it, unless another client wants it."""
        found: dict[Future, None] = {}
        _find_futures(futures, found)
        self._connection.handle(CallOff([future._entry for future in found]))

    # The cluster

    def restart(self, timeout: float = RESTART_SECONDS) -> None:
        """Start all over: kill what runs, delete all data, everybody's futures read 'cancelled', new
        worker processes. Returns when they are there; raises TimeoutError after `timeout` seconds."""
        self._connection.ask(Restart, timeout)

    def run(
        self, func: Callable[..., Any], *args: Any, workers: Workers = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Run `func(*args, **kwargs)` on every worker now, beside its tasks: {address: result}.

        Raises what the first of them raised.
        """
        if not callable(func):
            raise TypeError(f"run() needs a function, not {type(func).__name__}")
        call = pickle_bytes((func, args, kwargs))
        names = _names(workers)
        answers = self._connection.ask(lambda request: Broadcast(request, call, names))
        return _results(answers)

    def upload_file(self, path: str | os.PathLike[str]) -> None:
        """Give a module (.py) or a package (.zip, .egg) to all workers, also to those that join later.
        A second upload replaces the first."""
        file = Path(path)
        if file.suffix not in (".py", ".zip", ".egg"):
            raise ValueError(f"{file}: only .py, .zip and .egg files can be imported by workers")
        content = file.read_bytes()
        _results(self._connection.ask(lambda request: Upload(request, file.name, content)))

    def ncores(self) -> dict[str, int]:
        """{address: threads} of the workers."""
        return dict(self._ask("ncores"))

    def who_has(self, futures: Any = None) -> dict[Any, list[str]]:
        """{key: [addresses]} of the workers that hold the results, of these futures or of all."""
        found = self._ask("who_has", futures)
        return {shown_key(key): list(addresses) for key, addresses in found.items()}

    def has_what(self) -> dict[str, list[Any]]:
        """{address: [keys]} of the results that the workers hold."""
        return {a: [shown_key(key) for key in keys] for a, keys in self._ask("has_what").items()}

    def nbytes(self, futures: Any = None) -> dict[Any, int]:
        """{key: bytes} of the results that workers hold, of these futures or of all."""
        return {shown_key(key): size for key, size in self._ask("nbytes", futures).items()}

    def processing(self) -> dict[str, list[Any]]:
        """{address: [keys]} of the tasks that the workers have been given."""
        return {a: [shown_key(key) for key in keys] for a, keys in self._ask("processing").items()}

    def scheduler_info(self) -> dict[str, Any]:
        """The scheduler's address, its workers, and how many tasks are in which state."""
        return {"address": self.scheduler_address, **self._ask("scheduler_info")}

    def wait_for_workers(self, n_workers: int, timeout: float | None = None) -> None:
        """Block until so many workers have registered. Raises TimeoutError after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = threading.Event()
        while (present := len(self.ncores())) < n_workers:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(
                    f"{present} of {n_workers} workers have registered within {timeout:g} s"
                )
            pause.wait(0.02)

    def _ask(self, question: str, futures: Any = None, timeout: float | None = None) -> Any:
        keys = None
        if futures is not None:
            found: dict[Future, None] = {}
            _find_futures(futures, found)
            keys = tuple(future.wire for future in found)
        return self._connection.ask(lambda request: Ask(request, question, keys), timeout)

    # The end

    def close(self) -> None:
        """Disconnect. The cluster goes on, unless this executor started it."""
        self._connection.close()
        if self._cluster is not None:
            self._cluster.close()

    def shutdown(self) -> None:
        """End the whole cluster, scheduler and workers, and disconnect."""
        if not self._connection.closed:
            self._connection.send(Stop())
        self.close()

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        name = type(self).__name__
        if self._connection.closed:
            return f"<{name}: closed, was at {self.scheduler_address}>"
        try:
            ncores = self._ask("ncores", timeout=REPR_SECONDS)
        except (DistributedError, OSError) as error:
            return f"<{name}: {self.scheduler_address}, {error}>"
        threads = sum(ncores.values())
        return f"<{name}: {self.scheduler_address}, workers: {len(ncores)}, threads: {threads}>"


class Client(Executor):
    """The Executor under the name that it has elsewhere today."""


# The executors of this process -----------------------------------------------------------------

_executors: weakref.WeakSet[Executor] = weakref.WeakSet()


def _remember(executor: Executor) -> None:
    _executors.add(executor)


@atexit.register
def _close_all() -> None:
    for executor in tuple(_executors):
        if executor._process == os.getpid():  # and not a fork of it
            executor.close()


def executor_for(scheduler_address: str) -> Executor:
    """An executor of this process for that scheduler: a worker has one for all its tasks, a session
    mostly one too.

    Raises DistributedError if there is none.
    """
    current = current_task()
    if current is not None:
        return current[0].client()
    for executor in tuple(_executors):
        if executor.scheduler_address == scheduler_address and not executor._connection.closed:
            return executor
    for worker in tuple(workers_here):
        if worker.scheduler.url == scheduler_address:
            return worker.client()
    raise DistributedError(
        f"a future of the scheduler at {scheduler_address} was unpickled where no Executor is "
        "connected to that: make one first"
    )


# Arguments -------------------------------------------------------------------------------------


def _address(given: Any, scheduler_file: str | os.PathLike[str] | None) -> Address:
    if scheduler_file is not None:
        try:
            return parse_address(json.loads(Path(scheduler_file).read_text())["address"])
        except (OSError, ValueError, KeyError) as error:
            raise OSError(f"{scheduler_file} is not the file of a scheduler: {error!r}") from None
    return parse_address(getattr(given, "scheduler_address", given))


def _item(
    function: Function,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    key: Any,
    pure: bool,
    order: int = 0,
) -> Item:
    arguments, dependencies = pack_call(args, kwargs)
    if len(arguments) > MAX_ARGUMENT_BYTES:
        raise ValueError(
            f"the arguments of {function.name} take {len(arguments):,} bytes, more than the limit of "
            f"{MAX_ARGUMENT_BYTES:,}: send large data with scatter() and pass the future"
        )
    if key is not None:
        wire = wire_key(key, call_key(function, args, kwargs)[-32:])
    elif pure:
        wire = call_key(function, args, kwargs)
    else:
        wire = fresh_key(function.name)
    return wire, arguments, dependencies, order


def _nth_key(key: Any, index: int) -> Any:
    if key is None or isinstance(key, str):
        return key and f"{key}-{index}"
    return key[index]


def _options(
    workers: Any,
    allow_other_workers: bool,
    retries: int,
    priority: float,
    resources: Mapping[str, float] | None = None,
) -> dict[str, Any] | None:
    options: dict[str, Any] = {}
    names = _names(workers)
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
    return options or None


def _names(workers: Any) -> tuple[str, ...] | None:
    """What the caller wrote to mean some workers, as a tuple; None for no restriction."""
    if workers is None:
        return None
    names = (workers,) if isinstance(workers, str) else tuple(workers)
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"workers are names or addresses, not {workers!r}")
    return names


def _per_call(workers: Any) -> list[Any] | None:
    """If there is one set of workers for each call: the list of them."""
    if isinstance(workers, (list, tuple)) and any(not isinstance(w, str) for w in workers):
        return list(workers)
    return None


def _nth_workers(placed: list[Any], index: int) -> Any:
    if index >= len(placed):
        raise ValueError(f"there are {len(placed)} sets of workers, and more calls than that")
    return placed[index]


def _frames(values: Iterable[Any]) -> Iterator[tuple[Any, list[Any]]]:
    for value in values:
        yield value, dumps(value)


def _data_key(value: Any, frames: list[Any], hash: bool) -> str:
    name = type(value).__name__
    return f"{name}-{_digest(frames)}" if hash else fresh_key(name)


def _digest(frames: list[Any]) -> str:
    digest = blake2b(digest_size=16)
    for frame in frames:
        digest.update(frame)
    return digest.hexdigest()


def _size(frame: Any) -> int:
    return memoryview(frame).nbytes


# Shapes ----------------------------------------------------------------------------------------


def _find_futures(nested: Any, found: dict[Future, None]) -> None:
    if isinstance(nested, Future):
        found[nested] = None
    elif isinstance(nested, Mapping):
        _find_futures(list(nested.values()), found)
    elif isinstance(nested, (list, tuple, set, frozenset)):
        for item in nested:
            _find_futures(item, found)
    elif isinstance(nested, Iterator):
        raise TypeError("an iterator can be read only once: give a list of the futures")


_SKIPPED = object()


def _rebuild(nested: Any, values: dict[Entry, Any]) -> Any:
    """The same shape with values for futures, without those that have none."""
    if isinstance(nested, Future):
        return values.get(nested._entry, _SKIPPED)
    if isinstance(nested, Mapping):
        pairs = ((key, _rebuild(value, values)) for key, value in nested.items())
        return {key: value for key, value in pairs if value is not _SKIPPED}
    if isinstance(nested, (list, tuple, set, frozenset)):
        items = [_rebuild(item, values) for item in nested]
        kept = [item for item in items if item is not _SKIPPED]
        if hasattr(nested, "_fields"):
            return type(nested)(*kept)
        return type(nested)(kept)
    return nested


def _shape(keys: Any, value: Callable[[Any], Any]) -> Any:
    """Values in the nested lists that dask uses for keys."""
    if isinstance(keys, list):
        return [_shape(key, value) for key in keys]
    return value(keys)


def _results(answers: dict[str, tuple[bool, Any]]) -> dict[str, Any]:
    """What workers answered to a call, by address. Raises the first failure."""
    for address, (ok, value) in answers.items():
        if not ok:
            if isinstance(value, bytes):
                raise load_exception(value)
            raise DistributedError(f"{address}: {value}")
    return {address: unpickle(value) for address, (_, value) in answers.items()}
