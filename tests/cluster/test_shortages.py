"""No descriptors, no room on the disk, no directory: what is short, real processes make do without."""

from __future__ import annotations

import builtins
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from distributed import Executor
from tests.cluster.test_commands import BIN, Command, free_port, running, scheduler
from tests.support import wait_until

# Of open files, for each process. The usual limit is 1,024; with this one fewer have to be opened.
LIMIT = 256

__all__ = ["scheduler"]  # a fixture


def leave_open() -> int:
    """On a worker: as many files as it may have stay open."""
    files = builtins.__dict__.setdefault("left_open", [])
    try:
        while True:
            files.append(open(os.devnull))  # noqa: SIM115
    except OSError:
        return len(files)


def close_all() -> None:
    """On a worker."""
    for file in builtins.__dict__.pop("left_open", []):
        file.close()


def fill(size: int) -> bytes:
    """A result that does not travel with the message that it is there."""
    return bytes(size)


def lengths(*parts: bytes) -> int:
    return sum(map(len, parts))


def workers_of(command: Command) -> list[int]:
    return [child.pid for child in psutil.Process(command.process.pid).children()]


def started(command: Command, count: int = 1) -> list[int]:
    """The processes of its workers, once they have registered."""
    for _ in range(2 * count):
        command.line()
    return workers_of(command)


def test_a_task_that_leaves_files_open_until_there_are_no_more_costs_nobody_else(
    scheduler: str,
) -> None:
    options = (scheduler, "--nprocs", "2", "--nthreads", "1")
    with running("dworker", *options, files=LIMIT) as nanny, Executor(scheduler) as executor:
        pids = started(nanny, 2)
        places = list(executor.ncores())
        for place in places:
            assert executor.submit(leave_open, workers=[place], pure=False).result(20) > 100
        # What comes now takes connections: from here to both of them, and from each to the other.
        parts = [
            executor.submit(fill, 1_000_000 + n, workers=[p]) for n, p in enumerate(places * 2)
        ]
        assert [len(part.result(20)) for part in parts] == [1_000_000 + n for n in range(4)]
        for place in places:
            assert executor.submit(lengths, *parts, workers=[place], pure=False).result(20) > 0
        # Several heartbeats later all are there that were.
        beats = executor.scheduler_info()["workers"]
        wait_until(lambda: executor.scheduler_info()["workers"] != beats, 10)
        assert workers_of(nanny) == pids
        for place in places:
            executor.submit(close_all, workers=[place], pure=False).result(20)
        status, errors = nanny.stop()
        assert status == 0
        assert f"too many open files: this process may have {LIMIT}" in errors
        assert "died" not in errors and "Traceback" not in errors


def knock(place: str, count: int) -> list[socket.socket]:
    """Connections that say nothing."""
    host, _, port = place.removeprefix("tcp://").rpartition(":")
    return [socket.create_connection((host, int(port)), 5) for _ in range(count)]


