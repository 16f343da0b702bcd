"""`dscheduler` and `dworker`, as one types them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

import distributed
from distributed import Executor, __version__
from tests.support import wait_until

BIN = Path(__file__).parents[2] / "bin"


class Command:
    """One of the two, or a module of Python's (-m), running. `line()` is its next line of output, `files`
    its limit of open ones."""

    def __init__(
        self,
        name: str,
        *arguments: str,
        cwd: Path | None = None,
        files: int | None = None,
        **environment: str,
    ) -> None:
        program = ["-m", *name.split()[1:]] if name.startswith("-m ") else [str(BIN / name)]
        command = [sys.executable, *program, *arguments]
        if files is not None:
            command = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *command]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(BIN.parent), **environment},
            cwd=cwd,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Its exit status and what it said on standard error. It has to end within two seconds."""
        self.process.send_signal(number)
        return self.end(2.0)

    def end(self, seconds: float) -> tuple[int, str]:
        try:
            _, errors = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode, errors


@contextmanager
def running(
    name: str,
    *arguments: str,
    cwd: Path | None = None,
    files: int | None = None,
    **environment: str,
) -> Iterator[Command]:
    command = Command(name, *arguments, cwd=cwd, files=files, **environment)
    try:
        yield command
    finally:
        command.process.kill()
        command.process.communicate()


@pytest.fixture
def scheduler() -> Iterator[str]:
    """The address of a running one, as in 127.0.0.1:8786."""
    with running("dscheduler", "--port", "0") as command:
        yield command.line().removeprefix("Start scheduler at ")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_they_print_what_the_tutorial_says_and_work() -> None:
    port = free_port()
    with ExitStack() as stack:
        scheduler = stack.enter_context(running("dscheduler", "--port", str(port)))
        assert scheduler.line() == f"Start scheduler at 127.0.0.1:{port}"
        worker = stack.enter_context(running("dworker", f"127.0.0.1:{port}"))
        assert re.fullmatch(r"Start worker at {16}127\.0\.0\.1:\d+", worker.line())
        assert worker.line() == f"Registered with scheduler at:  127.0.0.1:{port}"
        with Executor(f"127.0.0.1:{port}") as executor:
            assert executor.submit(abs, -1).result() == 1
        assert worker.stop() == (0, "")
        assert scheduler.stop() == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_them_cleanly_whatever_they_do(scheduler: str, number: int) -> None:
    with running("dworker", scheduler, "--nprocs", "2", "--nthreads", "1") as worker:
        lines = [worker.line() for _ in range(4)]
        assert sum(line.startswith("Registered") for line in lines) == 2
        children = psutil.Process(worker.process.pid).children()
        with Executor(scheduler) as executor:
            futures = executor.map(_forever, range(4))
            wait_until(lambda: sum(map(len, executor.processing().values())) >= 2)
            assert worker.stop(number) == (0, "")
            assert not any(child.is_running() for child in children)
            del futures


def _forever(x: int) -> None:
    while True:
        x += 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_scheduler_ends_cleanly(number: int) -> None:
    with running("dscheduler", "--port", "0") as scheduler:
        scheduler.line()
        assert scheduler.stop(number) == (0, "")


def test_a_worker_without_a_nanny(scheduler: str) -> None:
    with running("dworker", scheduler, "--no-nanny", "--name", "alone") as worker:
        worker.line(), worker.line()
        assert psutil.Process(worker.process.pid).children() == []
        with Executor(scheduler) as executor:
            (described,) = executor.scheduler_info()["workers"].values()
            assert (described["name"], described["pid"]) == ("alone", worker.process.pid)
            assert executor.submit(_session_is_here).result()
            executor.restart()
            assert executor.submit(abs, -1).result() == 1
        assert worker.stop(signal.SIGINT) == (0, "")


def _session_is_here() -> bool:
    """On a worker."""
    return all(hasattr(distributed, name) for name in distributed.__all__)


@pytest.mark.parametrize(
    ("name", "arguments", "status"),
    [
        ("dscheduler", ["--port", "0", "--idle-timeout", "0"], 0),
        ("dworker", ["127.0.0.1:1", "--death-timeout", "0"], 1),
    ],
)
def test_they_start_without_dask(name: str, arguments: list[str], status: int) -> None:
    command = [sys.executable, "-X", "importtime", str(BIN / name), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(BIN.parent)}
    ended = subprocess.run(command, capture_output=True, env=environment, text=True)
    assert ended.returncode == status
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert imported >= {"distributed.cli.options", "distributed.processes"}
    assert imported.isdisjoint({"dask", "distributed.executor"})


def test_a_taken_port_is_one_clear_line(scheduler: str) -> None:
    port = scheduler.partition(":")[2]
    status, errors = Command("dscheduler", "--port", port).end(10)
    assert status == 1
    assert errors == f"Error: cannot listen at {scheduler}: Address already in use\n"


def test_the_scheduler_file(tmp_path: Path) -> None:
    path, pid_file = tmp_path / "scheduler.json", tmp_path / "pid"
    arguments = ("--port", "0", "--scheduler-file", str(path), "--pid-file", str(pid_file))
    with ExitStack() as stack:
        worker = stack.enter_context(running("dworker", "--scheduler-file", str(path)))
        scheduler = stack.enter_context(running("dscheduler", *arguments))
        place = scheduler.line().removeprefix("Start scheduler at ")
        described = json.loads(path.read_text())
        assert described["address"] == f"tcp://{place}"
        assert described["pid"] == scheduler.process.pid == int(pid_file.read_text())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert worker.line().startswith("Start worker at ")
        assert worker.line().endswith(place)
        with Executor(scheduler_file=path) as executor:
            assert executor.submit(abs, -1).result() == 1
        assert scheduler.stop() == (0, "")
        assert list(tmp_path.iterdir()) == []


