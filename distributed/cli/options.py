"""What the arguments of both commands may be, and what becomes of those that mean nothing here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from distributed.durations import parse_seconds
from distributed.logs import LEVELS
from distributed.version import __version__

Command = Callable[..., None]

NO_DASHBOARD = (
    "there is no dashboard yet; client.scheduler_info() and client.why(future) tell what goes on"
)
NOT_ENCRYPTED = (
    "connections are not encrypted yet: stay on one machine, go through ssh "
    "(ssh -L 8786:localhost:8786 HOST), or use --insecure on a network that you trust"
)
ONE_CLASS = "workers are of one class here; --preload MODULE runs code of yours in each of them"
NO_JUPYTER = "start Jupyter beside the scheduler, and connect with Client(address)"


class Seconds(click.ParamType):
    """A time: seconds, or with a unit as in '5 minutes'. At least `min` seconds."""

    name = "time"

    def __init__(self, min: float = 0.0) -> None:
        self.min = min

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            seconds = parse_seconds(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds < self.min:
            self.fail(f"{value} is not in the range: it is {self.min:g} s at least", param, ctx)
        return seconds


class Processes(click.ParamType):
    """A number of processes, counted down from the cores if it is negative, or 'auto'."""

    name = "number|auto"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        if value == "auto" or isinstance(value, int):
            return value
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number of processes nor 'auto'", param, ctx)
        if number == 0:
            self.fail("0 is no number of processes: for all cores write -1, or auto", param, ctx)
        return number


class Ports(click.ParamType):
    """A port, or a range as in 3000:3026: a tuple of all its ports, empty for 0, any free port."""

    name = "port[:port]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        first, _, last = value.partition(":")
        try:
            ports = range(int(first), int(last or first) + 1)
        except ValueError:
            self.fail(f"{value!r} is neither a port nor a range like 3000:3026", param, ctx)
        if not ports or ports[0] < 0 or ports[-1] > 65535:
            self.fail(f"{value} is not in the range: ports are 0 to 65535", param, ctx)
        if len(ports) > 1 and not ports[0]:
            self.fail(f"{value}: port 0 is any free port, and begins no range", param, ctx)
        return tuple(ports) if ports[0] else ()


class Place(click.ParamType):
    """A host with or without a port, as a URL or not: (host, port), the port None without one."""

    name = "host[:port]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int | None]:
        if isinstance(value, tuple):
            return value
        scheme, found, place = value.rpartition("://")
        if found and scheme != "tcp":
            self.fail(f"{value!r}: only tcp:// is known; {NOT_ENCRYPTED}", param, ctx)
        host, port = _split(place.removesuffix("/"))
        if port and not (port.isdigit() and int(port) < 65536):
            self.fail(f"{value!r} is not a place: write host, or host:port", param, ctx)
        return host.strip("[]"), int(port) if port else None


def _split(place: str) -> tuple[str, str]:
    """Host and port. An IPv6 address has colons of its own, and needs brackets only before a port."""
    if place.count(":") > 1 and "]:" not in place:
        return place, ""
    host, _, port = place.partition("]:") if "]:" in place else place.partition(":")
    return host, port


# For dask --------------------------------------------------------------------------------------


def idle(*names: str, reason: str, **attributes: Any) -> Callable[[Command], Command]:
    """An option of dask's command that does nothing here, and says so when it is given."""

    def say(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value is not None and value is not False:
            click.echo(f"{ctx.info_name}: {param.opts[0]} does nothing here: {reason}", err=True)

    return click.option(
        *names, expose_value=False, hidden=True, default=None, callback=say, **attributes
    )


def refused(
    *names: str, reason: str, unless: Sequence[str] = (), **attributes: Any
) -> Callable[[Command], Command]:
    """An option of dask's command that cannot be had here, and what to do instead. It may be given with
    these values, which ask for what there is."""

    def refuse(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value is not None and value is not False and value not in unless:
            given = param.opts[0] if value is True else f"{param.opts[0]} {value}"
            raise click.UsageError(f"{given} cannot be had here: {reason}")

    return click.option(
        *names, expose_value=False, hidden=True, default=None, callback=refuse, **attributes
    )


_FOR_DASK = (
    idle("--dashboard-address", reason=NO_DASHBOARD),
    idle("--dashboard/--no-dashboard", reason=NO_DASHBOARD),
    idle("--dashboard-prefix", reason=NO_DASHBOARD),
    refused("--protocol", reason=f"only tcp is known; {NOT_ENCRYPTED}", unless=("tcp", "tcp://")),
    refused("--tls-ca-file", reason=NOT_ENCRYPTED),
    refused("--tls-cert", reason=NOT_ENCRYPTED),
    refused("--tls-key", reason=NOT_ENCRYPTED),
)

# Options of both commands -----------------------------------------------------------------------

_COMMON = (
    click.version_option(__version__, message="%(version)s"),
    click.option(
        "--interface",
        help="Listen at the address of this network interface, as in eth0 or ib0.",
    ),
    click.option("--pid-file", type=click.Path(), help="Write the process id there."),
    click.option(
        "--log-level",
        type=click.Choice(LEVELS, case_sensitive=False),
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
    *_FOR_DASK,
)


def common(command: Command) -> Command:
    """Add the options that both commands have."""
    for option in _COMMON:
        command = option(command)
    return command


def preload(what: str) -> Callable[[Command], Command]:
    """Add `--preload`, and the arguments of preloaded modules."""

    def add(command: Command) -> Command:
        command = click.argument("preload_argv", nargs=-1, type=click.UNPROCESSED)(command)
        return click.option(
            "--preload",
            multiple=True,
            metavar="MODULE",
            help=f"Import this module, or this file.py, in {what}, and call its dask_setup. May be given "
            "several times. Arguments for the module stand behind `--`.",
        )(command)

    return add


def check_preload_arguments(preload: Sequence[str], arguments: Sequence[str]) -> None:
    """Only preloaded modules have a use for further arguments."""
    if arguments and not preload:
        raise click.UsageError(f"Got unexpected extra arguments ({' '.join(arguments)})")


class PreloadingCommand(click.Command):
    """Says where arguments of preloaded modules stand, if they stand somewhere else."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        preloads = any(word.startswith("--preload") for word in args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if preloads:
                error.message += " If it is for a preloaded module, write it behind `--`."
            raise


# Names and settings of both commands.
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
EPILOG = (
    "Times are seconds, or have a unit: 500ms, 30s, '5 minutes', 1h. Options of `dask scheduler` and "
    "`dask worker` that mean nothing here are taken with a line that says so, or refused with one that "
    "says what to do; the guide lists them."
)