def hang_up(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.close()


def test_idle_connections_to_a_worker_do_not_end_it(scheduler: str) -> None:
    with running("dworker", scheduler, files=LIMIT) as nanny, Executor(scheduler) as executor:
        pids = started(nanny)
        (place,) = executor.ncores()
        for _ in range(2):
            with ExitStack() as stack:
                stack.callback(hang_up, knock(place, LIMIT + 44))
                # For a function of this file the worker would have to open that.
                assert len(executor.submit(bytes, 1_000_000, pure=False).result(30)) == 1_000_000
        assert workers_of(nanny) == pids


def test_a_scheduler_at_its_limit_serves_on_and_does_not_spin() -> None:
    with ExitStack() as stack:
        scheduler = stack.enter_context(running("dscheduler", "--port", "0", files=128))
        place = scheduler.line().removeprefix("Start scheduler at ")
        worker = stack.enter_context(running("dworker", place))
        started(worker)
        executor = stack.enter_context(Executor(place))
        process = psutil.Process(scheduler.process.pid)
        idle = knock(place, 300)
        stack.callback(hang_up, idle)
        wait_until(lambda: process.num_fds() > 90, 10)
        before, start = busy(process), uptime()
        while uptime() < start + 2.0:
            assert executor.submit(abs, -1, pure=False).result(10) == 1
            threading.Event().wait(0.1)  # the time in which it could spin
        assert busy(process) - before < 0.6 * (uptime() - start)
        # Who comes when those have gone is let in.
        hang_up(idle)
        with Executor(place, timeout=30.0) as other:
            assert other.submit(abs, -2).result(10) == 2
        status, errors = scheduler.stop()
        assert status == 0
        assert "too many open files: this process may have 128" in errors


SESSION = """
import os, resource, sys
from distributed import Executor, transfer

transfer.SHORTAGE_SECONDS = 0.5
with Executor(sys.argv[1]) as e:
    future = e.submit(bytes, 1_000_000)
    while not future.done():
        pass
    files = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    try:
        while True:
            files.append(os.dup(0))
    except OSError:
        pass
    try:
        future.result(20)
    except OSError as error:
        for file in files:
            os.close(file)
        print(error)
    print(len(future.result(20)))
"""


def test_a_session_without_descriptors_is_told_so(scheduler: str) -> None:
    with running("dworker", scheduler) as nanny:
        started(nanny)
        environment = {**os.environ, "PYTHONPATH": str(BIN.parent)}
        command = [sys.executable, "-c", SESSION, scheduler]
        said = subprocess.check_output(command, env=environment, text=True, timeout=30)
        told, length = said.splitlines()
        assert "Too many open files: close some of the files of this process" in told
        assert length == "1000000"


def busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def uptime() -> float:
    """Seconds, for this machine."""
    return float(Path("/proc/uptime").read_text().split()[0])


def test_the_limit_is_raised_as_far_as_it_may(scheduler: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        worker = stack.enter_context(running("dworker", scheduler))
        started(worker)
        executor = stack.enter_context(Executor(scheduler))
        ((soft, same),) = executor.run(resource.getrlimit, resource.RLIMIT_NOFILE).values()
        assert same == hard and soft == min(hard, 1 << 19)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_without_room_on_the_disk_a_nanny_waits_and_comes_back(scheduler: str, number: int) -> None:
    with running("dworker", scheduler) as nanny, Executor(scheduler) as executor:
        (pid,) = started(nanny)
        pid_of_nanny = nanny.process.pid
        _, hard = resource.prlimit(pid_of_nanny, resource.RLIMIT_FSIZE)
        # No byte more can be written to a file, as on a disk that is full.
        resource.prlimit(pid_of_nanny, resource.RLIMIT_FSIZE, (0, hard))
        os.kill(pid, number)
        assert nanny.process.stderr is not None
        said = nanny.process.stderr.readline()
        assert "starting a new one" in said
        said = nanny.process.stderr.readline()
        assert "the worker cannot start: File too large; trying again in 0.5 s" in said
        resource.prlimit(pid_of_nanny, resource.RLIMIT_FSIZE, (hard, hard))
        assert nanny.line().startswith("Start worker at ")
        assert nanny.line().startswith("Registered")
        assert executor.submit(abs, -1).result(10) == 1
        assert nanny.stop()[0] == 0


def test_a_worker_that_cannot_start_any_more_is_tried_again(scheduler: str) -> None:
    port = free_port()
    with running("dworker", scheduler, "--port", str(port)) as nanny:
        (pid,) = started(nanny)
        os.kill(pid, signal.SIGKILL)
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            wait_until(lambda: can_bind(thief, port), 5)
            thief.listen()
            assert nanny.process.stderr is not None
            assert "starting a new one" in nanny.process.stderr.readline()
            said = nanny.process.stderr.readline()
            assert f"cannot listen at 127.0.0.1:{port}: Address already in use" in said
            assert "trying again in 0.5 s" in said
        started(nanny)
        assert nanny.stop()[0] == 0


def can_bind(sock: socket.socket, port: int) -> bool:
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def test_the_directory_of_a_nanny_that_was_killed_is_removed(
    scheduler: str, tmp_path: Path
) -> None:
    options = (scheduler, "--local-directory", str(tmp_path))
    for nanny in ((), ("--no-nanny",)):
        with running("dworker", *options, *nanny) as killed, running("dworker", *options) as living:
            started(killed), started(living)
            assert len(list(tmp_path.iterdir())) == 2
            children = psutil.Process(killed.process.pid).children()
            killed.process.kill()
            psutil.wait_procs([psutil.Process(killed.process.pid), *children], 5)
            assert len(list(tmp_path.iterdir())) == 2
            with running("dworker", *options) as next_one:
                started(next_one)
                assert len(list(tmp_path.iterdir())) == 2
                assert next_one.stop()[0] == living.stop()[0] == 0
        assert list(tmp_path.iterdir()) == []


# Of the standard library, and of what we need.
PLANTED = ["psutil", "zmq", "msgpack", "click", "cloudpickle", "dask", "toolz"]
PLANTED += ["random", "signal", "json", "queue", "logging"]


def plant(directory: Path, names: list[str]) -> None:
    """Modules that leave a note if somebody imports them; and one of a user."""
    for name in names:
        note = str(directory / f"{name}.ran")
        (directory / f"{name}.py").write_text(f"open({note!r}, 'w').close()\n")
    (directory / "mine.py").write_text("answer = 42\n")


def answer() -> Any:
    import mine  # type: ignore[import-not-found]

    return mine.answer


@pytest.mark.parametrize("options", [(), ("--no-nanny",)])
def test_what_lies_where_a_command_is_typed_is_not_taken_for_what_it_needs(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    plant(tmp_path, PLANTED)
    with ExitStack() as stack:
        scheduler = stack.enter_context(running("dscheduler", "--port", "0", cwd=tmp_path))
        place = scheduler.line().removeprefix("Start scheduler at ")
        worker = stack.enter_context(running("dworker", place, *options, cwd=tmp_path))
        started(worker)
        assert list(tmp_path.glob("*.ran")) == []
        with Executor(place) as executor:
            assert executor.submit(answer).result(10) == 42
        assert list(tmp_path.glob("*.ran")) == []


def test_what_lies_beside_a_program_is_not_taken_for_what_its_cluster_needs(tmp_path: Path) -> None:
    plant(tmp_path, ["click"])  # a session does not need it
    program = tmp_path / "program.py"
    program.write_text(
        "from distributed import Executor\n"
        "def answer():\n"
        "    import mine\n"
        "    return mine.answer\n"
        "if __name__ == '__main__':\n"
        "    with Executor(n_workers=1, threads_per_worker=1) as e:\n"
        "        print(e.submit(answer).result())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(BIN.parent)}
    command = [sys.executable, str(program)]
    said = subprocess.check_output(command, env=environment, cwd=tmp_path, text=True)
    assert said == "42\n"
    assert list(tmp_path.glob("*.ran")) == []


def test_a_nanny_whose_directory_was_deleted_brings_new_workers(
    scheduler: str, tmp_path: Path
) -> None:
    place, local = tmp_path / "typed here", tmp_path / "local"
    place.mkdir(), local.mkdir()
    options = (scheduler, "--local-directory", str(local))
    with running("dworker", *options, cwd=place) as nanny, Executor(scheduler) as executor:
        (pid,) = started(nanny)
        place.rmdir()
        (directory,) = local.iterdir()
        shutil.rmtree(directory)  # as programs do that tidy up
        os.kill(pid, signal.SIGKILL)
        started(nanny)
        assert executor.submit(abs, -1).result(10) == 1
        assert nanny.stop()[0] == 0
        assert list(local.iterdir()) == []


@pytest.mark.parametrize("options", [(), ("--no-nanny",)])
def test_output_that_cannot_be_written_ends_nobody(
    scheduler: str, options: tuple[str, ...]
) -> None:
    command = [sys.executable, str(BIN / "dworker"), scheduler, *options]
    environment = {**os.environ, "PYTHONPATH": str(BIN.parent)}
    with open("/dev/full", "w") as full, Executor(scheduler) as executor:
        process = subprocess.Popen(command, stdout=full, stderr=full, env=environment)
        try:
            for _ in range(3):
                future = executor.submit(shout, 100_000, bool(options), pure=False)
                assert future.result(20) == 100_000
            assert process.poll() is None
        finally:
            process.terminate()
            assert process.wait(5) == 0


def shout(size: int, alone: bool) -> int:
    """On a worker. Without a nanny, the task itself hears that nothing can be written."""
    try:
        print("x" * size, flush=True)
    except OSError:
        assert alone
    return size
