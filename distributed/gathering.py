"""Results from the workers to this process."""

from __future__ import annotations

import time
from typing import Any

from distributed.connection import Connection
from distributed.core.client_events import Unreachable
from distributed.core.entries import FINISHED, PENDING, Entry
from distributed.errors import LostData, SerializationError
from distributed.futures import Future, leave_slot, wait_for
from distributed.unpickling import unpickle, unpickle_frames

# How often data is asked for that its holder turns out not to have, before that is reported. Each time
# in between it has been computed again.
FETCH_ATTEMPTS = 5


def collect(
    connection: Connection, futures: list[Future], strict: bool, timeout: float | None = None
) -> tuple[dict[Entry, Any], BaseException | None]:
    """The value of each entry; those that failed are not there. If `strict`, the first failure.

    It is not raised here: its traceback would keep the futures.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    values: dict[Entry, Any] = {}
    left, failures = futures, 0
    while left:
        wait_for(left, deadline, strict)
        places: dict[str, list[str]] = {}
        lost = []  # after we had waited for it: it is computed again
        for future in left:
            entry = future._entry
            # In this order: a result is there before the status says so.
            status, inline, address = entry.status, entry.inline, entry.address
            if status is PENDING:
                lost.append(future)
            elif status is not FINISHED:
                if strict:
                    return values, future.failure()
            elif inline is not None:
                values[entry] = unpickle(inline)
            elif entry not in values:
                places.setdefault(address, []).append(entry.key)
        missing = _fetch(connection, places, left, values, deadline) if places else set()
        if missing:
            failures += 1
            left = [future for future in left if future._entry.key in missing]
            if failures == FETCH_ATTEMPTS:
                raise LostData(
                    f"the data of {left[0].key} could not be fetched from {left[0]._entry.address} in "
                    f"{FETCH_ATTEMPTS} attempts: is the worker's port reachable from here?"
                )
            left += lost
        else:
            left = lost
    return values, None


def _fetch(
    connection: Connection,
    places: dict[str, list[str]],
    futures: list[Future],
    values: dict[Entry, Any],
    deadline: float | None,
) -> set[str]:
    """Add what can be had to `values`; returns the keys of the rest, after having reported it."""
    leave_slot()
    unique = {address: list(dict.fromkeys(keys)) for address, keys in places.items()}
    fetched = connection.fetch(unique, deadline)
    at = {key: address for address, keys in places.items() for key in keys}
    missing: set[str] = set()
    for future in futures:
        entry = future._entry
        if entry.key not in at or entry in values:
            continue
        frames = fetched.get(entry.key)
        if isinstance(frames, str):
            raise SerializationError(f"the result of {future.key} cannot be sent: {frames}")
        if frames is None:
            missing.add(entry.key)
        else:
            values[entry] = unpickle_frames(frames)
    if missing:
        connection.handle(Unreachable([(key, at[key]) for key in missing]))
    return missing
