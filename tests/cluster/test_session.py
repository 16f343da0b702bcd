"""What a user of dask types first: it works, or says in a sentence what to do."""

from __future__ import annotations

import json
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import pytest

import distributed
from distributed import (
    Client,
    Executor,
    LocalCluster,
    Reschedule,
    SchedulerGone,
    as_completed,
    default_client,
    futures_of,
    get_worker,
    logs,
    rejoin,
    secede,
    wait,
    worker_client,
)
from distributed.utils_test import inc, slowinc
from tests.support import block, wait_until


def fail(*_: Any) -> None:
    raise ValueError("as told")


# Starting


def test_a_client_takes_what_tutorials_give_it(tmp_path: Path) -> None:
    logs.say_once.cache_clear()
    with Client(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        memory_limit="1 GiB",
        dashboard_address=":8787",
        local_directory=tmp_path / "made",
        silence_logs=logging.ERROR,
        name="mine",
        host="127.0.0.1",
        scheduler_port=0,
        resources={"GPU": 1},
        security=None,
        asynchronous=False,
        timeout="20 s",
    ) as client:
        assert repr(client).startswith("<Client mine: tcp://127.0.0.1:")
        assert list(client.nthreads().values()) == [2]
        assert client.cluster is not None and client.cluster.status == "running"
        assert client.scheduler.address == client.scheduler_address
        assert client.dashboard_link is client.cluster.dashboard_link is None
        directory = client.submit(lambda: get_worker().local_directory).result("1 minute")
        assert directory.startswith(str(tmp_path / "made"))
        assert client.submit(inc, 1, resources={"GPU": 1}).result() == 2
        assert client.cluster.scheduler_info["tasks"] is not None
    assert client.cluster.status == "closed"
    with pytest.raises(SchedulerGone, match=r"closed>: start another"):
        Client(client.cluster)


