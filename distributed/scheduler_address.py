"""Where a session finds its scheduler."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from pathlib import Path
from typing import Any, NamedTuple

import dask

from distributed.errors import SchedulerGone
from distributed.transport import Address, parse_address
from distributed.waiting import Deadline

# A scheduler file that is not there yet is looked for so often.
FILE_SECONDS = 0.05

logger = logging.getLogger("distributed.executor")


class SchedulerPlace(NamedTuple):
    address: str


def configured_address() -> str | None:
    """As in the environment or the configuration files of dask."""
    address: str | None = dask.config.get("scheduler-address", None)
    if address is not None:
        logger.warning(
            "connects to %s, the scheduler-address of dask's configuration (DASK_SCHEDULER_ADDRESS)",
            address,
        )
    return address


def find_scheduler(
    given: Any, scheduler_file: str | os.PathLike[str] | None, deadline: Deadline | None
) -> Address:
    if scheduler_file is not None:
        return _address_in(Path(scheduler_file), deadline)
    if getattr(given, "status", "") == "closed":
        raise SchedulerGone(f"{given!r}: start another, or connect to one that runs")
    address = parse_address(getattr(given, "scheduler_address", given))
    try:
        socket.getaddrinfo(address.host, address.port)
    except OSError as error:
        raise SchedulerGone(
            f"the host {address.host} of {address.url} is not known: {error}"
        ) from None
    return address


def _address_in(path: Path, deadline: Deadline | None) -> Address:
    """What the scheduler has written there; it may just be starting."""
    pause = threading.Event()
    while not path.exists():
        if deadline is not None and deadline.left() < 0:
            raise SchedulerGone(
                f"no scheduler has written {path} within {deadline.seconds:g} s: start one with "
                f"`dscheduler --scheduler-file {path}`"
            )
        pause.wait(FILE_SECONDS)
    try:
        return parse_address(json.loads(path.read_text())["address"])
    except (OSError, ValueError, KeyError) as error:
        raise OSError(f"{path} is not the file of a scheduler: {error!r}") from None
