"""Questions that an Executor answers about its cluster: who is there, what lies and runs where."""

from __future__ import annotations

import threading
import time
from typing import Any

from distributed.connection import Connection
from distributed.errors import TimeoutError
from distributed.futures import flat_futures
from distributed.keys import shown_key
from distributed.messages import Ask


class Inspection:
    """The part of an Executor that looks and changes nothing."""

    _connection: Connection
    scheduler_address: str

    def ncores(self) -> dict[str, int]:
        """{address: threads} of the workers."""
        return dict(self._ask("ncores"))

    def who_has(self, futures: Any = None) -> dict[Any, list[str]]:
        """{key: [addresses]} of the workers that hold the results, of these futures or of all."""
        found = self._ask("who_has", futures)
        return {shown_key(key): list(addresses) for key, addresses in found.items()}

    def has_what(self) -> dict[str, list[Any]]:
        """{address: [keys]} of the results that the workers hold."""
        return {a: [shown_key(key) for key in keys] for a, keys in self._ask("has_what").items()}

    def nbytes(self, futures: Any = None) -> dict[Any, int]:
        """{key: bytes} of the results that workers hold, of these futures or of all."""
        return {shown_key(key): size for key, size in self._ask("nbytes", futures).items()}

    def processing(self) -> dict[str, list[Any]]:
        """{address: [keys]} of the tasks that the workers have been given."""
        return {a: [shown_key(key) for key in keys] for a, keys in self._ask("processing").items()}

    def scheduler_info(self) -> dict[str, Any]:
        """The scheduler's address, its workers, and how many tasks are in which state."""
        return {"address": self.scheduler_address, **self._ask("scheduler_info")}

    def wait_for_workers(self, n_workers: int, timeout: float | None = None) -> None:
        """Block until so many workers have registered. Raises TimeoutError after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = threading.Event()
        while (present := len(self.ncores())) < n_workers:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(
                    f"{present} of {n_workers} workers have registered within {timeout:g} s"
                )
            pause.wait(0.02)

    def _ask(self, question: str, futures: Any = None, timeout: float | None = None) -> Any:
        keys = None
        if futures is not None:
            keys = tuple(future.wire for future in flat_futures(futures, question))
        return self._connection.ask(lambda request: Ask(request, question, keys), timeout)
