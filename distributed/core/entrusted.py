"""Recipes of fired work that a worker keeps for the next scheduler; see `fired.py`."""

from __future__ import annotations

from collections.abc import Iterable

from distributed.messages import Entrust


class _Batch:
    """What came together, and which of its keys have not ended."""

    __slots__ = ("keys", "message")

    def __init__(self, message: Entrust) -> None:
        self.message = message
        self.keys = dict.fromkeys(message.keys)


class Entrusted:
    def __init__(self) -> None:
        self._batches: dict[str, _Batch] = {}  # by key

    def __len__(self) -> int:
        return len(self._batches)

    def __contains__(self, key: str) -> bool:
        return key in self._batches

    def take(self, message: Entrust) -> None:
        self.discharge(message.keys)
        self._batches.update(dict.fromkeys(message.keys, _Batch(message)))

    def discharge(self, keys: Iterable[str]) -> None:
        for key in keys:
            batch = self._batches.pop(key, None)
            if batch is not None:
                del batch.keys[key]

    def said(self) -> list[Entrust]:
        """All of it, for a scheduler that may not know it."""
        batches = dict.fromkeys(self._batches.values())
        return [batch.message._replace(keys=tuple(batch.keys)) for batch in batches]
