"""What a session does with a cluster of real processes."""

from __future__ import annotations

import gc
import operator
import os
import sys
import threading
import time
import traceback
import types
import zipfile
from collections import Counter, OrderedDict, UserDict, UserList, defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray

from distributed import (
    CancelledError,
    Client,
    Executor,
    Future,
    LocalCluster,
    LostData,
    RemoteError,
    SchedulerGone,
    SerializationError,
    TimeoutError,
    answers,
    as_completed,
    fire_and_forget,
    futures_of,
    get_worker,
    recipes,
    wait,
)
from tests.support import block, wait_until


def inc(x: int) -> int:
    return x + 1


def double(x: int) -> int:
    return 2 * x


def add(x: int, y: int = 0) -> int:
    return x + y


def div(x: float, y: float) -> float:
    return x / y


class Adder:
    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, x: int) -> int:
        return x + self.n

    def add(self, x: int) -> int:
        return x + self.n


class Point(NamedTuple):
    x: int
    y: int


class Box:
    def __init__(self, content: Any) -> None:
        self.content = content


# Connecting


def test_addresses_of_all_kinds(cluster: LocalCluster) -> None:
    url = cluster.scheduler_address
    place = url.removeprefix("tcp://")
    host, port = place.split(":")
    for address in (url, place, (host, int(port)), cluster):
        with Executor(address) as executor:
            assert executor.scheduler_address == url
            assert executor.submit(inc, 1).result() == 2


def test_a_cluster_lives_as_long_as_the_client_that_was_given_it() -> None:
    with Client(LocalCluster(n_workers=1)) as client:
        gc.collect()
        assert client.submit(inc, 1).result(timeout=20) == 2
        assert isinstance(client.cluster, LocalCluster)
        with Executor(client) as other:
            assert other.cluster is client.cluster
    assert client.cluster is not None  # closing the client does not close what it was given
    with Executor(client.cluster) as again:
        assert again.submit(inc, 1).result(timeout=20) == 2
    again.cluster.close()


def test_the_cluster_of_a_client(cluster: LocalCluster, executor: Executor) -> None:
    assert executor.cluster is cluster
    with Executor(cluster.scheduler_address) as other:
        assert other.cluster is None
    with pytest.raises(SchedulerGone):
        Executor(("127.0.0.1", 9), timeout=0.2)


class Mine(Client):
    pass


class OfAnExecutor(Executor):
    pass


def test_every_executor_is_a_client_and_only_its_own_are_of_a_class_of_yours(
    cluster: LocalCluster, executor: Executor
) -> None:
    with Client(cluster) as client, Mine(cluster) as mine, OfAnExecutor(cluster) as derived:
        everybody = (executor, client, mine, derived)
        assert all(isinstance(one, Client) and issubclass(type(one), Client) for one in everybody)
        assert all(isinstance(one, Executor) for one in everybody)
        assert [isinstance(one, Mine) for one in everybody] == [False, False, True, False]
        assert [isinstance(one, OfAnExecutor) for one in everybody] == [False, False, False, True]
        assert [issubclass(type(one), Mine) for one in everybody] == [False, False, True, False]
        assert mine.submit(inc, 1).result() == 2
        assert repr(mine).startswith("<Mine: ")
    assert not isinstance(1, Client) and not issubclass(int, Client)


def test_without_a_scheduler_the_error_names_the_address_in_time() -> None:
    start = time.monotonic()
    with pytest.raises(OSError, match=r"tcp://127\.0\.0\.1:9 "):
        Executor("127.0.0.1:9", timeout=0.5)
    assert time.monotonic() - start < 3


def test_what_is_not_an_address_is_refused() -> None:
    with pytest.raises(ValueError, match="'nowhere' is not an address"):
        Executor("nowhere")
    with pytest.raises(TypeError, match="not 7"):
        Executor(7)  # type: ignore[arg-type]
    with pytest.raises(OSError, match=r"no scheduler has written /nonexistent within 0.1 s"):
        Executor(scheduler_file="/nonexistent", timeout=0.1)


def test_the_repr_tells_workers_threads_and_address(executor: Executor) -> None:
    text = f"<Executor: {executor.scheduler_address}, workers: 2, threads: 2>"
    assert repr(executor) == text
    with Client(executor.scheduler_address) as client:
        assert repr(client).startswith("<Client: ")
    assert "closed" in repr(client)


