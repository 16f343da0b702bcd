"""The command `dscheduler`."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from distributed.cli.options import (
    EPILOG,
    NO_DASHBOARD,
    NO_JUPYTER,
    SETTINGS,
    Place,
    PreloadingCommand,
    Seconds,
    check_preload_arguments,
    common,
    idle,
    preload,
    refused,
)
from distributed.cli.process import check_host, fail, file, given_host, reachable, set_up
from distributed.core.patience import CLIENT_GRACE_SECONDS, SILENCE_SECONDS
from distributed.output import say
from distributed.processes import leave, on_signals, run_exit_functions
from distributed.transport import WILDCARDS

# A nanny says every second that its workers live, and a client, which has five times as long, every two
# seconds that it does: with less patience, those that are well would be given up.
MIN_WORKER_TIMEOUT = 3.0
MIN_CLIENT_TIMEOUT = 1.0
PORT = 8786
# What preloaded modules do at the end may take this long.
EXIT_SECONDS = 0.5


@click.command(cls=PreloadingCommand, context_settings=SETTINGS, epilog=EPILOG)
@click.option(
    "--host",
    type=Place(),
    show_default="127.0.0.1",
    help="Where to listen: an address of this machine, a name, or 0.0.0.0 for all of its addresses.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), show_default=str(PORT), help="0 picks a free one."
)
@click.option("--scheduler-file", type=click.Path(), help="Write the address there, as JSON.")
@click.option(
    "--idle-timeout", type=Seconds(), help="End after this time without clients and work."
)
@click.option(
    "--worker-timeout",
    type=Seconds(MIN_WORKER_TIMEOUT),
    default=SILENCE_SECONDS,
    show_default=True,
    help="Give up a worker that has been silent for this time; one without a nanny, which a task "
    "may keep from speaking, after ten times as long.",
)
@click.option(
    "--client-timeout",
    type=Seconds(MIN_CLIENT_TIMEOUT),
    default=CLIENT_GRACE_SECONDS,
    show_default=True,
    help="Keep what a client wants for this time after its connection broke; for five times as "
    "long if it is only silent.",
)
@preload("the scheduler's process")
@idle("--show/--no-show", reason=NO_DASHBOARD)
@idle("--use-xheaders", type=bool, reason=NO_DASHBOARD)
@refused("--jupyter/--no-jupyter", reason=NO_JUPYTER)
@common
def dscheduler(
    host: tuple[str, int | None] | None,
    port: int | None,
    interface: str | None,
    scheduler_file: str | None,
    pid_file: str | None,
    idle_timeout: float | None,
    worker_timeout: float,
    client_timeout: float,
    preload: tuple[str, ...],
    preload_argv: tuple[str, ...],
    insecure: bool,
    log_level: str,
    with_parent: bool,
) -> None:
    """Run the scheduler of a cluster."""
    check_preload_arguments(preload, preload_argv)
    place, its_port = given_host(host, interface)
    if None not in (port, its_port) and port != its_port:
        raise click.UsageError(f"--host says port {its_port}, and --port {port}")
    chosen = next((given for given in (port, its_port) if given is not None), PORT)
    if place in WILDCARDS:
        place = place if place == "::" else "0.0.0.0"
    place = place or "127.0.0.1"
    set_up(log_level, with_parent)
    check_host(place, insecure)
    run(
        place,
        chosen,
        {
            "idle_timeout": idle_timeout,
            "worker_timeout": worker_timeout,
            "client_timeout": client_timeout,
        },
        (preload, preload_argv),
        (scheduler_file, pid_file),
    )
    leave(0)


def run(
    host: str,
    port: int,
    timeouts: dict[str, Any],
    preloads: tuple[tuple[str, ...], tuple[str, ...]],
    files: tuple[str | None, str | None],
) -> None:
    """Be the scheduler until it is told to end. `timeouts` are those of a Broker, `preloads` modules and
    their arguments, `files` that of the address and that of the process id."""
    from distributed.broker import Broker

    try:
        broker = Broker(host, port, **timeouts)
    except OSError as error:
        fail(error.strerror or str(error))
    if preloads[0]:
        _preload(broker, *preloads)
    on_signals(broker.stop, broker.wake_descriptor)
    description = {"address": reachable(broker.address).url, "pid": os.getpid(), "id": broker.id}
    with file(files[0], json.dumps(description)), file(files[1], f"{os.getpid()}\n"):
        say(f"Start scheduler at {broker.address.place}")
        broker.run()
    if preloads[0]:
        run_exit_functions(EXIT_SECONDS)  # dask_teardown of the modules is among them


def _preload(broker: object, names: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    from distributed.preloads import PreloadFailed, load_preloads

    sys.path.insert(0, "")  # modules beside which the command was typed can be preloaded
    try:
        load_preloads(names, arguments, broker)
    except PreloadFailed as error:
        fail(str(error))
