"""The command `dworker`."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distributed.cli.options import (
    EPILOG,
    NOT_ENCRYPTED,
    ONE_CLASS,
    SETTINGS,
    Place,
    Ports,
    PreloadingCommand,
    Processes,
    Seconds,
    check_preload_arguments,
    common,
    idle,
    preload,
    refused,
)
from distributed.cli.process import check_host, fail, file, given_host, set_up
from distributed.environment import worker_environment
from distributed.errors import SchedulerGone
from distributed.leases import Lease, sweep
from distributed.machine import count_cpus, parse_memory_limit, processes_and_threads
from distributed.paths import resolved
from distributed.processes import leave, on_signals, run_exit_functions, take_standard_input
from distributed.resources import parse_resources
from distributed.transport import Address, is_loopback, parse_address, reachable_host

if TYPE_CHECKING:
    from distributed.nanny import WorkerOptions

# A scheduler file that is not there yet is looked for this often.
FILE_SECONDS = 0.05
# The classes of dask's own workers, which ask for what a worker is here anyway.
WORKER_CLASSES = ("dask.distributed.Worker", "distributed.Worker", "distributed.worker.Worker")

logger = logging.getLogger("distributed")


@click.command(cls=PreloadingCommand, context_settings=SETTINGS, epilog=EPILOG)
@click.argument("address", required=False)
@click.option(
    "--nthreads",
    type=click.IntRange(0),
    help="Tasks at a time in each process. [default, and 0: its share of the cores]",
)
@click.option(
    "--nworkers",
    "--nprocs",
    type=Processes(),
    default=1,
    show_default=True,
    help="Worker processes. -1 is as many as there are cores, -2 one less; auto divides the cores into "
    "processes and threads.",
)
@click.option(
    "--name",
    help="What to call the worker, for the `workers=` of tasks; with --nworkers 2, NAME-0 and NAME-1. A "
    "name that another worker has is refused. [default: its address]",
)
@click.option(
    "--host",
    type=Place(),
    help="Where to serve data. [default: the interface towards the scheduler]",
)
@click.option(
    "--port",
    "--worker-port",
    type=Ports(),
    default="0",
    show_default=True,
    help="Where to serve data: a port, or a range as in 3000:3026 for several processes; 0 picks a free "
    "one.",
)
@click.option(
    "--listen-address", type=Place(), help="--host and --port in one, as in tcp://10.0.0.1:9000."
)
@click.option(
    "--contact-address",
    type=Place(),
    help="Tell others this address in place of the one where it listens: for NAT and containers.",
)
@click.option(
    "--memory-limit",
    default="auto",
    show_default=True,
    help="Of each process: '4GB', bytes, a number up to 1 for a share of the machine's memory (0.25), 0 "
    "for no limit. auto: the share of the memory that its threads are of the cores.",
)
@click.option(
    "--resources",
    default="",
    help="What each process has for tasks that ask for it, as in 'GPU=1 MEM=16e9'.",
)
@click.option(
    "--local-directory",
    type=click.Path(file_okay=False),
    help="For files of the worker's own; made if it is not there. [default: that for temporary files]",
)
@click.option("--scheduler-file", type=click.Path(), help="Read the scheduler's address there.")
@click.option(
    "--death-timeout",
    type=Seconds(),
    default=60.0,
    show_default=True,
    help="Give up after this time without a scheduler.",
)
@click.option(
    "--lifetime",
    type=Seconds(),
    help="Leave the cluster after this time, once other workers have what only this one has. What runs "
    "then runs elsewhere, from its beginning.",
)
@click.option(
    "--lifetime-stagger",
    type=Seconds(),
    default=0.0,
    show_default=True,
    help="Each process leaves up to this time earlier or later, at random.",
)
@click.option(
    "--lifetime-restart/--no-lifetime-restart",
    default=False,
    help="Whether a new process takes its place after its --lifetime. [default: no]",
)
@click.option(
    "--nanny/--no-nanny", default=True, show_default=True, help="Restart a worker that dies."
)
@preload("each worker process")
@click.option(
    "--preload-nanny", multiple=True, metavar="MODULE", help="The same in the nanny's process."
)
@idle("--nanny-port", reason="a nanny listens nowhere")
# For LocalCluster: where tasks import modules from, as JSON.
@click.option("--import-path", hidden=True)
@refused("--worker-class", reason=ONE_CLASS, unless=WORKER_CLASSES)
@refused("--scheduler-sni", reason=NOT_ENCRYPTED)
@common
def dworker(
    address: str | None,
    nthreads: int | None,
    nworkers: int | str,
    name: str | None,
    host: tuple[str, int | None] | None,
    port: tuple[int, ...],
    listen_address: tuple[str, int | None] | None,
    contact_address: tuple[str, int | None] | None,
    interface: str | None,
    memory_limit: str,
    resources: str,
    local_directory: str | None,
    scheduler_file: str | None,
    pid_file: str | None,
    death_timeout: float,
    lifetime: float | None,
    lifetime_stagger: float,
    lifetime_restart: bool,
    nanny: bool,
    preload: tuple[str, ...],
    preload_argv: tuple[str, ...],
    preload_nanny: tuple[str, ...],
    insecure: bool,
    log_level: str,
    with_parent: bool,
    import_path: str | None,
) -> None:
    """Run workers for the scheduler at ADDRESS (host:port). Without ADDRESS and --scheduler-file it is
    taken from DASK_SCHEDULER_ADDRESS, or scheduler-address in dask's configuration."""
    from distributed.nanny import WorkerOptions

    if scheduler_file is not None and preload and address is not None:
        preload_argv = (address, *preload_argv)
        address = None
    check_preload_arguments((*preload, *preload_nanny), preload_argv)
    _check_lifetime(lifetime, lifetime_stagger, lifetime_restart)
    try:
        nworkers, nthreads = processes_and_threads(nworkers, nthreads, count_cpus())
        limit = parse_memory_limit(memory_limit, nthreads)
        amounts = parse_resources(resources)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if nworkers > 1 and not nanny:
        raise click.UsageError("--nworkers needs the nanny, which starts the processes")
    if preload_nanny and not nanny:
        raise click.UsageError("--preload-nanny needs the nanny")
    listening, ports = _listening(given_host(host, interface), port, listen_address)
    contact, ports = _contact(contact_address, ports)
    if ports and len(ports) < nworkers:
        few = f"{len(ports)} of them" if len(ports) > 1 else "one process only"
        raise click.UsageError(f"--port is for {few}: give a range, as in 3000:3026")
    set_up(log_level, with_parent)
    scheduler = _scheduler(address, scheduler_file, death_timeout)
    place = _host(listening, scheduler, contact)
    check_host(place, insecure)
    options = WorkerOptions(
        nthreads=nthreads,
        name=name,
        host=place,
        ports=ports,
        contact=contact,
        memory_limit=limit,
        resources=amounts,
        local_directory=local_directory,
        death_timeout=death_timeout,
        log_level=log_level,
        lifetime=lifetime,
        lifetime_stagger=lifetime_stagger,
        lifetime_restart=lifetime_restart,
        preload=preload,
        preload_arguments=preload_argv,
    )
    # Modules beside which the command was typed can be imported by tasks.
    path = json.loads(import_path) if import_path else resolved(["", *sys.path])
    run(scheduler, options, nworkers if nanny else 0, preload_nanny, pid_file, path)


