"""The Executor: what a Python session uses to run functions on a cluster."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakValueDictionary

import dask
from dask.base import is_dask_collection

from distributed.administration import Administration
from distributed.arguments import (
    Workers,
    call_item,
    nth_key,
    nth_workers,
    parameters,
    per_call,
    refuse_asynchronous,
    refuse_options,
    refuse_others,
    refuse_security,
    refuse_unknown,
    task_options,
    worker_names,
)
from distributed.borrowing import borrow_for
from distributed.collecting import SeldomCollected
from distributed.computing import submit_graph
from distributed.connection import SCHEDULER_GONE_SECONDS, Connection
from distributed.core.client_events import CallOff, Calls
from distributed.core.entries import Item
from distributed.coroutines import check_may_block
from distributed.errors import DistributedError, LostData
from distributed.expressions import Plan, plan, plan_compute, plan_persist, wrap_nested
from distributed.futures import Future, flat_futures, leave_slot, wait_for
from distributed.gathering import collect
from distributed.html import as_table
from distributed.keys import wire_key
from distributed.messages import Replicate, Scatter, Stop
from distributed.recipes import fold_kwargs, fresh_key, function_of, unbind
from distributed.registry import default_client, remember, worker_here
from distributed.scheduler_address import SchedulerPlace, configured_address, find_scheduler
from distributed.serialize import dumps
from distributed.shapes import check_gathered, find_futures, is_named_tuple, rebuild, shape
from distributed.units import Seconds, seconds
from distributed.waiting import deadline_of

if TYPE_CHECKING:
    from distributed.local import LocalCluster

# `map` submits so many tasks in one message: enough to make the message's own cost vanish, few enough
# that the first tasks run while the last are being packed.
MAP_TASKS = 2000
# How often scattered data is sent to another worker because the first one died.
SCATTER_ATTEMPTS = 3
# How often `get` begins again because data that it had sent to workers was lost with them.
GET_ATTEMPTS = 3
# Looking at an executor must not hang a session.
REPR_SECONDS = 1.0


class Executor(Administration):
    """Connects this process to a cluster.

    `address` is 'host:port', 'tcp://host:port', (host, port), or a LocalCluster; or give the
    `scheduler_file` that `dscheduler --scheduler-file` writes, which is waited for. Without either, inside
    a task it connects to the cluster of the task; elsewhere it goes to the scheduler-address of dask's
    configuration (DASK_SCHEDULER_ADDRESS), or starts a LocalCluster, which is closed with the executor:
    then it takes the parameters of `LocalCluster` too (`n_workers`, `threads_per_worker`, `memory_limit`
    and the others). `n_workers` always starts one. `cluster` is the LocalCluster that it was given or has
    started, and lives as long as the executor; None where there is none.

    Raises SchedulerGone (an OSError) that names the address if no scheduler answers within `timeout`.
    Later, one that dies may come back at its address; without one for `scheduler_timeout` futures that are
    pending end as lost. (Both are in seconds, or as in '1 minute'.)

    With `set_as_default=False` dask collections are computed with it only where it is named. `name` is
    shown. `asynchronous=True` and `security` are refused: what is awaited are futures, and nothing is
    encrypted yet. Raises TypeError for parameters that do not exist, with the nearest that does.

    It may be shared by any number of threads.

    >>> with Executor(n_workers=1, threads_per_worker=1) as e:
    ...     future = e.submit(pow, 2, 10)
    ...     future.result()
    1024
    """

    # Dask asks this: its own client can also be driven by an event loop.
    asynchronous = False

    def __init__(
        self,
        address: str | tuple[str, int] | LocalCluster | None = None,
        *,
        timeout: Seconds = 10.0,
        set_as_default: bool = True,
        scheduler_file: str | os.PathLike[str] | None = None,
        security: Any = None,
        asynchronous: bool = False,
        name: str | None = None,
        scheduler_timeout: Seconds = SCHEDULER_GONE_SECONDS,
        _worker: str = "",
        **of_cluster: Any,
    ) -> None:
        refuse_asynchronous(asynchronous)
        refuse_security(security)
        self.name = name
        self._process = os.getpid()
        # Futures of graphs by their keys, as long as somebody else has them.
        self._kept: WeakValueDictionary[Any, Future] = WeakValueDictionary()
        patience = deadline_of(timeout)
        if address is None and scheduler_file is None and of_cluster.get("n_workers") is None:
            worker = worker_here()
            if worker is None:
                address = configured_address()
            else:  # a second cluster in each task is what nobody wants
                address, _worker = worker.scheduler, worker.id
        self._owns_cluster = address is None and scheduler_file is None
        if self._owns_cluster:
            from distributed.local import LocalCluster

            address = LocalCluster(**of_cluster)
        elif of_cluster:
            _refuse_of_cluster(of_cluster)
        # Kept, for a cluster that nobody refers to ends.
        self.cluster: LocalCluster | None = _cluster_of(address)
        try:
            self._address = find_scheduler(address, scheduler_file, patience)
            self._connection = Connection(
                self._address,
                seconds("timeout", timeout),
                _worker,
                seconds("scheduler_timeout", scheduler_timeout),
            )
        except BaseException:
            self._close_own_cluster()
            raise
        remember(self, set_as_default)

    @classmethod
    def current(cls, allow_global: bool = True) -> Executor:
        """The Executor that dask collections are computed with, see `default_client`."""
        return default_client()

    @property
    def scheduler_address(self) -> str:
        """As in 'tcp://127.0.0.1:8786'."""
        return self._address.url

    @property
    def scheduler(self) -> SchedulerPlace:
        """Where the scheduler is: its `address`."""
        return SchedulerPlace(self.scheduler_address)

    @property
    def dashboard_link(self) -> str | None:
        """None: there is no dashboard yet."""
        return None

    # Submitting work

    def submit(
        self,
        func: Callable[..., Any],
        /,
        *args: Any,
        key: Any = None,
        pure: bool = True,
        workers: Workers = None,
        allow_other_workers: bool = False,
        retries: int = 0,
        priority: float = 0,
        resources: Mapping[str, float] | None = None,
        time_limit: Seconds | None = None,
        actor: bool = False,
        actors: bool = False,
        fifo_timeout: Any = None,
        **kwargs: Any,
    ) -> Future:
        """Run `func(*args, **kwargs)` on a worker; returns a future at once. If it returns a coroutine, as
        `async def` functions do, the worker awaits that.

        Futures anywhere in the arguments, or bound by a `partial`, are replaced by their data on the
        worker. Calls of equal functions with equal arguments share one result, unless `pure=False`.
        `workers` (names, addresses or hosts) restricts where it runs; with `allow_other_workers` that is
        only a wish.
        A task that raises is run again `retries` times. A larger `priority` runs earlier. `resources`,
        as in {'GPU': 1}, are what a worker must have free, and what the task takes of it until it ends.
        `time_limit` is how long it may run, in seconds or as in '1 minute': beyond, it fails with a
        TimeoutError, unless there are retries left, and the process of its worker ends, for a thread cannot
        be interrupted. What else ran there runs elsewhere.

        Raises TypeError if `func` is not callable, SerializationError (a TypeError) if an argument
        cannot be pickled, CancelledError if a future among them was cancelled, TypeError or ValueError
        for resources or a time limit that are not positive numbers. NotImplementedError for `actor`,
        `actors` and `fifo_timeout`, which are options of dask.distributed.
        """
        if actor or actors or fifo_timeout is not None:
            refuse_options(fifo_timeout)
        func, args, kwargs = unbind(func, args, kwargs)
        function = function_of(func)
        options = task_options(
            workers, allow_other_workers, retries, priority, resources, time_limit
        )
        item = call_item(function, args, kwargs, key, pure)
        borrowed = borrow_for(self, [item], (args, kwargs)) if item[2] else None
        future = Future(self._connection.call(function, options, item), self)
        del borrowed
        return future

    def map(
        self,
        func: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        key: str | Sequence[Any] | None = None,
        pure: bool = True,
        workers: Workers | Sequence[Workers] = None,
        allow_other_workers: bool = False,
        retries: int = 0,
        priority: float = 0,
        resources: Mapping[str, float] | None = None,
        time_limit: Seconds | None = None,
        batch_size: int | None = None,
        actor: bool = False,
        actors: bool = False,
        fifo_timeout: Any = None,
        **kwargs: Any,
    ) -> list[Future]:
        """Run `func` on each of the items; as many futures as the shortest iterable has items.

        As `submit` for each. Keyword arguments are the same for all calls. `key` may be a list of
        keys, or a prefix for them; `workers` may be a list with one set of workers for each call. A message
        has `batch_size` of the calls, by default 2000.
        """
        if actor or actors or fifo_timeout is not None:
            refuse_options(fifo_timeout)
        if batch_size is not None and operator.index(batch_size) < 1:
            raise ValueError(f"a batch_size is at least 1, not {batch_size}")
        if not iterables:
            raise ValueError("map() needs at least one iterable beside the function")
        func, bound, kwargs = unbind(func, (), kwargs)
        folded = fold_kwargs(func, kwargs)
        function = function_of(folded)
        left = {} if folded is not func else kwargs
        calls = enumerate(zip(*iterables, strict=False))
        placed = per_call(workers)
        others = (allow_other_workers, retries, priority, resources, time_limit)
        shared = None if placed else task_options(workers, *others)
        futures: list[Future] = []
        with SeldomCollected():
            while chunk := list(islice(calls, batch_size or MAP_TASKS)):
                groups: list[tuple[str, dict[str, Any] | None, bool, list[Item]]] = []
                for index, args in chunk:
                    item = call_item(
                        function, (*bound, *args), left, nth_key(key, index), pure, index
                    )
                    if placed:
                        options = task_options(nth_workers(placed, index), *others)
                        groups.append((function.id, options, True, [item]))
                    elif groups:
                        groups[0][3].append(item)
                    else:
                        groups.append((function.id, shared, True, [item]))
                borrowed = borrow_for(
                    self, (i for group in groups for i in group[3]), (chunk, bound, left)
                )
                entries = self._connection.submit(Calls({function.id: function.blob}, groups))
                del borrowed
                futures += [Future(entry, self) for entry in entries]
        return futures

    # Dask

    def get(
        self,
        dsk: Any,
        keys: Any,
        *,
        sync: bool = True,
        workers: Workers = None,
        allow_other_workers: bool = False,
        retries: int = 0,
        priority: float = 0,
        resources: Mapping[str, float] | None = None,
        time_limit: Seconds | None = None,
        **kwargs: Any,
    ) -> Any:
        """Compute keys of a dask graph and return their values, in the shape of `keys`.

        This is what dask calls: `x.compute(scheduler=e.get)`. The graph is a dict, a HighLevelGraph, or
        an expression; it may refer to the keys of futures. The options are as in `submit`, for all tasks;
        others, that dask passes to other schedulers, are ignored. With `sync=False` it returns futures.

        Raises KeyError for a key that neither the graph nor a future has, RuntimeError that shows the
        cycle for a graph with one, and what a task raises.

        >>> with Executor(n_workers=1, threads_per_worker=1) as e:
        ...     e.get({"x": 1, "y": (sum, ["x", 2])}, ["x", ["y"]])
        [1, [3]]
        """
        given = _given(workers, allow_other_workers, retries, priority, resources, time_limit)
        work = plan(dsk)
        if not sync:
            return shape(keys, submit_graph(self, work, keys, given).__getitem__)
        return shape(keys, self._values(work, keys, given).__getitem__)

    def _values(self, work: Plan, keys: Any, given: dict[str, Any]) -> dict[Any, Any]:
        """Wait for the value of each of the keys."""
        for left in reversed(range(GET_ATTEMPTS)):
            futures = submit_graph(self, work, keys, given, ship=True)
            try:
                values: dict[Any, Any] = self.gather(futures)
                return values
            except LostData:
                # Data of the graph was lost with a worker. We still have it.
                if not left:
                    raise
            finally:
                # If one has failed, the others are not needed; and its traceback refers to all of them.
                for future in futures.values():
                    future.release()
                self._connection.release()
        raise AssertionError("the last attempt returns or raises")

    def compute(
        self,
        *collections: Any,
        sync: bool = False,
        optimize_graph: bool = True,
        workers: Workers = None,
        allow_other_workers: bool = False,
        retries: int = 0,
        priority: float = 0,
        resources: Mapping[str, float] | None = None,
        time_limit: Seconds | None = None,
        **kwargs: Any,
    ) -> Any:
        """Start to compute dask collections: a future for one, a list of futures for a list or for
        several arguments.

        What is computed together is optimized together, and shares its intermediate results. What is not
        a collection is returned as it is. With `sync=True` it waits, and returns values in place of
        futures. The options are as in `submit`, for all tasks.

        >>> import dask
        >>> with Executor(n_workers=1, threads_per_worker=1) as e:
        ...     e.compute(dask.delayed(pow)(2, 10)).result()
        1024
        """
        refuse_others("compute()", kwargs, self.compute)
        given = _given(workers, allow_other_workers, retries, priority, resources, time_limit)
        results, single = _several(collections)
        results = [wrap_nested(item) for item in results]
        places = [place for place, item in enumerate(results) if is_dask_collection(item)]
        work, keys = plan_compute([results[place] for place in places], optimize_graph)
        found: dict[Any, Any]
        if sync:
            found = self._values(work, keys, given)
            results = [
                item if is_dask_collection(item) else self._gather(item, True) for item in results
            ]
        else:
            found = submit_graph(self, work, keys, given)
        for place, key in zip(places, keys, strict=True):
            results[place] = found[key]
        return results[0] if single else results

    def persist(
        self,
        *collections: Any,
        optimize_graph: bool = True,
        workers: Workers = None,
        allow_other_workers: bool = False,
        retries: int = 0,
        priority: float = 0,
        resources: Mapping[str, float] | None = None,
        time_limit: Seconds | None = None,
        **kwargs: Any,
    ) -> Any:
        """Start to compute dask collections, and keep all their parts on the workers: collections of the
        same types, in the place of each its parts as futures. A list for a list or for several arguments.

        The data lives as long as the collections that are returned, or are made from those. The options
        are as in `compute`.

        >>> import dask.bag
        >>> with Executor(n_workers=1, threads_per_worker=1) as e:
        ...     b = e.persist(dask.bag.from_sequence(range(5), npartitions=2))
        ...     b.sum().compute()
        10
        """
        refuse_others("persist()", kwargs, self.persist)
        given = _given(workers, allow_other_workers, retries, priority, resources, time_limit)
        results, single = _several(collections)
        places = [place for place, item in enumerate(results) if is_dask_collection(item)]
        work, persisted = plan_persist([results[place] for place in places], optimize_graph)
        futures = submit_graph(self, work, [found.keys for found in persisted], given)
        for place, (keys, rebuild_from) in zip(places, persisted, strict=True):
            results[place] = rebuild_from({key: futures[key] for key in keys})
        return results[0] if single else results

    # Data

    def gather(self, futures: Any, errors: str = "raise") -> Any:
        """Wait for the futures and fetch their results, in the shape in which they came: a future, or
        nested lists, tuples, dicts and sets of them, also of derived classes; deques, object arrays,
        Series. A list for an iterator, and for the `values()` or `items()` of a dict. What is not a future
        stays as it is.

        With `errors='skip'` those that failed are left out. Otherwise the first exception is raised.

        Raises TypeError for a dask collection, and for other objects that can be iterated.
        """
        if errors not in ("raise", "skip"):
            raise ValueError(f"errors is 'raise' or 'skip', not {errors!r}")
        check_gathered(futures)
        if isinstance(futures, Iterator):
            futures = list(futures)
        passed_on = [futures]
        del futures
        return self._gather(passed_on.pop(), errors == "raise")

    def _gather(self, nested: Any, strict: bool) -> Any:
        check_may_block()  # also if all of them happen to be done
        found: dict[Future, None] = {}
        find_futures(nested, found)
        values, failure = collect(self._connection, list(found), strict)
        if failure is not None:
            try:
                raise failure
            finally:
                del nested, found, failure  # a traceback that is kept must not keep the futures
        return rebuild(nested, values)

    def scatter(
        self, data: Any, workers: Workers = None, broadcast: bool = False, hash: bool = True
    ) -> Any:
        """Send data to workers; futures for it, that read 'finished', in the shape of the data: a list
        for a list, a range or an iterator, a tuple for a tuple (also a named one), a set for a set, a dict
        for a dict (whose keys become the futures'). One future for anything else, as for an object of a
        class that is derived from list or dict.

        It is spread over `workers` (default: all) by their threads; with `broadcast` each of them gets
        a copy. Equal data has an equal key unless `hash=False`.
        """
        if type(data) in (list, tuple, set, frozenset) or is_named_tuple(data):
            items = [(_data_key(value, frames, hash), frames) for value, frames in _frames(data)]
            futures = self._scatter(items, worker_names(workers), broadcast)
            return data._make(futures) if is_named_tuple(data) else type(data)(futures)
        if type(data) is dict:
            items = [
                (wire_key(key, _digest(frames)), frames)
                for key, (_, frames) in zip(data, _frames(data.values()), strict=True)
            ]
            return dict(
                zip(data, self._scatter(items, worker_names(workers), broadcast), strict=True)
            )
        if isinstance(data, (range, Iterator)):
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

    def cancel(self, futures: Any, force: bool = False) -> None:
        """Call the work off, and all that waits for it, unless another client wants it.

        What has started runs on, and its result is thrown away. With `force` it ends as well, with the
        process of its worker, in whose place comes a new one; what else was there runs elsewhere, and is
        not blamed. It may be called again with `force` for futures that were cancelled before.

        Takes futures, dask collections that were persisted, and nested lists of them.
        """
        found = flat_futures(futures, "cancel")
        self._connection.handle(CallOff([future._entry for future in found], force))

    # The end

    def close(self) -> None:
        """Disconnect. The cluster goes on, unless this executor started it.

        Dask collections are computed with the one that was made before, or without a cluster.
        """
        self._close(at_exit=False)

    def _close(self, at_exit: bool) -> None:
        if dask.config.get("scheduler", None) in (self, self.get):
            dask.config.set(scheduler=None)
        self._connection.close(at_exit=at_exit)
        self._close_own_cluster()

    def _close_own_cluster(self) -> None:
        if self._owns_cluster and self.cluster is not None:
            self.cluster.close()

    def shutdown(self) -> None:
        """End the whole cluster, scheduler and workers, and disconnect."""
        if not self._connection.closed:
            self._connection.send(Stop())
        self.close()

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError("an Executor stays in its process: in a task, get_client() gives one")

    def __repr__(self) -> str:
        name = type(self).__name__ if self.name is None else f"{type(self).__name__} {self.name}"
        if self._connection.closed:
            return f"<{name}: closed, was at {self.scheduler_address}>"
        try:
            ncores = self._ask("ncores", timeout=REPR_SECONDS)
        except (DistributedError, OSError) as error:
            return f"<{name}: {self.scheduler_address}, {error}>"
        threads = sum(ncores.values())
        return f"<{name}: {self.scheduler_address}, workers: {len(ncores)}, threads: {threads}>"

    def _repr_html_(self) -> str:
        return as_table(repr(self))


class _Clients(type):
    """Every Executor counts as a Client: libraries ask for that, and then take our locks, for instance.
    It does not count as an instance of a class that is derived from Client."""

    def __instancecheck__(cls, instance: object) -> bool:
        return type.__instancecheck__(Executor if cls is Client else cls, instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return type.__subclasscheck__(Executor if cls is Client else cls, subclass)


class Client(Executor, metaclass=_Clients):
    """The Executor under the name that it has elsewhere today."""


def _refuse_of_cluster(given: dict[str, Any]) -> NoReturn:
    """For parameters of a cluster that is not started here."""
    from distributed.local import LocalCluster

    own, theirs = parameters(Executor), parameters(LocalCluster)
    refuse_unknown("Executor()", (name for name in given if name not in theirs), own + theirs)
    names = ", ".join(given)
    raise ValueError(f"{names}: parameters of a cluster that is started here, and there is one")


def _cluster_of(given: Any) -> LocalCluster | None:
    """The cluster that an Executor was given in place of an address; None if it was an address."""
    if isinstance(given, Executor):
        return given.cluster
    return given if hasattr(given, "scheduler_address") else None


def _several(given: tuple[Any, ...]) -> tuple[list[Any], bool]:
    """What was given as one list, or as several arguments; and whether it was neither, but one thing."""
    if len(given) != 1:
        return list(given), False
    if isinstance(given[0], (list, tuple, set, frozenset)):
        return list(given[0]), False
    return [given[0]], True


def _given(
    workers: Workers,
    allow_other_workers: bool,
    retries: int,
    priority: float,
    resources: Mapping[str, float] | None,
    time_limit: Seconds | None,
) -> dict[str, Any]:
    return {
        "workers": workers,
        "allow_other_workers": allow_other_workers,
        "retries": retries,
        "priority": priority,
        "resources": resources,
        "time_limit": time_limit,
    }


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
