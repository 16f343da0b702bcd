"""Says of each outcome whether it may be.

Each future ends with its right value, its task's own exception, a cancellation that was asked for, or an
error that the faults explain.
"""

from __future__ import annotations

from typing import Any

from distributed.core.lifecycle import MAX_DEATHS
from tests.sim.client import Future
from tests.sim.tasks import Book


class Ledger:
    def __init__(self, book: Book) -> None:
        self.book = book
        self.futures: dict[Future, tuple[str, Any] | None] = {}  # and how the last look ended
        self.looks = 0
        # Keys by client: those that it called off, and those that it could not submit again.
        self._called_off: dict[str, set[str]] = {}
        self._borrowed: dict[str, set[str]] = {}
        self.worker_losses = 0  # deaths, and connections to the scheduler that broke

    def enter(self, future: Future) -> None:
        self.futures[future] = None

    def called_off(self, client: str, key: str) -> None:
        self._called_off.setdefault(client, set()).add(key)

    def borrowed(self, client: str, key: str) -> None:
        self._borrowed.setdefault(client, set()).add(key)

    def tell(self, future: Future, how: str, what: Any) -> None:
        """A look at the future has ended."""
        self.looks += 1
        where = f"{future.key} at {future.client.name}"
        future.client.world.say(future.client.name, f"{future.key} is", (how, what))
        assert _RULES[how](self, future, what), f"{where} must not end as {how} {what!r}"
        before = self.futures[future]
        # A value can be lost, and what was lost can be submitted again. What has ended can still read as
        # cancelled, if that was asked for: to a new scheduler it is submitted again, as an input of others.
        final = before is not None and before[0] in ("raised", "killed", "cancelled", "timeout")
        final = final and how != "cancelled"
        assert not final or before == (how, what), f"{where} was {before}, now {how} {what!r}"
        self.futures[future] = (how, what)

    def _right_value(self, future: Future, what: Any) -> bool:
        return self.book.values.get(future.key) == what

    def _own_exception(self, future: Future, what: Any) -> bool:
        """Of the key, or of something that it needs that could run."""
        return any(
            spec.error == what
            and (spec.raises or spec.flaky > spec.retries)
            and all(key in self.book.values for key in spec.inputs)
            for spec in self.book.ancestry(future.key)
        )

    def _cancelled(self, future: Future, what: Any) -> bool:
        """It was called off by its client, or something that it needs was."""
        return self._any(future, self._called_off)

    def _killed(self, future: Future, what: Any) -> bool:
        """It, or what it needs, kills workers; or so many died that it may have been taken for guilty:
        the scheduler guesses which of the tasks on a worker was it."""
        poisoned = any(spec.poison for spec in self.book.ancestry(future.key))
        return poisoned or self.worker_losses >= MAX_DEATHS

    def _over_time(self, future: Future, what: Any) -> bool:
        """It, or what it needs, has a time limit. Any task may take long: its worker may be slow."""
        return any(spec.timeout for spec in self.book.ancestry(future.key))

    def _lost(self, future: Future, what: Any) -> bool:
        """It, or what it needs, was scattered or came from another client, so that it could not be
        computed again; or its client has been without a scheduler for long. What was called off is not
        submitted again to a new scheduler, either, so that what uses it may be lost."""
        return (
            future.client.was_alone
            or any(spec.scattered for spec in self.book.ancestry(future.key))
            or self._any(future, self._borrowed)
            or self._any(future, self._called_off)
        )

    def _any(self, future: Future, table: dict[str, set[str]]) -> bool:
        keys = table.get(future.client.name, set())
        return any(spec.key in keys for spec in self.book.ancestry(future.key))


_RULES: dict[str, Any] = {
    "value": Ledger._right_value,
    "raised": Ledger._own_exception,
    "cancelled": Ledger._cancelled,
    "killed": Ledger._killed,
    "lost": Ledger._lost,
    "timeout": Ledger._over_time,
}