def run(
    scheduler: Address,
    options: WorkerOptions,
    nworkers: int,
    preload_nanny: tuple[str, ...],
    pid_file: str | None,
    path: list[str],
) -> None:
    """Run a nanny of this many workers, or a worker without a nanny (0), until it is told to end."""
    from distributed.nanny import DIRECTORY, CannotStart
    from distributed.preloads import PreloadFailed

    again = False
    try:
        if options.local_directory is not None:
            _make_directory(options.local_directory)
        sweep(options.local_directory, DIRECTORY)
        with file(pid_file, f"{os.getpid()}\n"):
            if nworkers:
                _run_nanny(scheduler, options, nworkers, preload_nanny, path)
            else:
                again = _run_without_nanny(scheduler, options, path)
    except (CannotStart, PreloadFailed, SchedulerGone) as error:
        fail(str(error))
    if again:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    leave(0)


def _run_nanny(
    scheduler: Address,
    options: WorkerOptions,
    nworkers: int,
    preload_nanny: tuple[str, ...],
    path: list[str],
) -> None:
    from distributed.nanny import EXIT_SECONDS, Nanny, cannot_start
    from distributed.preloads import PreloadFailed, load_preloads

    try:
        nurse = Nanny(scheduler, options, nworkers, path)
    except OSError as error:
        raise cannot_start(error) from None
    if preload_nanny:
        sys.path[:] = path
    try:
        load_preloads(preload_nanny, options.preload_arguments, nurse)
    except PreloadFailed:
        nurse.stop()
        nurse.run()  # that its files go
        raise
    on_signals(nurse.stop, nurse.wake_descriptor)
    nurse.run()
    if preload_nanny:
        run_exit_functions(EXIT_SECONDS)


