"""What both commands do as processes: where they listen, what they leave in files, how they end."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click
import psutil

from distributed.descriptors import raise_limit
from distributed.logs import set_up_logging
from distributed.processes import end_with_parent, leave
from distributed.transport import Address, is_loopback

logger = logging.getLogger("distributed")


def set_up(log_level: str, with_parent: bool) -> None:
    """Log, and heed signals, before there is anything that could be stopped."""
    raise_limit()
    set_up_logging(log_level)
    gc.freeze()  # all that has been imported stays: the collector need not look at it again
    # Until there is something to stop, ending is all that a signal can mean.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: leave(0))
    if with_parent:
        end_with_parent()


def fail(text: str) -> NoReturn:
    """End with status 1 and this line."""
    click.echo(f"Error: {text}", err=True)
    leave(1)


def check_host(host: str, insecure: bool) -> None:
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


def interface_host(interface: str) -> str:
    """The address of a network interface: IPv4 if it has one. Raises click.UsageError."""
    interfaces = psutil.net_if_addrs()
    if interface not in interfaces:
        known = ", ".join(sorted(interfaces))
        raise click.UsageError(f"there is no network interface {interface!r} here, only: {known}")
    for family in (socket.AF_INET, socket.AF_INET6):
        for address in interfaces[interface]:
            if address.family == family:
                return str(address.address)
    raise click.UsageError(f"the network interface {interface} has no address")


def given_host(
    place: tuple[str, int | None] | None, interface: str | None
) -> tuple[str | None, int | None]:
    """Host and port, as far as `--host` and `--interface` say. Raises click.UsageError."""
    if interface is None:
        return place or (None, None)
    if place is not None:
        raise click.UsageError("give --host or --interface, not both")
    return interface_host(interface), None


def reachable(address: Address) -> Address:
    """The address to tell others: a wildcard is replaced by this machine's name."""
    if address.host in ("0.0.0.0", "*", "::"):
        return Address(socket.gethostname(), address.port)
    return address


@contextmanager
def file(path: str | None, text: str) -> Iterator[None]:
    """A file that exists for as long as the block runs, and is there as a whole or not at all."""
    if path is None:
        yield
        return
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as opened:
            opened.write(text)
        temporary.replace(target)
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}")
    try:
        yield
    finally:
        # Unless another process has put its own there.
        try:
            if target.read_text() == text:
                target.unlink()
        except OSError:
            logger.debug("%s has been removed already", path)
