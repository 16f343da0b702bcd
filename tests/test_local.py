"""LocalCluster: it starts, says what it is, and leaves nothing behind in whatever way it ends."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import dask
import psutil
import pytest

from distributed import DistributedError, Executor, LocalCluster, TimeoutError, get_worker
from tests.support import wait_until

ROOT = Path(__file__).parent.parent


def descendants(pid: int | None = None) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_it_says_what_it_is() -> None:
    with LocalCluster(n_workers=2, threads_per_worker=3) as cluster:
        assert re.fullmatch(r"tcp://127\.0\.0\.1:\d+", cluster.scheduler_address)
        address = re.escape(cluster.scheduler_address)
        assert re.fullmatch(rf"<LocalCluster: {address}, workers: 2, threads: 6>", repr(cluster))
        with Executor(cluster.scheduler_address) as executor:
            assert sorted(executor.ncores().values()) == [3, 3]
    assert repr(cluster) == "<LocalCluster: closed>"


def test_it_fits_the_machine() -> None:
    with LocalCluster() as cluster:
        assert cluster.n_workers == len(os.sched_getaffinity(0))
        assert cluster.threads_per_worker == 1


def test_a_worker_can_be_added() -> None:
    with LocalCluster(n_workers=1) as cluster, Executor(cluster) as executor:
        cluster.add_worker()
        assert cluster.n_workers == len(executor.ncores()) == 2


def test_workers_have_the_configuration_of_dask(tmp_path: Path) -> None:
    place = tmp_path / "made" / "there"
    settings = {"mine.number": 7, "mine.function": print, "temporary_directory": str(place)}
    with dask.config.set(settings):
        cluster = LocalCluster(n_workers=1)
    with cluster, Executor(cluster) as executor:
        cluster.add_worker()  # which is like the others
        assert list(executor.run(dask.config.get, "mine").values()) == [{"number": 7}] * 2
        directories = executor.run(lambda: get_worker().local_directory).values()
        assert all(place in Path(directory).parents for directory in directories)
    assert list(place.iterdir()) == []


def test_each_worker_has_the_resources() -> None:
    resources = {"GPU": 1.0, "MEM": 16e9}
    with LocalCluster(n_workers=2, resources=resources) as cluster, Executor(cluster) as executor:
        described = executor.scheduler_info()["workers"].values()
        assert [worker["resources"] for worker in described] == [resources, resources]
    with pytest.raises(ValueError, match="positive number"):
        LocalCluster(resources={"GPU": -1})


def test_closing_twice_is_closing_once() -> None:
    cluster = LocalCluster(n_workers=1)
    cluster.close()
    cluster.close()


def test_a_cluster_that_nobody_refers_to_ends() -> None:
    before = set(descendants())
    cluster = LocalCluster(n_workers=1)
    started = [process for process in descendants() if process not in before]
    assert len(started) == 3  # a scheduler, a nanny, a worker
    del cluster
    gc.collect()
    assert all_gone(started)


def hold_the_lock() -> None:
    """Months of work for the regular expression engine, which keeps the interpreter lock."""
    re.match("(a+)+$", "a" * 60 + "b")


def test_it_closes_in_two_seconds_whatever_its_tasks_do(tmp_path: Path) -> None:
    note = tmp_path / "started"

    def hold() -> None:
        note.touch()
        hold_the_lock()

    with LocalCluster(n_workers=1) as cluster, Executor(cluster) as executor:
        future = executor.submit(hold)
        wait_until(note.exists, 10, "the task has started")
        begin = time.monotonic()
        cluster.close()
        assert time.monotonic() - begin < 2
        del future


def test_a_taken_port_is_an_error_that_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    with LocalCluster(n_workers=0) as cluster:
        port = int(cluster.scheduler_address.rpartition(":")[2])
        with pytest.raises(DistributedError, match=f"{port}: Address already in use"):
            LocalCluster(n_workers=0, port=port)


def test_a_start_that_takes_too_long_says_what_did() -> None:
    with pytest.raises(TimeoutError, match=r"the scheduler .* within 0 s"):
        LocalCluster(n_workers=1, timeout=0)


SCRIPT = """
import os, sys
from distributed import Executor, LocalCluster

def double(x):
    return 2 * x

cluster = LocalCluster(n_workers=1)
executor = Executor(cluster)
print(executor.submit(double, 21).result(), flush=True)
"""


def run_script(directory: Path, text: str) -> subprocess.Popen[str]:
    script = directory / "script.py"
    script.write_text(text)
    return subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_script_needs_no_guard_and_no_close(tmp_path: Path) -> None:
    with run_script(tmp_path, SCRIPT) as process:
        output, errors = process.communicate(timeout=30)
    assert (output, errors, process.returncode) == ("42\n", "", 0)


def test_a_script_ends_silently_with_much_to_release(tmp_path: Path) -> None:
    """Its last message is one of those that are sent without a copy."""
    text = SCRIPT + "executor.gather(executor.map(double, range(5000)))\n"
    with run_script(tmp_path, text) as process:
        output, errors = process.communicate(timeout=30)
    assert (output, errors, process.returncode) == ("42\n", "", 0)


def test_modules_beside_a_script_are_importable_in_its_workers(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("def triple(x):\n    return 3 * x\n")
    text = SCRIPT + "import beside\nprint(executor.submit(beside.triple, 5).result())\n"
    with run_script(tmp_path, text) as process:
        output, errors = process.communicate(timeout=30)
    assert (output, errors) == ("42\n15\n", "")


def test_what_tasks_print_is_seen(tmp_path: Path) -> None:
    text = SCRIPT + "executor.submit(print, 'hello').result()\n"
    with run_script(tmp_path, text) as process:
        output, errors = process.communicate(timeout=30)
    assert (output, errors) == ("42\nhello\n", "")


def test_programs_that_tasks_start_have_the_users_environment(tmp_path: Path) -> None:
    text = SCRIPT + "print(executor.submit(os.environ.get, 'PYTHONPATH').result())\n"
    with run_script(tmp_path, text) as process:
        output, errors = process.communicate(timeout=30)
    assert (output, errors) == (f"42\n{ROOT}\n", "")


@pytest.mark.parametrize(
    "task",
    ["__import__('threading').Event().wait()", "__import__('re').match('(a+)+$', 'a' * 60 + 'b')"],
)
def test_no_process_outlives_a_session_that_was_killed(task: str, tmp_path: Path) -> None:
    """Not even one whose task keeps the interpreter lock."""
    note = tmp_path / "started"
    text = f"""{SCRIPT}
def work():
    open({str(note)!r}, "w").close()
    {task}

future = executor.submit(work)
executor.gather([future])
"""
    with run_script(tmp_path, text) as process:
        try:
            wait_until(note.exists, 20, "the task has started")
            started = descendants(process.pid)
            assert len(started) == 3
        finally:
            process.send_signal(signal.SIGKILL)
        wait_until(partial(all_gone, started), 5, "its processes have ended")
        process.communicate()


def test_a_fork_of_the_session_does_not_end_it() -> None:
    script = (
        "import os, sys; from distributed import Executor\n"
        "with Executor(n_workers=1) as e:\n"
        "    if not os.fork(): sys.exit(0)\n"
        "    os.wait()\n"
        "    print(e.submit(abs, -1).result(timeout=10))"
    )
    command = [sys.executable, "-W", "ignore", "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (ran.stdout, ran.returncode) == ("1\n", 0), ran.stderr
