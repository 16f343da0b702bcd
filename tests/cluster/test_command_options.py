"""Options of the commands that need real processes to show what they do."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from distributed import Executor, LocalCluster, wait
from tests.cluster.test_commands import Command, free_port, running, scheduler
from tests.support import wait_until

__all__ = ["scheduler"]  # a fixture

STARTED = "Start scheduler at "


def start_worker(stack: ExitStack, *arguments: str, name: str = "dworker") -> Command:
    """Once it has registered."""
    worker = stack.enter_context(running(name, *arguments))
    assert worker.line().startswith("Start worker at ")
    assert worker.line().startswith("Registered")
    return worker


# Other names of the commands


@pytest.mark.parametrize(
    ("schedule", "work"),
    [
        ("-m dask scheduler", "-m dask worker"),
        ("-m distributed.cli.dask_scheduler", "-m distributed.cli.dask_worker"),
    ],
)
def test_as_dask_calls_them(schedule: str, work: str) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(running(schedule, "--port", "0"))
        place = first.line().removeprefix(STARTED)
        nursed = start_worker(stack, place, "--nworkers", "1", "--nthreads", "1", name=work)
        alone = start_worker(stack, place, "--no-nanny", "--name", "alone", name=work)
        with Executor(place) as executor:
            assert executor.submit(abs, -1).result() == 1
            assert executor.submit(os.getpid, workers="alone").result() == alone.process.pid
            assert executor.submit(os.getenv, "OMP_NUM_THREADS", workers="alone").result() == "1"
            executor.restart()
            assert executor.submit(os.getpid, workers="alone").result() == alone.process.pid
        for command in (alone, nursed, first):
            assert command.stop() == (0, "")


def test_dask_says_what_they_take() -> None:
    with running("-m dask worker", "--help") as command:
        assert command.line() == "Usage: dask worker [OPTIONS] [ADDRESS] [PRELOAD_ARGV]..."


def test_the_address_in_the_environment(scheduler: str) -> None:
    with running("dworker", DASK_SCHEDULER_ADDRESS=scheduler) as worker:
        assert worker.line().startswith("Start worker at ")
        assert worker.line() == f"Registered with scheduler at:  {scheduler}"
        status, errors = worker.stop()
        said = f"the scheduler is {scheduler}, by scheduler-address in dask's configuration"
        assert (status, errors) == (0, f"dworker: {said}\n")


# Names


@pytest.mark.parametrize("options", [(), ("--no-nanny",)])
def test_a_second_alice_ends_and_says_why(scheduler: str, options: tuple[str, ...]) -> None:
    with ExitStack() as stack:
        start_worker(stack, scheduler, "--name", "alice")
        status, errors = Command("dworker", scheduler, "--name", "alice", *options).end(20)
        assert status == 1
        assert "the name alice belongs to the worker at tcp://127.0.0.1:" in errors
        assert errors.rstrip().endswith("give this one another --name")
        with Executor(scheduler) as executor:
            assert len(executor.ncores()) == 1
            executor.restart()  # the next process under the nanny is alice as well
            assert executor.submit(abs, -1, workers="alice").result() == 1


def test_several_processes_have_a_number_behind_their_name(scheduler: str) -> None:
    with ExitStack() as stack:
        worker = stack.enter_context(running("dworker", scheduler, "--nprocs", "2", "--name", "a"))
        assert all(worker.line() for _ in range(4))
        with Executor(scheduler) as executor:
            workers = executor.scheduler_info()["workers"].values()
            assert sorted(worker["name"] for worker in workers) == ["a-0", "a-1"]


# Where they listen


def test_ipv6() -> None:
    with ExitStack() as stack:
        first = stack.enter_context(running("dscheduler", "--host", "::1", "--port", "0"))
        place = first.line().removeprefix(STARTED)
        assert place.startswith("[::1]:")
        start_worker(stack, f"tcp://{place}/", "--name", "a")
        start_worker(stack, place, "--name", "b", "--no-nanny")
        with Executor(place) as executor:
            assert executor.scheduler_address == f"tcp://{place}"
            assert all(address.startswith("tcp://[::1]:") for address in executor.ncores())
            one = executor.submit(bytes, 5_000_000, workers="a")
            both = executor.submit(len, one, workers="b")
            assert both.result() == len(one.result()) == 5_000_000
            (data,) = executor.scatter([bytearray(5_000_000)], workers="b")
            assert executor.submit(len, data, workers="::1").result() == 5_000_000


def test_a_cluster_on_ipv6() -> None:
    with LocalCluster(n_workers=1, host="::1") as cluster, Executor(cluster) as executor:
        assert executor.submit(len, bytes(1_000_000)).result() == 1_000_000


def test_the_interface() -> None:
    with ExitStack() as stack:
        first = stack.enter_context(running("dscheduler", "--interface", "lo", "--port", "0"))
        place = first.line().removeprefix(STARTED)
        assert place.startswith("127.0.0.1:")
        start_worker(stack, place, "--interface", "lo")


def test_workers_take_the_ports_of_a_range(scheduler: str) -> None:
    first = free_port()
    ports = range(first, first + 4)
    with ExitStack() as stack:
        arguments = (scheduler, "--nworkers", "2", "--nthreads", "1")
        given = f"{ports[0]}:{ports[-1]}"
        worker = stack.enter_context(running("dworker", *arguments, "--worker-port", given))
        lines = [worker.line() for _ in range(4)]
        taken = {int(line.rpartition(":")[2]) for line in lines if line.startswith("Start")}
        assert len(taken) == 2 and taken <= set(ports)
        with Executor(scheduler) as executor:
            executor.restart()
            addresses = executor.ncores()
            assert {int(address.rpartition(":")[2]) for address in addresses} == taken


def test_a_port_of_a_range_that_is_taken_is_left_out(scheduler: str) -> None:
    with ExitStack() as stack:
        place = start_worker_at(stack, scheduler)
        port = int(place.rpartition(":")[2])
        other = stack.enter_context(running("dworker", scheduler, "--port", f"{port}:{port + 3}"))
        assert 0 < int(other.line().rpartition(":")[2]) - port <= 3


def start_worker_at(stack: ExitStack, scheduler: str) -> str:
    return stack.enter_context(running("dworker", scheduler)).line().split()[-1]


def test_others_are_told_the_contact_address(scheduler: str) -> None:
    port = free_port()
    arguments = ("--listen-address", f"tcp://0.0.0.0:{port}", "--insecure")
    with ExitStack() as stack:
        contact = f"tcp://127.0.0.2:{port}"
        start_worker(stack, scheduler, *arguments, "--contact-address", contact)
        with Executor(scheduler) as executor:
            assert list(executor.ncores()) == [contact]
            assert executor.submit(bytes, 1_000_000).result() == bytes(1_000_000)


# Preloads

PRELOADED = """
import os, click

