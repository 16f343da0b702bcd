"""The commands: `dscheduler` and `dworker`."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from distributed.core.patience import CLIENT_GRACE_SECONDS, SILENCE_SECONDS
from distributed.descriptors import raise_limit
from distributed.environment import worker_environment
from distributed.errors import SchedulerGone
from distributed.leases import Lease, sweep
from distributed.logs import set_up_logging
from distributed.machine import count_cpus, parse_memory_limit
from distributed.output import say
from distributed.paths import resolved
from distributed.processes import (
    end_with_parent,
    leave,
    on_signals,
    run_exit_functions,
    take_standard_input,
)
from distributed.resources import parse_resources
from distributed.transport import Address, is_loopback, parse_address, reachable_host
from distributed.version import __version__

# A scheduler file that is not there yet is looked for so often.
FILE_SECONDS = 0.05
# A nanny says every second that its workers live, and a client, which has five times as long, every two
# seconds that it does: with less patience, those that are well would be given up.
MIN_WORKER_TIMEOUT = 3.0
MIN_CLIENT_TIMEOUT = 1.0

logger = logging.getLogger("distributed")

PORT = click.IntRange(0, 65535)
LEVELS = click.Choice(["debug", "info", "warning", "error", "critical"], case_sensitive=False)


def _common(command: Callable[..., None]) -> Callable[..., None]:
    """Options of both commands."""
    for option in (
        click.version_option(__version__, message="%(version)s"),
        click.option(
            "--log-level",
            type=LEVELS,
            default="warning",
            envvar="DISTRIBUTED_LOG_LEVEL",
            show_default=True,
            help="What to log on standard error.",
        ),
        click.option(
            "--insecure",
            is_flag=True,
            help="Listen beyond this machine, although anyone who can connect can then run code here.",
        ),
        # For LocalCluster: end when standard input does, for then the parent is gone.
        click.option("--with-parent", is_flag=True, hidden=True),
    ):
        command = option(command)
    return command


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=PORT, default=8786, show_default=True, help="0 picks a free one.")
@click.option("--scheduler-file", type=click.Path(), help="Write the address there, as JSON.")
@click.option("--pid-file", type=click.Path(), help="Write the process id there.")
@click.option(
    "--idle-timeout", type=float, help="End after so many seconds without clients and work."
)
@click.option(
    "--worker-timeout",
    type=click.FloatRange(min=MIN_WORKER_TIMEOUT),
    default=SILENCE_SECONDS,
    show_default=True,
    help="Give up a worker that has been silent for so many seconds; one without a nanny, which a task "
    "may keep from speaking, after ten times as many.",
)
@click.option(
    "--client-timeout",
    type=click.FloatRange(min=MIN_CLIENT_TIMEOUT),
    default=CLIENT_GRACE_SECONDS,
    show_default=True,
    help="Keep what a client wants for so many seconds after its connection broke; for five times as "
    "many if it is only silent.",
)
@_common
def dscheduler(
    host: str,
    port: int,
    scheduler_file: str | None,
    pid_file: str | None,
    idle_timeout: float | None,
    worker_timeout: float,
    client_timeout: float,
    insecure: bool,
    log_level: str,
    with_parent: bool,
) -> None:
    """Run the scheduler of a cluster."""
    from distributed.broker import Broker

    _set_up(log_level, with_parent)
    _check_host(host, insecure)
    try:
        broker = Broker(host, port, idle_timeout, worker_timeout, client_timeout)
    except OSError as error:
        _fail(error.strerror or str(error))
    on_signals(broker.stop, broker.wake_descriptor)
    address = broker.address
    description = {"address": _reachable(address).url, "pid": os.getpid(), "id": broker.id}
    with _file(scheduler_file, json.dumps(description)), _file(pid_file, f"{os.getpid()}\n"):
        say(f"Start scheduler at {address.place}")
        broker.run()
    leave(0)


@click.command()
@click.argument("address", required=False)
@click.option(
    "--nthreads",
    type=click.IntRange(1),
    help="Tasks at a time in each process. [default: its share of the cores]",
)
@click.option(
    "--nprocs", type=click.IntRange(1), default=1, show_default=True, help="Worker processes."
)
@click.option(
    "--name", help="What to call the worker, for the `workers=` of tasks. [default: its address]"
)
@click.option("--host", help="Where to serve data. [default: the interface towards the scheduler]")
@click.option("--port", type=PORT, default=0, help="0 picks a free one.", show_default=True)
@click.option(
    "--memory-limit",
    default="auto",
    show_default=True,
    help="Of each process: '4GB', bytes, a share of the machine's like 0.25, or 0 for none.",
)
@click.option(
    "--resources",
    default="",
    help="What each process has for tasks that ask for it, as in 'GPU=1 MEM=16e9'.",
)
@click.option("--local-directory", type=click.Path(), help="For files of the worker's own.")
@click.option("--scheduler-file", type=click.Path(), help="Read the scheduler's address there.")
@click.option(
    "--death-timeout",
    type=float,
    default=60.0,
    show_default=True,
    help="Give up after so many seconds without a scheduler.",
)
@click.option(
    "--nanny/--no-nanny", default=True, show_default=True, help="Restart a worker that dies."
)
# For LocalCluster: where tasks import modules from, as JSON.
@click.option("--import-path", hidden=True)
@_common
def dworker(
    address: str | None,
    nthreads: int | None,
    nprocs: int,
    name: str | None,
    host: str | None,
    port: int,
    memory_limit: str,
    resources: str,
    local_directory: str | None,
    scheduler_file: str | None,
    death_timeout: float,
    nanny: bool,
    import_path: str | None,
    insecure: bool,
    log_level: str,
    with_parent: bool,
) -> None:
    """Run workers for the scheduler at ADDRESS (host:port)."""
    from distributed.nanny import DIRECTORY, Nanny, WorkerOptions, cannot_start

    _set_up(log_level, with_parent)
    if nprocs > 1 and not nanny:
        raise click.UsageError("--nprocs needs the nanny, which starts the processes")
    if nprocs > 1 and port:
        raise click.UsageError("--port can be the port of one process only, not of --nprocs")
    scheduler = _scheduler(address, scheduler_file, death_timeout)
    host = _host(host, scheduler)
    _check_host(host, insecure)
    nthreads = nthreads or max(1, count_cpus() // nprocs)
    options = WorkerOptions(
        nthreads=nthreads,
        name=name,
        host=host,
        port=port,
        memory_limit=_memory_limit(memory_limit, nthreads),
        resources=_resources(resources),
        local_directory=local_directory,
        death_timeout=death_timeout,
        log_level=log_level,
    )
    # Modules beside which the command was typed can be imported by tasks.
    path = json.loads(import_path) if import_path else resolved(["", *sys.path])
    sweep(local_directory, DIRECTORY)
    try:
        if not nanny:
            _run_without_nanny(scheduler, options, path)
        try:
            nurse = Nanny(scheduler, options, nprocs, path)
        except OSError as error:
            _fail(cannot_start(error))
        on_signals(nurse.stop, nurse.wake_descriptor)
        nurse.run()
    except SchedulerGone as error:
        _fail(str(error))
    leave(0)


def _run_without_nanny(scheduler: Address, options: Any, path: list[str]) -> NoReturn:
    from distributed.nanny import (
        DIRECTORY,
        EXIT_SECONDS,
        announce_worker,
        cannot_start,
        make_worker,
    )
    from distributed.worker import START_AGAIN

    os.close(take_standard_input())
    missing = worker_environment(os.environ)
    if missing:
        settings = " ".join(f"{name}={value}" for name, value in missing.items())
        logger.warning("tasks run without the usual environment of a worker: %s", settings)
    try:
        lease = Lease(options.local_directory, DIRECTORY)
    except OSError as error:
        _fail(cannot_start(error))
    try:
        worker = make_worker(scheduler, options._replace(local_directory=lease.directory))
    except OSError as error:
        lease.close()
        _fail(cannot_start(error))
    on_signals(worker.stop, worker.wake_descriptor)
    announce_worker(worker.address)
    sys.path[:] = path  # what a worker itself needs, it has imported
    try:
        ending = worker.run()
    finally:
        lease.close()
    run_exit_functions(EXIT_SECONDS)
    if ending == START_AGAIN:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    leave(0)


def _set_up(log_level: str, with_parent: bool) -> None:
    raise_limit()
    set_up_logging(log_level)
    gc.freeze()  # all that has been imported stays: the collector need not look at it again
    # Until there is something to stop, ending is all that a signal can mean.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: leave(0))
    if with_parent:
        end_with_parent()


def _fail(text: str) -> NoReturn:
    click.echo(f"Error: {text}", err=True)
    leave(1)


def _host(host: str | None, scheduler: Address) -> str:
    """Where a worker listens: an address that others can connect to."""
    if host is None and is_loopback(scheduler.host):
        return "127.0.0.1"
    try:
        return reachable_host(host or "*", scheduler)
    except OSError as error:
        _fail(f"there is no way to the scheduler at {scheduler.url}: {error.strerror}")


def _check_host(host: str, insecure: bool) -> None:
    """Nobody listens beyond this machine unawares."""
    if is_loopback(host):
        return
    danger = f"anyone who can connect to {host} can run code here as {_user()}"
    if not insecure:
        raise click.UsageError(
            f"connections are not authenticated yet: {danger}. "
            "Add --insecure if that is what you want"
        )
    logger.warning("listening on %s without authentication: %s", host, danger)


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "you"


def _reachable(address: Address) -> Address:
    """The address to tell others: a wildcard is replaced by this machine's name."""
    import socket

    if address.host in ("0.0.0.0", "*", "::"):
        return Address(socket.gethostname(), address.port)
    return address