def test_a_closed_executor_says_so(cluster: LocalCluster, gate: str) -> None:
    executor = Executor(cluster)
    pending = executor.submit(block, gate)
    executor.close()
    executor.close()
    assert pending.status == "cancelled"
    with pytest.raises(SchedulerGone, match="closed"):
        executor.submit(inc, 1)


# Submitting


def test_submit_and_gather(executor: Executor) -> None:
    future = executor.submit(inc, 1)
    assert future.result() == 2
    assert repr(future) == f"<Future: status: finished, type: int, key: {future.key}>"
    assert future.key.startswith("inc-") and len(future.key) == len("inc-") + 32
    assert executor.gather([future]) == [2]


def test_the_scheduler_hears_of_calls_before_it_is_asked_about_them(executor: Executor) -> None:
    """The calls of a loop wait for each other."""
    for start in range(20_000, 20_200, 20):
        futures = [executor.submit(inc, n) for n in range(start, start + 20)]
        assert executor.story(futures[-1])
    assert executor.gather(futures) == list(range(20_181, 20_201))


def test_map_is_cut_to_the_shortest_and_takes_keywords(executor: Executor) -> None:
    assert executor.gather(executor.map(inc, range(5))) == [1, 2, 3, 4, 5]
    assert executor.gather(executor.map(add, range(10), [10, 20])) == [10, 21]
    assert executor.gather(executor.map(add, range(3), y=5)) == [5, 6, 7]
    five = executor.submit(inc, 4)
    assert executor.gather(executor.map(add, range(3), y=five)) == [5, 6, 7]
    assert executor.map(inc, []) == []
    with pytest.raises(ValueError, match="at least one iterable"):
        executor.map(inc)


def test_map_takes_more_than_one_message(executor: Executor) -> None:
    futures = executor.map(inc, range(10_000, 15_000))
    assert executor.gather(futures) == list(range(10_001, 15_001))


