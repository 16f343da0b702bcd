"""Tasks that do what no task should: each ends as it must, and the others do not notice."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from distributed import Executor, Future, KilledWorker
from distributed.core.scheduler import DIED_SECONDS
from tests.chaos.cluster import WORKER_TIMEOUT, Cluster, send_signal, until_gone
from tests.chaos.tasks import slowly_add
from tests.support import Baseline, wait_until

# Longer than a worker may be silent; `make chaos` goes on for more than 30 s.
HOLD_SECONDS = float(os.environ.get("CHAOS_HOLD_SECONDS", 1.5 * WORKER_TIMEOUT))
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:  # type: ignore[override]
    with Cluster(nannies=1, nprocs=2) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def no_leaks(time_limit: None, cluster: Cluster) -> Iterator[None]:
    """As everywhere; but for the workers that come in the place of others."""
    baseline = Baseline()
    yield
    baseline.check(expected=cluster.worker_pids)


@pytest.fixture
def executor(cluster: Cluster) -> Iterator[Executor]:  # type: ignore[override]
    cluster.wait_for_workers()
    with cluster.connect() as executor:
        yield executor


@pytest.fixture
def others(executor: Executor) -> Iterator[None]:
    """Work beside that of the test, which has to end well. And afterwards all workers are there."""
    start = time.time_ns()
    futures = executor.map(slowly_add, range(start, start + 40), [1] * 40, seconds=0.01)
    yield
    assert executor.gather(futures) == list(range(start + 1, start + 41))


def killed(future: Future, pattern: str) -> None:
    with pytest.raises(KilledWorker, match=pattern):
        future.result(30)


# Processes


def fork(ends: bool) -> tuple[str, int]:
    child = os.fork()
    if child:
        return "parent", child
    if not ends:
        time.sleep(60)  # on a worker
    return "child", 0


@pytest.mark.parametrize("ends", [True, False])
def test_fork(cluster: Cluster, executor: Executor, others: None, ends: bool) -> None:
    """Also if the child lives on. It has the worker's sockets, so that no connection closes when that dies,
    and ends then."""
    workers = set(cluster.worker_pids())
    forked = [executor.submit(fork, ends, pure=False, workers=w) for w in executor.ncores()]
    assert [who for who, _ in executor.gather(forked)] == ["parent"] * 2
    assert executor.gather(executor.map(slowly_add, range(50), range(50))) == list(range(0, 100, 2))
    assert set(cluster.worker_pids()) == workers
    for pid in workers:
        send_signal(pid, signal.SIGKILL)
        until_gone(pid)
    # Told by the nanny, which does not wait for anything.
    wait_until(lambda: not workers & set(cluster.registered(executor)), DIED_SECONDS, "their loss")


def send_to_itself(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)  # on a worker


def fork_and_wait(ending: str) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ending == "exit":
        sys.exit(3)
    if ending == "raise":
        raise ValueError("a child")
    return 7


@pytest.mark.parametrize(("ending", "status"), [("return", 0), ("exit", 3), ("raise", 1)])
def test_a_child_that_comes_back_from_its_task_ends(
    executor: Executor, ending: str, status: int
) -> None:
    assert executor.submit(fork_and_wait, ending, pure=False).result(20) == status


def close_all(first: int) -> None:
    os.closerange(first, 1000)
    time.sleep(60)  # on a worker


def close_all_and_return(first: int) -> None:
    os.closerange(first, 1000)


@pytest.mark.parametrize(
    ("function", "argument", "pattern"),
    [
        (os._exit, 0, "exit status 0"),
        (send_to_itself, signal.SIGSEGV, "SIGSEGV"),
        (close_all, 3, ""),
        (close_all, 0, ""),
        (close_all_and_return, 3, ""),
        (close_all_and_return, 0, ""),
    ],
)
def test_a_task_that_ends_its_process(
    executor: Executor, others: None, function: Callable[..., Any], argument: int, pattern: str
) -> None:
    killed(executor.submit(function, argument, pure=False), f"(?s)4 workers died.*{pattern}")


def exit_as_scripts_do(status: int) -> None:
    sys.exit(status)


def interrupt() -> None:
    raise KeyboardInterrupt


def exhaust_python(depth: int) -> int:
    return exhaust_python(depth + 1)


@pytest.mark.parametrize(
    ("function", "arguments", "error"),
    [
        (exit_as_scripts_do, (3,), SystemExit),
        (interrupt, (), KeyboardInterrupt),
        (exhaust_python, (0,), RecursionError),
    ],
)
def test_what_ends_a_program_ends_only_the_task(
    cluster: Cluster,
    executor: Executor,
    others: None,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    error: type[BaseException],
) -> None:
    before = set(cluster.worker_pids())
    future = executor.submit(function, *arguments)
    with pytest.raises(error):
        future.result(10)
    assert future.status == "error"
    assert set(cluster.worker_pids()) == before


# Memory


def exhaust_c() -> None:
    """A million iterators inside each other: the C stack ends before Python looks."""
    nested: Any = iter((1,))
    for _ in range(1_000_000):
        nested = filter(None, nested)
    next(nested)


def test_a_stack_that_overflows(executor: Executor, others: None) -> None:
    killed(executor.submit(exhaust_c), "(?s)4 workers died.*SIGSEGV")


def fill_memory(limit: int) -> None:
    blocks = []
    while len(blocks) * 10 * MEGABYTE < 2 * limit:
        blocks.append(b"x" * (10 * MEGABYTE))
    time.sleep(60)  # on a worker


def test_more_memory_than_the_limit() -> None:
    limit = 300 * MEGABYTE
    with (
        Cluster(nannies=1, nprocs=1, memory_limit=str(limit)) as cluster,
        cluster.connect() as executor,
    ):
        pattern = r"(?s)4 workers died.*memory: it used \d\.\d\d GB of its limit of 0\.31 GB"
        killed(executor.submit(fill_memory, limit), pattern)
        assert executor.submit(slowly_add, 1, 1).result(10) == 2


# What holds up others


def hold_the_interpreter(seconds: float) -> str:
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    return "held"


def test_a_task_that_holds_the_interpreter_lock(
    cluster: Cluster, executor: Executor, others: None
) -> None:
    """Its worker says nothing all that time, and is not given up."""
    assert HOLD_SECONDS > WORKER_TIMEOUT
    before = set(cluster.worker_pids())
    assert executor.submit(hold_the_interpreter, HOLD_SECONDS).result(40) == "held"
    assert set(cluster.worker_pids()) == before
    assert set(cluster.registered(executor)) == before


def print_much(in_one_line: bool, stream: str) -> int:
    text = "x" * (MEGABYTE - 1) + ("" if in_one_line else "\n")
    return sum(getattr(sys, stream).write(text) for _ in range(100))


@pytest.mark.parametrize(("stream", "in_one_line"), [("stdout", True), ("stderr", False)])
def test_a_task_that_prints_100_megabytes(
    cluster: Cluster, executor: Executor, others: None, in_one_line: bool, stream: str
) -> None:
    (nanny,) = cluster.nanny_pids()
    before = psutil.Process(nanny).memory_info().rss
    printed = executor.submit(print_much, in_one_line, stream).result(50)
    assert printed == 100 * MEGABYTE - (100 if in_one_line else 0)
    assert psutil.Process(nanny).memory_info().rss < before + 20 * MEGABYTE
    assert psutil.Process().memory_info().rss < 1000 * MEGABYTE