def _scheduler(address: str | None, scheduler_file: str | None, patience: float) -> Address:
    if (address is None) == (scheduler_file is None):
        raise click.UsageError("give the scheduler's ADDRESS, or its --scheduler-file")
    try:
        if address is not None:
            return parse_address(address)
        assert scheduler_file is not None
        return parse_address(json.loads(_wait_for_file(scheduler_file, patience))["address"])
    except (ValueError, KeyError, TypeError) as error:
        raise click.UsageError(str(error)) from None


def _wait_for_file(path: str, patience: float) -> str:
    """Its text, once it is there."""
    deadline = time.monotonic() + patience
    pause = threading.Event()
    while True:
        try:
            return Path(path).read_text()
        except FileNotFoundError:
            if time.monotonic() > deadline:
                _fail(f"there is no scheduler file {path} (waited for {patience:g} s)")
            pause.wait(FILE_SECONDS)
        except OSError as error:
            _fail(f"the scheduler file {path} cannot be read: {error.strerror}")


def _memory_limit(text: str, nthreads: int) -> int:
    try:
        return parse_memory_limit(text, nthreads)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _resources(text: str) -> dict[str, float]:
    try:
        return parse_resources(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


@contextmanager
def _file(path: str | None, text: str) -> Iterator[None]:
    """A file that exists for as long as the block runs, and is there as a whole or not at all."""
    if path is None:
        yield
        return
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            file.write(text)
        temporary.replace(target)
    except OSError as error:
        _fail(f"{path} cannot be written: {error.strerror}")
    try:
        yield
    finally:
        # Unless another process has put its own there.
        try:
            if target.read_text() == text:
                target.unlink()
        except OSError:
            logger.debug("%s has been removed already", path)