def test_what_does_not_exist_is_said_once_by_its_name(caplog: pytest.LogCaptureFixture) -> None:
    logs.say_once.cache_clear()
    for _ in range(2):
        LocalCluster(n_workers=0, dashboard_address=None).close()
        LocalCluster(n_workers=0, dashboard_address=":0").close()
    assert caplog.text.count("dashboard_address means nothing here") == 1


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda: Client(n_worker=2),
            TypeError,
            "no parameter 'n_worker': do you mean 'n_workers'?",
        ),
        (lambda: LocalCluster(threads=2), TypeError, "no parameter 'threads'"),
        (lambda: LocalCluster(n_workers=-1), ValueError, "n_workers is a whole number from 0"),
        (
            lambda: LocalCluster(n_workers="two"),
            TypeError,
            "n_workers is a whole number, not 'two'",
        ),
        (lambda: LocalCluster(memory_limit="lots"), ValueError, "not an amount of memory"),
        (lambda: LocalCluster(timeout="soon"), ValueError, "timeout is a time like '5s'"),
        (lambda: Client(security=True), NotImplementedError, "not encrypted yet"),
        (lambda: Client(asynchronous=True), NotImplementedError, "futures can be awaited"),
        (lambda: Client("no.such.host.example:8786"), SchedulerGone, "is not known"),
        (lambda: Client("127.0.0.1:1", n_worker=1), TypeError, "do you mean 'n_workers'"),
        (lambda: Client("127.0.0.1:1", n_workers=1), ValueError, "a cluster that is started here"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(
    make: Callable[[], Any], error: type[Exception], text: str
) -> None:
    begin = time.monotonic()
    with pytest.raises(error) as caught:
        make()
    assert text in str(caught.value)
    assert time.monotonic() - begin < 5


def test_the_configured_scheduler_is_used_and_that_is_said(
    executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    with dask.config.set({"scheduler-address": executor.scheduler_address}), Executor() as other:
        assert other.scheduler_address == executor.scheduler_address and other.cluster is None
    assert "DASK_SCHEDULER_ADDRESS" in caplog.text


def test_a_scheduler_file_is_waited_for(executor: Executor, tmp_path: Path) -> None:
    path = tmp_path / "scheduler.json"
    found: list[str] = []

    def connect() -> None:
        with Executor(scheduler_file=path, set_as_default=False) as other:
            found.append(other.scheduler_address)

    waiter = threading.Thread(target=connect)
    waiter.start()
    executor.write_scheduler_file(path)
    waiter.join()
    assert found == [executor.scheduler_address] == [json.loads(path.read_text())["address"]]
    with pytest.raises(SchedulerGone, match=r"no scheduler has written .* within 0.1 s"):
        Executor(scheduler_file=tmp_path / "other", timeout=0.1)


def test_which_is_the_default_can_be_said(executor: Executor) -> None:
    with Executor(executor.scheduler_address, set_as_default=False) as other:
        assert default_client() is executor
        with other.as_current():
            assert default_client() is other
        assert default_client() is executor


def test_a_cluster_has_as_many_workers_as_is_said() -> None:
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, cluster.get_client() as client:
        for count in (3, 1, 2):
            cluster.scale(count)
            wait_until(lambda count=count: len(client.nthreads()) == count)  # type: ignore[misc]
            assert client.gather(client.map(inc, range(4), pure=False)) == [1, 2, 3, 4]
        assert any("the scheduler" in name for name in cluster.get_logs())
        with pytest.raises(NotImplementedError, match="scale"):
            cluster.adapt(maximum=3)


# Waiting


def test_waiting_for_the_first_that_fails(executor: Executor, gate: str) -> None:
    running, failing = executor.submit(block, gate), executor.submit(fail)
    done, not_done = wait([running, failing], "1 minute", return_when="FIRST_EXCEPTION")
    assert (done, not_done) == ({failing}, {running})


@pytest.mark.parametrize("call", [
    lambda e, f: wait(f, f), lambda e, f: f.result("soon"), lambda e, f: e.wait_for_workers(1, [1]),
    lambda e, f: as_completed([f], timeout="x"), lambda e, f: e.submit(inc, 1, time_limit="x"),
])  # fmt: skip
def test_a_time_that_is_none_is_refused_by_its_name(
    executor: Executor, call: Callable[..., Any]
) -> None:
    with pytest.raises((TypeError, ValueError), match=r"(timeout|time_limit) is a "):
        call(executor, executor.submit(inc, 1))


def test_a_timeout_says_what_is_known_of_the_reason(executor: Executor) -> None:
    with pytest.raises(
        TimeoutError, match=r"have not ended within 0.1 s: it cannot run anywhere.*GPU=7"
    ):
        executor.submit(inc, 1, resources={"GPU": 7}).result(0.1)
    with pytest.raises(ValueError, match=r"n_workers is a whole number from 1 on, not 0"):
        executor.wait_for_workers(0)


def test_futures_that_end_in_batches_and_with_their_errors(executor: Executor) -> None:
    futures = executor.map(inc, range(10))
    assert sum(len(batch) for batch in as_completed(futures).batches()) == 10
    ((future, error),) = as_completed(
        [executor.submit(fail)], with_results=True, raise_errors=False
    )
    assert future.status == "error" and isinstance(error, ValueError)
    ended = as_completed(futures)
    next(ended)
    ended.clear()
    assert list(ended) == [] and ended.is_empty()


def test_futures_show_what_they_are(executor: Executor) -> None:
    future = executor.submit(inc, 1.5)
    assert future.result() == 2.5 and future.client is executor
    assert "status: finished, type: float, key: inc-" in repr(future)
    assert "<td>finished</td>" in future._repr_html_()
    assert "<td>workers</td>" in executor._repr_html_()
    assert executor.futures_of([future]) == futures_of([future], client=executor) == [future]


def test_what_has_failed_can_run_again(executor: Executor, tmp_path: Path) -> None:
    flag = tmp_path / "flag"

    def need(path: Path) -> int:
        return int(path.read_text())

    first = executor.submit(need, flag)
    second = executor.submit(inc, first)
    assert isinstance(second.exception(), FileNotFoundError)
    flag.write_text("4")
    second.retry()
    assert (first.result(), second.result()) == (4, 5)


# The whole cluster


def test_run_knows_its_worker_and_what_to_do_with_errors(executor: Executor) -> None:
    def name(dask_worker: Any) -> str:
        return str(dask_worker.address)

    assert executor.run(function=name) == {address: address for address in executor.nthreads()}
    assert {str(e) for e in executor.run(fail, on_error="return").values()} == {"as told"}
    assert executor.run(fail, on_error="ignore") == executor.run(fail, wait=False) == {}
    with pytest.raises(NotImplementedError, match="nannies run no functions"):
        executor.run(inc, 1, nanny=True)


def test_copies_of_results(executor: Executor) -> None:
    futures = executor.map(slowinc, range(3), delay=0.01, pure=False)
    executor.replicate(futures, n=2)
    assert {len(places) for places in executor.who_has(futures).values()} == {2}
    with pytest.raises(ValueError, match="n is from 1 to 2"):
        executor.replicate(futures, n=3)


def test_versions_are_compared(executor: Executor) -> None:
    found = executor.get_versions(check=True, packages=["pytest"])
    assert found["client"]["distributed"] == distributed.__version__ and found["client"]["pytest"]
    assert set(found["workers"]) == set(executor.nthreads())


def test_what_the_scheduler_knows_of_workers(executor: Executor) -> None:
    info = executor.scheduler_info(n_workers=1)
    ((address, worker),) = info["workers"].items()
    assert worker["host"] == "127.0.0.1" and worker["status"] == "running" and worker["id"]
    assert abs(time.time() - worker["last_seen"]) < 60 and worker["metrics"]["memory"] > 0
    assert executor.nthreads(address) == {address: 1}


# Inside tasks


def test_a_task_may_run_again_elsewhere(executor: Executor, tmp_path: Path) -> None:
    def once(path: Path) -> str:
        if not path.exists():
            path.touch()
            raise Reschedule
        return "again"

    assert executor.submit(once, tmp_path / "flag", retries=0).result() == "again"


def test_a_task_has_a_client(executor: Executor) -> None:
    def outer(x: int) -> int:
        secede()
        with worker_client() as client:
            found = client.submit(inc, x).result()
            assert get_worker().client is client
        rejoin()
        return int(found)

    assert executor.submit(outer, 1).result() == 2
    for outside in (secede, rejoin):
        with pytest.raises(ValueError, match="is for tasks"):
            outside()


def test_a_module_that_is_missing_is_named_with_its_worker(executor: Executor) -> None:
    def load() -> None:
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401

    with pytest.raises(ModuleNotFoundError) as caught:
        executor.submit(load).result()
    (note,) = caught.value.__notes__
    assert "cannot import no_such_module: install it there, send it with" in note


# What it says


@pytest.mark.parametrize("name", distributed._ELSEWHERE)
def test_names_that_are_not_here_say_what_to_use(name: str) -> None:
    with pytest.raises(AttributeError, match=f"there is no distributed.{name} here: use "):
        getattr(distributed, name)


def test_errors_of_collections_hide_our_own_lines(executor: Executor) -> None:
    with pytest.raises(ValueError) as caught:
        dask.delayed(fail)().compute()
    files = {Path(line.filename).name for line in traceback.extract_tb(caught.value.__traceback__)}
    assert not files & {"executor.py", "gathering.py", "futures.py"}


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    logs.say_once.cache_clear()
    yield caplog
    logs.say_once.cache_clear()


def test_a_large_argument_is_mentioned_once(
    executor: Executor, warned: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        assert executor.submit(len, bytes(11_000_000), pure=False).result() == 11_000_000
    assert warned.text.count("scatter() sends large data once") == 1