def test_futures_anywhere_in_the_arguments(executor: Executor) -> None:
    one, two = executor.submit(inc, 0), executor.submit(inc, 1)

    def collect(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    future = executor.submit(collect, [one, (two, {"x": one})], {two}, key_=[one])
    assert future.result() == (([1, (2, {"x": 1})], {2}), {"key_": [1]})
    total = executor.submit(sum, executor.map(inc, range(10)))
    assert total.result() == 55


@pytest.mark.parametrize(
    "func",
    [inc, lambda x: x + 1, partial(operator.add, 1), Adder(1), Adder(1).add, (1).__add__],
    ids=["function", "lambda", "partial", "callable", "bound method", "builtin method"],
)
def test_callables_of_all_kinds(executor: Executor, func: Callable[[int], int]) -> None:
    assert executor.submit(func, 41).result() == 42
    assert executor.gather(executor.map(func, [1, 2])) == [2, 3]


def test_classes_and_closures(executor: Executor) -> None:
    offset = 5
    assert executor.submit(lambda x: x + offset, 1).result() == 6
    assert executor.submit(Box, 3).result().content == 3


def test_equal_calls_share_one_result_also_between_clients(executor: Executor) -> None:
    token = time.time_ns()
    first = executor.submit(os.getpid), executor.submit(add, token, y=1)
    assert first[1].key == executor.submit(add, token, y=1).key
    with Executor(executor.scheduler_address) as other:
        second = other.submit(add, token, y=1)
        assert second.key == first[1].key
        assert second.result() == token + 1
    for a, b in ((1, 1.0), (1, True), ("1", 1)):
        assert executor.submit(repr, a).result() == repr(a)
        assert executor.submit(repr, b).result() == repr(b)


def test_impure_calls_run_each_time(executor: Executor) -> None:
    futures = [executor.submit(time.time_ns, pure=False) for _ in range(3)]
    assert len({future.key for future in futures}) == 3
    assert len(set(executor.gather(futures))) == 3
    futures = executor.map(lambda _: time.time_ns(), range(3), pure=False)
    assert len({future.key for future in futures}) == 3


def test_keys_of_the_users_choice(executor: Executor) -> None:
    assert executor.submit(inc, 1, key="mine").key == "mine"
    assert executor.submit(inc, 1, key=("x", 0)).key == ("x", 0)
    assert [f.key for f in executor.map(inc, range(2), key="part")] == ["part-0", "part-1"]
    assert [f.key for f in executor.map(inc, range(2), key=["a", "b"])] == ["a", "b"]


def test_a_key_never_gets_the_result_of_other_work(executor: Executor) -> None:
    one, two = executor.submit(inc, 1, key="same"), executor.submit(inc, 2, key="same")
    assert (one.result(), two.result()) == (2, 3)
    assert one.key == two.key == "same"


def test_what_is_not_callable_is_refused_at_once(executor: Executor) -> None:
    with pytest.raises(TypeError, match="5 is not callable"):
        executor.submit(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="is not callable"):
        executor.map("inc", [1])  # type: ignore[arg-type]


def test_what_cannot_be_pickled_is_refused_at_once_and_life_goes_on(executor: Executor) -> None:
    with pytest.raises(SerializationError, match="argument 1 cannot be sent"):
        executor.submit(inc, threading.Lock())
    lock = threading.Lock()
    with pytest.raises(SerializationError, match="the function lambda"):
        executor.submit(lambda: lock)
    with pytest.raises(SerializationError, match="argument 1 cannot be sent"):
        executor.map(inc, [1, threading.Lock()])
    assert executor.submit(inc, 1).result() == 2


def test_a_result_that_cannot_be_pickled_can_be_used_but_not_fetched(executor: Executor) -> None:
    lock = executor.submit(threading.Lock, pure=False)
    assert executor.submit(lambda lock: lock.acquire(False), lock, workers=None).result() is True
    with pytest.raises(SerializationError, match="cannot be sent"):
        lock.result()


def test_tasks_run_where_they_are_told(executor: Executor) -> None:
    pids = executor.run(os.getpid)
    for address, pid in pids.items():
        assert executor.submit(os.getpid, workers=address, pure=False).result() == pid
    first, second = pids
    futures = executor.map(lambda _: os.getpid(), range(2), workers=[{second}, {first}], pure=False)
    assert executor.gather(futures) == [pids[second], pids[first]]
    anywhere = executor.submit(inc, 1, workers="nobody", allow_other_workers=True)
    assert anywhere.result() == 2
    with pytest.raises(ValueError, match="goes with workers"):
        executor.submit(inc, 1, allow_other_workers=True)


def test_an_unsatisfiable_restriction_waits_and_warns(
    executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    future = executor.submit(inc, 123_456, workers="nobody")
    wait_until(lambda: "nobody" in caplog.text, 10, "a warning")
    assert future.status == "pending"
    future.cancel()


def test_retries(executor: Executor, tmp_path: Path) -> None:
    def flaky(directory: str) -> int:
        attempts = len(os.listdir(directory))
        Path(directory, str(attempts)).touch()
        if attempts < 2:
            raise RuntimeError("not yet")
        return attempts

    assert executor.submit(flaky, str(tmp_path), retries=2).result() == 2


def test_priorities(executor: Executor, gate: str) -> None:
    """A larger priority runs earlier, among what waits at the scheduler: how long `hold` takes nobody
    knows, so the worker gets one ahead, and no more."""

    def hold(path: str) -> None:
        block(path)

    (worker, *_) = executor.ncores()
    here = {"workers": worker, "pure": False}
    blocked = [executor.submit(hold, gate, **here) for _ in range(2)]
    # Or one of the others, that come in one batch with the second of these, would go before it.
    wait_until(lambda: len(executor.processing()[worker]) == 2)
    order: list[int] = []
    futures = [executor.submit(inc, n, priority=n, **here) for n in range(3)]
    for future, n in zip(futures, range(3), strict=True):
        future.add_done_callback(lambda _, n=n: order.append(n))  # type: ignore[misc]
    executor.ncores()  # once this is answered the scheduler knows of all of them
    Path(gate).touch()
    wait([*blocked, *futures])
    wait_until(lambda: len(order) == 3)
    assert order == [2, 1, 0]


# Gathering


def test_gather_keeps_the_shape(executor: Executor) -> None:
    f = executor.map(inc, range(4))
    nested = {"a": [f[0], (f[1], 7)], "b": {"c": f[2]}, "d": "text"}
    assert executor.gather(nested) == {"a": [1, (2, 7)], "b": {"c": 3}, "d": "text"}
    assert executor.gather(f[3]) == 4
    assert executor.gather({f[0], f[1]}) == {1, 2}
    assert executor.gather([f[0], f[0]]) == [1, 1]


def test_gather_takes_whatever_holds_futures(executor: Executor) -> None:
    named = dict(zip("ab", executor.map(inc, range(2)), strict=True))
    assert executor.gather(named.values()) == [1, 2]
    assert executor.gather(named.items()) == [("a", 1), ("b", 2)]
    assert executor.gather(deque(named.values())) == deque([1, 2])
    assert executor.gather(f for f in named.values()) == [1, 2]
    assert executor.gather(map(named.get, "ba")) == [2, 1]
    assert executor.gather(pd.Series(named)).to_dict() == {"a": 1, "b": 2}
    assert executor.gather(np.array(list(named.values()), dtype=object)).tolist() == [1, 2]
    assert sorted(executor.gather(as_completed(named.values()))) == [1, 2]
    with pytest.raises(TypeError, match=r"its compute\(\) returns the value"):
        executor.gather(da.ones(3).persist())


def test_siblings_of_gather_take_the_same(executor: Executor) -> None:
    named = dict(zip("ab", executor.map(inc, range(2)), strict=True))
    futures = list(named.values())
    assert wait(named.items()).done == set(futures)
    assert set(as_completed(deque(futures))) == set(futures)
    assert set(as_completed(named)) == set(futures)
    names = {future: name for name, future in named.items()}
    assert set(as_completed(names)) == set(futures)
    assert set(executor.who_has(pd.Series(named))) == {future.key for future in futures}
    with pytest.raises(TypeError, match=r"as_completed\(\) takes futures, not int: 5"):
        as_completed([5])
    with pytest.raises(TypeError, match=r"cancel\(\) takes futures, not str"):
        executor.cancel(futures[0].key)
    executor.cancel(np.array(futures, dtype=object))
    assert {future.status for future in futures} == {"cancelled"}


def test_as_completed_takes_persisted_collections(executor: Executor) -> None:
    array = da.ones(6, chunks=2).persist()
    parts = set(futures_of(array))
    assert len(parts) == 3
    assert set(as_completed(array)) == parts
    assert set(as_completed([array, executor.submit(inc, 1)])) > parts
    going = as_completed()
    going.add(array)
    assert going.count() == 3
    going.update([da.zeros(4, chunks=2).persist(), executor.submit(inc, 2)])
    assert going.count() == 6
    assert len(list(going)) == 6
    assert wait(array).done == parts


def test_a_future_that_is_made_of_its_key(cluster: LocalCluster, executor: Executor) -> None:
    future = executor.submit(np.ones, 1000)
    again = Future(future.key, executor)
    assert again.key == future.key
    del future
    assert again.result().sum() == 1000
    assert Future(again.key).executor is executor  # the default
    assert executor.submit(np.sum, again).result() == 1000
    for key in ("mine", ("x", 0)):
        named = executor.submit(inc, 1, key=key)
        assert Future(key, executor).result() == 2
        other = executor.submit(inc, 2, key=key)
        with pytest.raises(ValueError, match="2 different tasks with the key"):
            Future(key, executor)
        del named
        assert Future(key, executor).result() == other.result() == 3
    with Executor(cluster) as other_client:
        assert Future(again.key, other_client).result().sum() == 1000


def test_a_future_that_cannot_be_made_of_a_key(executor: Executor) -> None:
    with pytest.raises(LostData, match="nothing-of-that-name"):
        Future("nothing-of-that-name", executor).result(timeout=20)
    for key in (("x", 99), None, "\ud800"):
        with pytest.raises(ValueError, match="has no future with the key"):
            Future(key, executor)
    with pytest.raises(TypeError, match="a key is a string"):
        Future([1], executor)
    with pytest.raises(TypeError, match="a future belongs to an Executor"):
        Future("x", "127.0.0.1:8786")  # type: ignore[arg-type]


def test_gather_raises_or_skips(executor: Executor) -> None:
    good, bad = executor.submit(inc, 1), executor.submit(div, 1, 0)
    with pytest.raises(ZeroDivisionError):
        executor.gather([good, bad])
    assert executor.gather([good, bad, good], errors="skip") == [2, 2]
    assert executor.gather({"g": good, "b": bad}, errors="skip") == {"g": 2}
    with pytest.raises(ValueError, match="errors is"):
        executor.gather(good, errors="ignore")


def test_gather_raises_as_soon_as_one_has_failed(executor: Executor, gate: str) -> None:
    with pytest.raises(ZeroDivisionError):
        executor.gather([executor.submit(block, gate), executor.submit(div, 2, 0)])


def test_gather_raises_what_has_failed_before(executor: Executor, gate: str) -> None:
    failed = executor.submit(div, 4, 0)
    wait(failed)
    with pytest.raises(ZeroDivisionError):
        executor.gather([executor.submit(block, gate), failed])


def test_large_results_come_whole(executor: Executor) -> None:
    array = executor.submit(np.arange, 3_000_000)
    frame = executor.submit(lambda n: pd.DataFrame({"x": np.arange(n)}), 1_000_000)
    copies = executor.map(lambda a, n: a + n, [array] * 4, range(4))
    assert array.result()[-1] == 2_999_999
    assert array.result().flags.writeable
    assert frame.result().x.sum() == sum(range(1_000_000))
    for n, copy in enumerate(executor.gather(copies)):
        assert copy[0] == n and len(copy) == 3_000_000


# Scatter


def test_scatter_keeps_the_shape(executor: Executor) -> None:
    futures = executor.scatter([1, 2, 3])
    assert [future.status for future in futures] == ["finished"] * 3
    assert executor.gather(futures) == [1, 2, 3]
    named = executor.scatter({"x": 1, "y": np.ones(3)})
    assert named["x"].key == "x"
    assert executor.gather(named)["y"].sum() == 3
    single = executor.scatter(pd.DataFrame({"a": [1]}))
    assert isinstance(single, Future)
    assert single.type is pd.DataFrame
    assert executor.submit(len, single).result() == 1
    assert executor.gather(executor.scatter((1, 2))) == (1, 2)
    assert executor.gather(executor.scatter({1, 2})) == {1, 2}
    assert executor.gather(executor.scatter(range(2))) == [0, 1]
    assert executor.gather(executor.scatter(Point(1, 2))) == Point(1, 2)


@pytest.mark.parametrize(
    "data",
    [
        OrderedDict(a=1),
        Counter("aab"),
        defaultdict(int, a=1),
        UserDict(a=1),
        UserList([1]),
        deque([1]),
        types.MappingProxyType({"a": 1}),
        xarray.Dataset({"a": ("x", [1.0, 2.0])}),
    ],
    ids=lambda data: type(data).__name__,
)
def test_only_plain_containers_are_scattered_in_parts(executor: Executor, data: Any) -> None:
    future = executor.scatter(data)
    assert isinstance(future, Future)
    result = future.result()
    assert type(result) is type(data)
    assert result.equals(data) if isinstance(data, xarray.Dataset) else result == data


def test_equal_data_has_an_equal_key(executor: Executor) -> None:
    one, two = executor.scatter([np.arange(5), np.arange(5)])
    assert one.key == two.key
    assert executor.scatter("text", hash=False).key != executor.scatter("text", hash=False).key


def test_scatter_spreads_and_broadcasts(executor: Executor) -> None:
    futures = executor.scatter([object() for _ in range(4)], hash=False)
    places = [place for places in executor.who_has(futures).values() for place in places]
    assert sorted(places) == sorted(2 * list(executor.ncores()))
    everywhere = executor.scatter(np.arange(10), broadcast=True, hash=False)
    assert set(executor.who_has(everywhere)[everywhere.key]) == set(executor.ncores())
    (one, *_) = executor.ncores()
    there = executor.scatter([1.5, 2.5], workers=one, hash=False)
    assert all(places == [one] for places in executor.who_has(there).values())


def test_large_data_is_scattered_in_parts(executor: Executor) -> None:
    data = np.arange(4_000_000)
    future = executor.scatter(data, hash=False)
    assert executor.submit(np.sum, future).result() == data.sum()
    assert (future.result() == data).all()


# Futures


def test_exceptions_come_back_with_the_users_lines(executor: Executor) -> None:
    future = executor.submit(div, 1, 0)
    with pytest.raises(ZeroDivisionError) as raised:
        future.result()
    shown = "".join(traceback.format_tb(raised.value.__traceback__))
    assert "return x / y" in shown
    for module in ("worker.py", "tasks.py", "broker.py", "scheduler.py"):
        assert f"distributed/{module}" not in shown
    assert future.status == "error"
    assert repr(future.exception()) == "ZeroDivisionError('division by zero')"
    assert "return x / y" in "".join(traceback.format_tb(future.traceback()))
    assert executor.submit(inc, 1).exception() is None
    assert executor.submit(inc, 1).traceback() is None


def test_dependents_of_a_failed_task_fail_alike(executor: Executor) -> None:
    future = executor.submit(inc, executor.submit(inc, executor.submit(div, 3, 0)))
    assert isinstance(future.exception(), ZeroDivisionError)
    assert future.status == "error"


def test_awkward_exceptions(executor: Executor) -> None:
    def deep(n: int) -> int:
        return deep(n - 1) if n else div(n, 0)  # type: ignore[return-value]

    def unpicklable() -> None:
        error = ValueError("with a lock")
        error.lock = threading.Lock()  # type: ignore[attr-defined]
        raise error

    assert len(str(executor.submit(lambda: 1 / 0 if 0 else _huge()).exception())) < 20_000
    tb = executor.submit(deep, 900).traceback()
    assert len(traceback.extract_tb(tb)) < 100
    remote = executor.submit(unpicklable).exception()
    assert isinstance(remote, RemoteError)
    assert remote.type_name == "ValueError" and "with a lock" in str(remote)
    assert isinstance(executor.submit(sys.exit, 3).exception(), SystemExit)
    assert executor.submit(inc, 1).result() == 2


def _huge() -> None:
    raise ValueError("x" * 10_000_000)


def test_waiting_for_a_result_can_be_limited(executor: Executor, gate: str) -> None:
    future = executor.submit(block, gate)
    with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
        future.result(timeout=0.05)
    with pytest.raises(TimeoutError):
        future.exception(timeout=0.05)
    with pytest.raises(TimeoutError):
        wait(future, timeout=0.05)
    assert future.status == "pending" and not future.done()
    Path(gate).touch()
    assert future.result(timeout=10) == gate
    assert future.done()


def test_cancelling(executor: Executor, gate: str) -> None:
    blocked = [executor.submit(block, gate, pure=False) for _ in range(4)]
    dependent = executor.submit(len, blocked[3])
    executor.cancel(blocked)
    assert all(future.cancelled() for future in blocked)
    wait(dependent)
    assert dependent.status == "cancelled"
    with pytest.raises(CancelledError, match="was cancelled"):
        blocked[0].result()
    Path(gate).touch()
    assert executor.submit(inc, 1).result() == 2


def test_callbacks(executor: Executor) -> None:
    called: list[Any] = []
    future = executor.submit(inc, 77)
    future.add_done_callback(lambda f: called.append(f.result()))
    wait_until(lambda: called == [78])
    future.add_done_callback(called.append)
    wait_until(lambda: called == [78, future])


def test_a_callback_that_has_been_called_lets_go_of_the_future(
    executor: Executor, gate: str
) -> None:
    """Without anything else that happens to its client."""
    called: list[str] = []
    with Executor(executor.scheduler_address) as other:
        future = other.submit(block, gate)
        key = future.key
        future.add_done_callback(lambda f: called.append(f.result()))
        del future
        Path(gate).touch()
        wait_until(lambda: called == [gate])
        wait_until(lambda: key not in executor.who_has())


def test_types(executor: Executor) -> None:
    assert executor.submit(inc, 1).type in (None, int)
    small, large = executor.submit(inc, 1), executor.submit(np.zeros, 100_000)
    wait([small, large])
    assert (small.type, large.type) == (int, np.ndarray)


def test_dropping_the_last_future_frees_the_data(executor: Executor) -> None:
    future = executor.submit(inc, time.time_ns())
    key = future.key
    future.result()
    copies = [future]
    assert key in executor.who_has()
    del future
    assert key in executor.who_has()
    copies.clear()
    wait_until(lambda: key not in executor.who_has())


def test_a_released_future_lets_go_too(executor: Executor) -> None:
    future = executor.submit(inc, time.time_ns())
    key = future.key
    future.result()
    future.release()
    assert future.status == "cancelled"
    wait_until(lambda: key not in executor.who_has())


def test_another_client_keeps_the_data(executor: Executor) -> None:
    token = time.time_ns()
    mine = executor.submit(inc, token)
    key = mine.key
    mine.result()
    with Executor(executor.scheduler_address) as other:
        theirs = other.submit(inc, token)
        assert theirs.result() == token + 1
        del mine
        wait_until(lambda: key not in executor._connection.core.entries)
        executor.ncores()  # answered after the release
        assert key in other.who_has()
        assert theirs.result() == token + 1
    wait_until(lambda: key not in executor.who_has())


def test_intermediate_results_are_freed(executor: Executor) -> None:
    total = executor.submit(sum, executor.map(inc, range(900, 910)))
    assert total.result() == sum(range(901, 911))
    wait_until(lambda: list(executor.who_has()) == [total.key])


def test_futures_travel_into_tasks_and_back(executor: Executor) -> None:
    def use(box: Box) -> int:
        result: int = box.content.result() + 1
        return result

    def back(box: Box) -> Any:
        return box.content

    inner = executor.submit(inc, 10)
    assert executor.submit(use, Box(inner)).result() == 12
    returned = executor.submit(back, Box(inner)).result()
    assert isinstance(returned, Future)
    assert returned.result() == 11


def test_tasks_that_wait_for_others_do_not_block_the_cluster(executor: Executor) -> None:
    """More of them than there are threads."""

    def use(box: Box) -> Any:
        return box.content.result()

    inner = [executor.submit(inc, n, priority=-1, pure=False) for n in range(6)]
    outer = executor.map(use, [Box(future) for future in inner])
    assert executor.gather(outer) == [1, 2, 3, 4, 5, 6]


# Many futures


def test_wait(executor: Executor, gate: str) -> None:
    done = executor.map(inc, range(3))
    assert wait(done) == (set(done), set())
    blocked = executor.submit(block, gate)
    first = wait([blocked, *done], return_when="FIRST_COMPLETED")
    assert first.not_done == {blocked}
    with pytest.raises(ValueError, match="return_when"):
        wait(done, return_when="SOMETIME")
    with pytest.raises(TypeError, match="takes futures"):
        wait([1])  # type: ignore[list-item]


def test_as_completed_goes_by_the_time_of_ending(executor: Executor, tmp_path: Path) -> None:
    gates = [str(tmp_path / name) for name in "ab"]
    futures = executor.map(block, gates)
    sequence = as_completed(futures)
    Path(gates[1]).touch()
    assert next(sequence) is futures[1]
    extra = executor.submit(inc, 1)
    sequence.add(extra)
    assert next(sequence) is extra
    assert sequence.count() == 1
    Path(gates[0]).touch()
    assert list(sequence) == [futures[0]]
    assert sequence.is_empty()


def test_as_completed_with_results(executor: Executor) -> None:
    futures = executor.map(inc, range(5))
    pairs = dict(as_completed([*futures, futures[0]], with_results=True))
    assert pairs == {future: n + 1 for n, future in enumerate(futures)}


def test_fire_and_forget(executor: Executor, tmp_path: Path) -> None:
    path = tmp_path / "done"

    def write(path: str) -> None:
        Path(path).write_text("x")

    fire_and_forget(executor.submit(write, str(path)))
    wait_until(path.exists)


# The cluster


def test_questions_about_the_cluster(executor: Executor) -> None:
    ncores = executor.ncores()
    assert list(ncores.values()) == [1, 1]
    assert all(address.startswith("tcp://127.0.0.1:") for address in ncores)
    future = executor.submit(inc, 4321)
    future.result()
    ((key, (place,)),) = executor.who_has([future]).items()
    assert key == future.key
    assert key in executor.has_what()[place]
    assert executor.nbytes([future])[key] > 0
    assert executor.processing().keys() == ncores.keys()
    info = executor.scheduler_info()
    assert info["address"] == executor.scheduler_address
    assert info["workers"].keys() == ncores.keys()
    executor.wait_for_workers(2, timeout=1)
    with pytest.raises(TimeoutError, match="2 of 3 workers"):
        executor.wait_for_workers(3, timeout=0.05)


def test_run_everywhere_beside_the_tasks(executor: Executor, gate: str) -> None:
    blocked = [executor.submit(block, gate, pure=False) for _ in range(4)]
    assert set(executor.run(add, 1, y=2)) == set(executor.ncores())
    (one, _) = executor.ncores()
    assert executor.run(inc, 1, workers=one) == {one: 2}
    with pytest.raises(ZeroDivisionError):
        executor.run(div, 1, 0)
    Path(gate).touch()
    wait(blocked)


def test_large_answers_come_from_their_workers(executor: Executor) -> None:
    answers = executor.run(lambda: "x" * (1 << 20))
    assert [len(answer) for answer in answers.values()] == [1 << 20] * 2
    wait_until(lambda: not any(executor.has_what().values()))

    def fail_on_one() -> bytes:
        import distributed

        worker = distributed.get_worker()
        if worker.address == max(worker.client.ncores()):
            raise ValueError("not here")
        return bytes(1 << 20)

    with pytest.raises(ValueError, match="not here"):
        executor.run(fail_on_one)
    wait_until(lambda: not any(executor.has_what().values()))


def test_what_is_too_large_for_all_workers_is_refused(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MAX_ARGUMENT_BYTES", 1000)
    with pytest.raises(ValueError, match=r"the call takes .* bytes, more than the limit of 1,000"):
        executor.run(len, bytes(2000))
    (tmp_path / "data").write_bytes(bytes(2000))
    with pytest.raises(
        ValueError, match=r"data takes 2,000 bytes, .*: put it where all workers can"
    ):
        executor.upload_file(tmp_path / "data")
    monkeypatch.setattr(recipes, "MAX_ARGUMENT_BYTES", 1000)
    large = bytes(2000)
    with pytest.raises(ValueError, match=r"the function .*lambda.* bytes with what it refers to"):
        executor.submit(lambda: large)


def test_uploaded_modules_can_be_imported_and_replaced(executor: Executor, tmp_path: Path) -> None:
    def use() -> str:
        import uploaded_module

        return str(uploaded_module.value())

    module = tmp_path / "uploaded_module.py"
    for version in ("one", "two"):
        module.write_text(f"def value(): return {version!r}\n")
        executor.upload_file(module)
        assert executor.submit(use, pure=False).result() == version
        assert set(executor.run(use).values()) == {version}


def test_uploaded_archives_can_be_imported(executor: Executor, tmp_path: Path) -> None:
    archive = tmp_path / "uploaded_archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("uploaded_package/__init__.py", "value = 'zipped'\n")
    executor.upload_file(archive)

    def use() -> str:
        import uploaded_package

        return str(uploaded_package.value)

    assert set(executor.run(use).values()) == {"zipped"}


def test_uploaded_data_is_in_the_directory_of_the_worker(
    executor: Executor, tmp_path: Path
) -> None:
    data = tmp_path / "data.csv"
    data.write_text("1,2,3")
    executor.upload_file(data)

    def read() -> str:
        return Path(get_worker().local_directory, "data.csv").read_text()

    assert executor.submit(read).result() == "1,2,3"
    assert set(executor.run(read).values()) == {"1,2,3"}


def worker_of_a_thread() -> str:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(get_worker).result().address


def test_a_worker_is_known_in_all_that_runs_there(executor: Executor) -> None:
    workers = {address: address for address in executor.ncores()}
    assert executor.run(lambda: get_worker().address) == workers
    assert executor.submit(worker_of_a_thread).result() in workers
    with pytest.raises(ValueError, match="no worker runs in this process"):
        get_worker()


def test_a_module_with_a_syntax_error_is_refused(executor: Executor, tmp_path: Path) -> None:
    module = tmp_path / "broken_module.py"
    module.write_text("def f(:\n")
    with pytest.raises(SyntaxError, match="broken_module"):
        executor.upload_file(module)
    with pytest.raises(FileNotFoundError):
        executor.upload_file(tmp_path / "no_such_file.csv")


def test_graphs(executor: Executor) -> None:
    seven = executor.submit(inc, 6)
    graph = {
        "x": 1,
        "alias": "x",
        "y": (inc, "x"),
        ("z", 0): (sum, ["x", "y", (double, "alias")]),
        "future": (add, seven, "y"),
    }
    assert executor.get(graph, "y") == 2
    assert executor.get(graph, ["x", ["alias", ("z", 0)], []]) == [1, [1, 5], []]
    assert executor.get(graph, "future") == 9
    assert executor.get({"x": (inc, 1)}, "x") == 2
    assert executor.get({"x": (inc, 2)}, "x") == 3
    with pytest.raises(KeyError, match="'nothing' is not in the graph"):
        executor.get(graph, "nothing")
    with pytest.raises(ZeroDivisionError):
        executor.get({"x": (div, 1, 0), "y": (inc, "x")}, "y")


def test_twenty_threads_share_an_executor(executor: Executor) -> None:
    results: dict[int, int] = {}

    def work(number: int) -> None:
        futures = executor.map(add, range(50), [number] * 50)
        total = executor.submit(sum, futures)
        results[number] = sum(executor.gather(futures)) - total.result() + number

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: number for number in range(20)}


def test_in_a_fork_of_its_process_it_says_so(executor: Executor) -> None:
    pid = os.fork()
    if not pid:
        try:
            executor.submit(inc, 1)
        except SchedulerGone as error:
            os._exit(7 if "is a fork of it" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_what_cannot_be_sent_is_named(executor: Executor) -> None:
    with pytest.raises(SerializationError, match=r"argument 2 .* a lock cannot be pickled"):
        executor.submit(inc, 1, threading.Lock())
    with pytest.raises(
        SerializationError, match=r"an Executor stays in its process.*get_client\(\)"
    ):
        executor.submit(inc, executor)
    with pytest.raises(TypeError, match="workers are names or addresses, not 3"):
        executor.submit(inc, 1, workers=3)


def test_a_task_that_asks_for_input_is_told_that_there_is_none(executor: Executor) -> None:
    assert isinstance(executor.submit(input).exception(timeout=10), EOFError)
