"""A worker's results."""

from __future__ import annotations

from typing import Any


class Store:
    """Values by key, with what they weigh.

    Written by one thread, the worker's loop. Task threads read `values`: a dict's single operations
    are atomic, and what a task needs is there before the task is given to a thread.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.total_bytes = 0
        self._nbytes: dict[str, int] = {}

    def put(self, key: str, value: Any, nbytes: int) -> None:
        """Keep a value, in place of an earlier one of the same key."""
        self.total_bytes += nbytes - self._nbytes.get(key, 0)
        self._nbytes[key] = nbytes
        self.values[key] = value

    def delete(self, key: str) -> None:
        """Forget a value; nothing happens if there is none."""
        self.total_bytes -= self._nbytes.pop(key, 0)
        self.values.pop(key, None)