def test_an_idle_scheduler_ends() -> None:
    with running("dscheduler", "--port", "0", "--idle-timeout", "0.5") as scheduler:
        place = scheduler.line().removeprefix("Start scheduler at ")
        with Executor(place):
            pass
        assert scheduler.end(10) == (0, "")


@pytest.mark.parametrize("options", [(), ("--no-nanny",)])
def test_an_unreachable_scheduler(options: tuple[str, ...]) -> None:
    place = f"127.0.0.1:{free_port()}"
    start = time.monotonic()
    status, errors = Command("dworker", place, "--death-timeout", "1.5", *options).end(20)
    assert status == 1
    assert f"no scheduler answers at tcp://{place}; trying again" in errors
    assert f"Error: no scheduler has answered at tcp://{place} for 1.5 s" in errors
    assert "Traceback" not in errors
    assert time.monotonic() - start > 1.5


def test_workers_stay_for_a_while_without_a_scheduler() -> None:
    with running("dscheduler", "--port", "0") as scheduler:
        place = scheduler.line().removeprefix("Start scheduler at ")
        with running("dworker", place, "--death-timeout", "2") as worker:
            worker.line(), worker.line()
            (process,) = psutil.Process(worker.process.pid).children()
            scheduler.process.kill()
            scheduler.process.wait()
            start = time.monotonic()
            process.wait(20)
            assert time.monotonic() - start > 1.5
            status, errors = worker.end(5)
            assert status == 1
            assert f"no scheduler has answered at tcp://{place} for 2 s" in errors


@pytest.mark.parametrize("option", [("--worker-timeout", "2"), ("--client-timeout", "0.5")])
def test_too_little_patience_is_refused(option: tuple[str, str]) -> None:
    status, errors = Command("dscheduler", "--port", "0", *option).end(10)
    assert status == 2
    assert option[0] in errors and "is not in the range" in errors


def test_a_worker_may_be_there_before_the_scheduler() -> None:
    port = str(free_port())
    with ExitStack() as stack:
        worker = stack.enter_context(running("dworker", f"127.0.0.1:{port}"))
        assert worker.line().startswith("Start worker")
        stack.enter_context(running("dscheduler", "--port", port))
        assert worker.line().startswith("Registered")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_nanny_brings_a_new_worker(scheduler: str, number: int) -> None:
    with running("dworker", scheduler) as worker, Executor(scheduler) as executor:
        worker.line(), worker.line()
        (pid,) = executor.run(os.getpid).values()
        os.kill(pid, number)
        assert worker.line().startswith("Start worker at ")
        assert worker.line().startswith("Registered")
        assert executor.run(os.getpid) != {pid}
        status, errors = worker.stop()
        assert status == 0
        how = "signal 9 (SIGKILL)" if number == signal.SIGKILL else "exit status 0"
        assert f"(process {pid}) died ({how}); starting a new one" in errors


def test_a_worker_that_uses_too_much_memory_is_ended(scheduler: str) -> None:
    arguments = (scheduler, "--memory-limit", "300 MB", "--nthreads", "1")
    with running("dworker", *arguments) as worker, Executor(scheduler) as executor:
        worker.line(), worker.line()
        future = executor.submit(_fill_memory, 10**9)
        assert worker.line().startswith("Start worker at ")
        future.cancel()
        status, errors = worker.stop()
        assert status == 0
        assert re.search(r"memory: it used 0\.\d\d GB of its limit of 0\.30 GB", errors)


def _fill_memory(size: int) -> None:
    blocks = []
    while True:
        blocks.append(bytearray(10**7))
        if len(blocks) * 10**7 > size:
            blocks.clear()


def test_beyond_this_machine_only_with_consent() -> None:
    for command in (("dscheduler", "--port", "0"), ("dworker", "127.0.0.1:9")):
        status, errors = Command(*command, "--host", "192.0.2.7").end(10)
        assert status == 2
        assert "connections are not authenticated yet" in errors and "--insecure" in errors
    with running("dscheduler", "--port", "0", "--host", "0.0.0.0", "--insecure") as scheduler:
        assert scheduler.line().startswith("Start scheduler at 0.0.0.0:")
        status, errors = scheduler.stop()
        assert status == 0
        assert "listening on 0.0.0.0 without authentication" in errors


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("dworker",), "give the scheduler's ADDRESS"),
        (("dworker", "nowhere"), "'nowhere' is not an address"),
        (("dworker", "127.0.0.1:9", "--nprocs", "2", "--no-nanny"), "needs the nanny"),
        (("dworker", "127.0.0.1:9", "--nprocs", "2", "--port", "7777"), "one process only"),
        (("dworker", "127.0.0.1:9", "--memory-limit", "much"), "not an amount of memory"),
        (("dscheduler", "--port", "99999"), "is not in the range"),
    ],
)
def test_mistakes_are_explained(arguments: tuple[str, ...], text: str) -> None:
    status, errors = Command(*arguments).end(10)
    assert status == 2
    assert text in errors
    assert "Traceback" not in errors


def test_the_version() -> None:
    for name in ("dscheduler", "dworker"):
        command = [sys.executable, str(BIN / name), "--version"]
        environment = {**os.environ, "PYTHONPATH": str(BIN.parent)}
        assert subprocess.check_output(command, text=True, env=environment) == f"{__version__}\n"


def test_logging_can_be_turned_up(scheduler: str) -> None:
    with running("dworker", scheduler, "--log-level", "info", "--no-nanny") as worker:
        worker.line(), worker.line()
        status, errors = worker.stop()
        assert status == 0
        assert "distributed.worker INFO registered with" in errors