def _run_without_nanny(scheduler: Address, options: WorkerOptions, path: list[str]) -> bool:
    """Returns whether the process is to start again."""
    from distributed.nanny import (
        DIRECTORY,
        EXIT_SECONDS,
        announce_worker,
        cannot_start,
        make_worker,
    )
    from distributed.worker import EXPIRED, START_AGAIN

    os.close(take_standard_input())
    missing = worker_environment(os.environ)
    if missing:
        settings = " ".join(f"{name}={value}" for name, value in missing.items())
        logger.warning("tasks run without the usual environment of a worker: %s", settings)
    try:
        lease = Lease(options.local_directory, DIRECTORY)
    except OSError as error:
        raise cannot_start(error) from None
    try:
        own = options._replace(local_directory=lease.directory)
        worker = make_worker(scheduler, own, path)
        on_signals(worker.stop, worker.wake_descriptor)
        announce_worker(worker.address)
        ending = worker.run()
    finally:
        lease.close()
    run_exit_functions(EXIT_SECONDS)
    return ending == START_AGAIN or (ending == EXPIRED and options.lifetime_restart)


# What the arguments mean ------------------------------------------------------------------------


def _check_lifetime(lifetime: float | None, stagger: float, restart: bool) -> None:
    if lifetime is None and (stagger or restart):
        raise click.UsageError("--lifetime-stagger and --lifetime-restart are for a --lifetime")
    if lifetime is not None and stagger >= lifetime > 0:
        raise click.UsageError("--lifetime-stagger is not shorter than --lifetime")


def _listening(
    given: tuple[str | None, int | None],
    ports: tuple[int, ...],
    listen_address: tuple[str, int | None] | None,
) -> tuple[str | None, tuple[int, ...]]:
    """Host and ports, from the four options that say where to listen."""
    host, port = given
    if listen_address is not None:
        if host is not None:
            raise click.UsageError("--listen-address is for --host or --interface, not beside them")
        host, port = listen_address
    if port:
        if ports and ports != (port,):
            raise click.UsageError(f"there are two ports for one process: {port} and --port")
        ports = (port,)
    return host, ports


def _contact(
    place: tuple[str, int | None] | None, ports: tuple[int, ...]
) -> tuple[str | None, tuple[int, ...]]:
    """The URL that others are told, and the ports to listen at: by default the one that they are told."""
    if place is None:
        return None, ports
    host, port = place
    port = port or (ports[0] if len(ports) == 1 else None)
    if not host or not port:
        raise click.UsageError(
            "a --contact-address has a host and one port, as in tcp://10.0.0.1:9000"
        )
    return Address(host, port).url, ports or (port,)


def _host(host: str | None, scheduler: Address, contact: str | None = None) -> str:
    """Where a worker listens: an address that others can connect to, unless they are told another."""
    if contact is not None:
        return host or "0.0.0.0"
    if host is None and is_loopback(scheduler.host):
        return "::1" if ":" in scheduler.host else "127.0.0.1"
    try:
        return reachable_host(host or "*", scheduler)
    except OSError as error:
        fail(f"there is no way to the scheduler at {scheduler.url}: {error.strerror}")


def _scheduler(address: str | None, scheduler_file: str | None, patience: float) -> Address:
    if address is not None and scheduler_file is not None:
        raise click.UsageError("give the scheduler's ADDRESS, or its --scheduler-file, not both")
    try:
        if scheduler_file is not None:
            described = json.loads(_wait_for_file(scheduler_file, patience))
            return parse_address(described["address"])
        return parse_address(address if address is not None else _configured())
    except (ValueError, KeyError, TypeError) as error:
        raise click.UsageError(str(error)) from None


def _configured() -> str:
    """The address in dask's configuration, of which the environment is a part."""
    # Not above: a nanny does without dask where it can.
    import dask.config

    address = dask.config.get("scheduler-address", None)
    if address is None:
        raise click.UsageError(
            "give the scheduler's ADDRESS, as in 127.0.0.1:8786, or its --scheduler-file, or set "
            "DASK_SCHEDULER_ADDRESS"
        )
    program = click.get_current_context().info_name
    click.echo(
        f"{program}: the scheduler is {address}, by scheduler-address in dask's configuration",
        err=True,
    )
    return str(address)


def _wait_for_file(path: str, patience: float) -> str:
    """Its text, once it is there."""
    deadline = time.monotonic() + patience
    pause = threading.Event()
    while True:
        try:
            return Path(path).read_text()
        except FileNotFoundError:
            if time.monotonic() > deadline:
                fail(f"there is no scheduler file {path} (waited for {patience:g} s)")
            pause.wait(FILE_SECONDS)
        except OSError as error:
            fail(f"the scheduler file {path} cannot be read: {error.strerror}")


def _make_directory(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        fail(f"--local-directory {path} cannot be made: {error.strerror}")
