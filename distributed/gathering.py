"""Results from the workers to this process."""

from __future__ import annotations

import logging
import threading
from typing import Any

from distributed.connection import Connection
from distributed.core.client_events import Unreachable
from distributed.core.entries import FINISHED, PENDING, Entry
from distributed.errors import LostData, SerializationError, TimeoutError
from distributed.futures import Future, leave_slot, wait_for
from distributed.keys import shown_key
from distributed.messages import Ask
from distributed.unpickling import unpickle, unpickle_frames
from distributed.waiting import Deadline

# How often a worker that the scheduler reaches is dialled in vain, before that is reported. A worker that
# has died meanwhile does not count: what it had is made again, and asked for again.
FETCH_ATTEMPTS = 5
# The pause before a worker is asked again; it doubles each time. Together they are longer than the
# scheduler takes to find out that a worker has died.
FIRST_PAUSE, LAST_PAUSE = 0.1, 1.0

logger = logging.getLogger("distributed.executor")


def collect(
    connection: Connection, futures: list[Future], strict: bool, deadline: Deadline | None = None
) -> tuple[dict[Entry, Any], BaseException | None]:
    """The value of each entry; those that failed are not there. If `strict`, the first failure.

    It is not raised here: its traceback would keep the futures.
    """
    values: dict[Entry, Any] = {}
    attempts = _Attempts(connection, deadline)
    left = futures
    while left:
        wait_for(left, deadline, strict)
        places: dict[str, list[str]] = {}
        again = []  # lost after we had waited for it: it is computed again
        for future in left:
            entry = future._entry
            # In this order: a result is there before the status says so.
            status, inline, address = entry.status, entry.inline, entry.address
            if status is PENDING:
                again.append(future)
            elif status is not FINISHED:
                if strict:
                    return values, future.failure()
            elif inline is not None:
                values[entry] = unpickle(inline)
            elif entry not in values:
                places.setdefault(address, []).append(entry.key)
        missing = _fetch(attempts, places, left, values) if places else set()
        left = again + [future for future in left if future._entry.key in missing]
    return values, None


def _fetch(
    attempts: _Attempts,
    places: dict[str, list[str]],
    futures: list[Future],
    values: dict[Entry, Any],
) -> set[str]:
    """Add what can be had to `values`; returns the keys of the rest, after having reported it."""
    leave_slot()
    connection = attempts.connection
    unique = {address: list(dict.fromkeys(keys)) for address, keys in places.items()}
    fetched, failures = connection.fetch(unique, attempts.deadline)
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
        for address in dict.fromkeys(at[key] for key in missing):
            first = next(key for key in unique[address] if key in missing)
            attempts.failed(address, first, failures.get(address))
    return missing


class _Attempts:
    """What was asked for in vain."""

    def __init__(self, connection: Connection, deadline: Deadline | None) -> None:
        self.connection = connection
        self.deadline = deadline
        # By address: the process that is there, and how often it was dialled in vain.
        self._counts: dict[str, tuple[int, int]] = {}
        self._pauses = 0

    def failed(self, address: str, key: str, reason: str | None) -> None:
        """Pause before it is asked for again. There is a reason if the worker could not be reached: raises
        LostData if that was so too often."""
        if self._pauses:
            why = reason or f"{address} does not have it"
            logger.warning("the result of %s cannot be had (%s): trying again", shown_key(key), why)
            self._pause(min(LAST_PAUSE, FIRST_PAUSE * 2 ** (self._pauses - 1)))
        self._pauses += 1
        if reason is None:
            return  # the scheduler has been told, and has it made again, or finds out what is wrong
        process, count = self._counts.get(address, (0, 0))
        here = self._process(address)
        count = count + 1 if here and here == process else 1
        self._counts[address] = (here, count)
        if count == FETCH_ATTEMPTS:
            raise LostData(
                f"the result of {shown_key(key)} could not be fetched in {count} attempts: {reason}. The "
                f"scheduler reaches this worker (process {here}); can its port be reached from here?"
            )

    def _pause(self, seconds: float) -> None:
        if self.deadline is not None:
            seconds = max(0.0, min(seconds, self.deadline.left()))
        threading.Event().wait(seconds)

    def _process(self, address: str) -> int:
        """The process of the worker with that address; 0 if there is none."""
        patience = None if self.deadline is None else max(0.0, self.deadline.left())
        try:
            info = self.connection.ask(lambda r: Ask(r, "scheduler_info", None), patience)
        except TimeoutError:
            assert self.deadline is not None  # otherwise there is none
            raise self.deadline.missed("the scheduler has not answered") from None
        worker = info["workers"].get(address)
        return 0 if worker is None else int(worker["pid"])