@click.command()
@click.option("--greeting", default="hello")
def dask_setup(process, greeting):
    os.environ["GREETING"] = f"{greeting} {type(process).__name__} {process.address}"

def dask_teardown(process):
    with open(os.environ["FAREWELLS"], "a") as file:
        file.write(f"{type(process).__name__}\\n")
"""


@pytest.mark.parametrize("options", [(), ("--no-nanny",)])
def test_a_module_is_preloaded_in_workers(
    options: tuple[str, ...], scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, farewells = tmp_path / "our_setup.py", tmp_path / "farewells"
    module.write_text(PRELOADED)
    monkeypatch.setenv("FAREWELLS", str(farewells))
    with ExitStack() as stack:
        arguments = ("--preload", str(module), *options, "--", "--greeting", "hi")
        worker = start_worker(stack, scheduler, *arguments)
        with Executor(scheduler) as executor:
            (address,) = executor.ncores()
            assert executor.submit(os.getenv, "GREETING").result() == f"hi Worker {address}"
        assert worker.stop() == (0, "")
    assert farewells.read_text() == "Worker\n"


def test_modules_are_preloaded_in_scheduler_and_nanny(tmp_path: Path) -> None:
    """They may import what a session imports."""
    module, log = tmp_path / "our_setup.py", tmp_path / "log"
    module.write_text(
        "from distributed import Client\n"
        f"def dask_setup(process): print(type(process).__name__, file=open({str(log)!r}, 'a'))\n"
        f"def dask_teardown(process): print('end', file=open({str(log)!r}, 'a'))\n"
    )
    with ExitStack() as stack:
        first = stack.enter_context(running("dscheduler", "--port", "0", "--preload", str(module)))
        place = first.line().removeprefix(STARTED)
        worker = start_worker(stack, place, "--preload-nanny", str(module))
        assert worker.stop() == (0, "")
        assert first.stop() == (0, "")
    assert log.read_text().split() == ["Broker", "Nanny", "end", "end"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dworker", ("--preload",)),
        ("dworker", ("--no-nanny", "--preload")),
        ("dworker", ("--preload-nanny",)),
        ("dscheduler", ("--port", "0", "--preload")),
    ],
)
def test_a_module_that_fails_ends_the_command(
    name: str, options: tuple[str, ...], scheduler: str, tmp_path: Path
) -> None:
    module = tmp_path / "our_setup.py"
    module.write_text("def dask_setup(process):\n    raise KeyError('no license')\n")
    arguments = (scheduler, *options) if name == "dworker" else options
    files = tmp_path / "files"
    files.mkdir()
    status, errors = Command(name, *arguments, str(module), TMPDIR=str(files)).end(20)
    assert status == 1
    assert errors.endswith(f"Error: --preload {module} has failed: KeyError: 'no license'\n")
    assert "line 2, in dask_setup" in errors
    assert list(files.iterdir()) == []


# Lifetimes


@pytest.mark.parametrize("options", [(), ("--no-nanny",)])
def test_a_worker_leaves_after_its_lifetime(options: tuple[str, ...], scheduler: str) -> None:
    with ExitStack() as stack:
        arguments = ("--lifetime", "500ms", "--lifetime-stagger", "100ms", *options)
        worker = start_worker(stack, scheduler, *arguments)
        assert worker.end(10) == (0, "")
        with Executor(scheduler) as executor:
            wait_until(lambda: not executor.ncores())


@pytest.mark.parametrize("options", [(), ("--no-nanny",)])
def test_what_only_it_has_is_handed_over(options: tuple[str, ...], scheduler: str) -> None:
    with ExitStack() as stack:
        start_worker(stack, scheduler, "--name", "stays")
        worker = start_worker(stack, scheduler, "--lifetime", "2s", "--name", "goes", *options)
        with Executor(scheduler) as executor:
            (data,) = executor.scatter([b"data"], workers="goes")
            made = executor.map(_random, range(250), workers="goes", allow_other_workers=True)
            values = executor.gather(made)
            stuck = executor.submit(threading.Lock, workers="goes", pure=False)
            wait([stuck])
            assert worker.end(20) == (0, "")
            assert data.result() == b"data"
            assert executor.gather(made) == values


def _random(number: int) -> bytes:
    return os.urandom(5)


@pytest.mark.parametrize("options", [(), ("--no-nanny",)])
def test_after_a_lifetime_a_new_process_may_come(options: tuple[str, ...], scheduler: str) -> None:
    with ExitStack() as stack:
        start_worker(stack, scheduler, "--name", "stays")
        arguments = ("--lifetime", "1s", "--lifetime-restart", "--name", "alice", *options)
        worker = start_worker(stack, scheduler, *arguments)
        with Executor(scheduler) as executor:
            future = executor.submit(abs, -1, workers="alice", allow_other_workers=True)
            wait([future])
            assert worker.line().startswith("Start worker at ")
            assert worker.line().startswith("Registered")
            assert future.result() == 1
            status, errors = worker.stop()
            assert status == 0 and "died" not in errors


# Files


def test_the_file_of_the_process_id(scheduler: str, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    for options in ((), ("--no-nanny",)):
        with ExitStack() as stack:
            worker = start_worker(stack, scheduler, "--pid-file", str(path), *options)
            assert int(path.read_text()) == worker.process.pid
            assert worker.stop(signal.SIGINT) == (0, "")
        assert not path.exists()
    status, _ = Command(
        "dworker", "127.0.0.1:1", "--pid-file", str(path), "--death-timeout", "0"
    ).end(10)
    assert status == 1 and not path.exists()


def test_the_local_directory_is_made(scheduler: str, tmp_path: Path) -> None:
    directory = tmp_path / "scratch" / "space"
    with ExitStack() as stack:
        worker = start_worker(stack, scheduler, "--local-directory", str(directory))
        assert list(directory.iterdir()) != []
        (child,) = psutil.Process(worker.process.pid).children()
        assert worker.stop() == (0, "")
        assert not child.is_running()


def test_a_local_directory_that_cannot_be_made_is_named(scheduler: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    directory = tmp_path / "file" / "space"
    status, errors = Command("dworker", scheduler, "--local-directory", str(directory)).end(10)
    assert status == 1
    assert errors == f"Error: --local-directory {directory} cannot be made: Not a directory\n"
