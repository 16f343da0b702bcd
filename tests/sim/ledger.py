"""Says of each outcome whether it may be.

Each future ends with its right value, its task's own exception, a cancellation that was asked for, or an
error that the faults explain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from distributed.core.entries import Entry
from distributed.core.lifecycle import MAX_DEATHS
from tests.sim.tasks import Book, Spec

if TYPE_CHECKING:
    from tests.sim.client import Future
    from tests.sim.nanny import Nanny
    from tests.sim.worker import Worker

# What is told after so long is no news from before.
NEWS_SECONDS = 5.0
# How a future ends for good.
_FINAL = ("raised", "killed", "stuck", "timeout", "cancelled")


class Ledger:
    def __init__(
        self, book: Book, is_member: Callable[[Worker], bool], is_held: Callable[[str], bool]
    ) -> None:
        self.book = book
        self.is_held = is_held  # whether anybody has a future of the key
        self.is_member = is_member  # whether the scheduler counts on the worker
        self.futures: dict[Future, tuple[str, Any] | None] = {}  # and how the last look ended
        # The epoch of the scheduler that the client knew, and when.
        self._anew: dict[Future, tuple[str, float]] = {}
        self._lost_data: set[str] = set()
        self._clients: dict[str, set[str]] = {}  # that have had futures of a key
        self.looks = 0
        self.questions = self.answers = 0
        self.lives = 1  # of the scheduler
        self.restarts = 0  # of the whole cluster, that were asked for
        # Keys by client: those that it called off, and those that it could not submit again.
        self._called_off: dict[str, set[str]] = {}
        self._borrowed: dict[str, set[str]] = {}
        self.deaths: Counter[str] = Counter()  # of workers that were running a key
        # What was fired, as far as the scheduler has heard; of those that it had not done when it died, the
        # workers that kept the recipe.
        self.fired: dict[str, list[Worker] | None] = {}
        self.failed: set[str] = set()  # of it, as the scheduler logs
        # Deaths of workers, and connections of theirs to the scheduler that broke; the nanny that can say
        # which of these it was, if there is one that the scheduler knows.
        self.losses: list[Nanny | None] = []

    def enter(self, future: Future) -> None:
        self.futures[future] = None

    def asked(self, future: Future, anew: bool) -> None:
        """It was submitted; `anew`: nobody held it or worked at it, so that it has to be done."""
        self._clients.setdefault(future.key, set()).add(future.client.name)
        if anew:
            self._anew[future] = (future.client.core.epoch, future.client.world.now)

    def called_off(self, client: str, key: str) -> None:
        self._called_off.setdefault(client, set()).add(key)

    def borrowed(self, client: str, key: str) -> None:
        self._clients.setdefault(key, set()).add(client)
        self._borrowed.setdefault(client, set()).add(key)

    def note_fired(self, keys: Iterable[str]) -> None:
        """The scheduler keeps these."""
        for key in keys:
            self.fired.setdefault(key, None)

    def scheduler_dies(self, workers: list[Worker]) -> None:
        for key in self.fired:
            self.fired[key] = [worker for worker in workers if key in worker.core.entrusted]

    def lost_fired(self) -> list[str]:
        """What was fired, and has neither been done nor failed, although nobody called it off."""
        off = set().union(*self._called_off.values())
        return [
            key
            for key, keepers in self.fired.items()
            if not (key in self.book.ended or key in self.failed or self.restarts)
            and not any(spec.key in off for spec in self.book.ancestry(key))
            and (keepers is None or any(worker.alive for worker in keepers))
        ]

    def tell(self, future: Future, how: str, what: Any) -> None:
        """A look at the future has ended."""
        self.looks += 1
        world, key, client = future.client.world, future.key, future.client.name
        if world.traced:
            world.say(client, f"{key} is", (how, what))
        assert _RULES[how](self, future, what), f"{key} at {client} must not end as {how} {what!r}"
        before = self.futures[future]
        # A value can be lost, and what was lost can be submitted again. What has ended can still read as
        # cancelled, if that was asked for: to a new scheduler it is submitted again, as an input of others.
        final = before is not None and before[0] in _FINAL
        final = final and how != "cancelled"
        ending = (how, what)
        assert not final or before == ending, f"{key} at {client} was {before}, now {ending}"
        self.futures[future] = ending

    def waited(self, pending: list[Entry]) -> None:
        """Somebody has waited until several had ended."""
        self.looks += 1
        assert not pending, f"a wait has ended, and these are pending: {pending}"

    def _right_value(self, future: Future, what: Any) -> bool:
        return self.book.values.get(future.key) == what and self._is_fresh(future)

    def _is_fresh(self, future: Future) -> bool:
        """Whether it was made after it was asked for. A new scheduler cannot know what nobody held, nor can
        one that is not the first tell what it had not heard when a connection broke from what was asked for
        before its time: both are submitted again."""
        epoch, when = self._anew.get(future, ("", 0.0))
        shared = len(self._clients.get(future.key, ())) > 1
        is_new = epoch != f"epoch {self.lives}"
        said_again = self.lives > 1 and future.client.welcomed_at > when
        fresh = self.book.ended.get(future.key, 0.0) >= when
        return shared or is_new or said_again or fresh

    def _own_exception(self, future: Future, what: Any) -> bool:
        """Of the key, or of something that it needs that could run."""
        return any(
            (spec.raises or spec.flaky > spec.retries)
            and spec.error == what
            and all(key in self.book.values for key in spec.inputs)
            for spec in self.book.ancestry(future.key)
        )

    def _cancelled(self, future: Future, what: Any) -> bool:
        """It was called off by its client, or something that it needs was; or everything was."""
        if what == "the cluster was restarted":
            return self.restarts > 0
        return self._any(future, self._called_off)

    def _killed(self, future: Future, what: Any) -> bool:
        """So many workers died while they ran it, or something that it needs."""
        keys = [spec.key for spec in self.book.ancestry(future.key)]
        return max(self._blame(key) for key in keys) >= MAX_DEATHS

    def check_blame(self, key: str, deaths: int) -> None:
        assert deaths <= self._blame(key), f"{key} is blamed for {deaths} deaths"

    def _blame(self, key: str) -> int:
        """Of how many deaths it may be guilty. Where no nanny tells, the scheduler guesses which of the
        tasks on a worker were running, and whether it died at all."""
        guesses = sum(nanny is None or nanny.was_cut_off for nanny in self.losses)
        return self.deaths[key] + guesses

    def _over_time(self, future: Future, what: Any) -> bool:
        """It, or what it needs, has a time limit. Any task may take long: its worker may be slow."""
        return any(spec.time_limit for spec in self.book.ancestry(future.key))

    def _lost(self, future: Future, what: Any) -> bool:
        """It, or what it needs, was scattered or came from another client, so that it could not be
        computed again; or its client has been without a scheduler for long. What was called off is not
        submitted again to a new scheduler, either, so that what uses it may be lost."""
        return (
            future.client.was_alone
            or any(self._may_be_lost(spec, what) for spec in self.book.ancestry(future.key))
            or self._any(future, self._borrowed)
            or self._any(future, self._called_off)
        )

    def _may_be_lost(self, spec: Spec, reason: str) -> bool:
        """Unless all that held it are said to be gone, and one that does has been there all the time. (Data
        that was let go of cannot be had again, where it is needed once more.)"""
        worker, hellos, when = self.book.brought.get(spec.key, (None, 0, 0.0))
        there = worker is not None and worker.alive and self.is_member(worker)
        there = there and self.is_held(spec.key)
        there = there and worker.hellos == hellos and when + NEWS_SECONDS < worker.world.now
        wrong = there and "every worker that held it is gone" in reason
        if not spec.scattered or (wrong and spec.key not in self._lost_data):
            return False
        self._lost_data.add(spec.key)  # what has ended so stays so, also if it is brought once more
        return True

    def _stuck(self, future: Future, what: Any) -> bool:
        return any(self.book.separable(spec.key) for spec in self.book.ancestry(future.key))

    def _unsendable(self, future: Future, what: Any) -> bool:
        return self.book.specs[future.key].stuck

    def _any(self, future: Future, table: dict[str, set[str]]) -> bool:
        keys = table.get(future.client.name, set())
        return any(spec.key in keys for spec in self.book.ancestry(future.key))


_RULES: dict[str, Any] = {
    "value": Ledger._right_value,
    "raised": Ledger._own_exception,
    "cancelled": Ledger._cancelled,
    "killed": Ledger._killed,
    "lost": Ledger._lost,
    "stuck": Ledger._stuck,
    "unsendable": Ledger._unsendable,
    "timeout": Ledger._over_time,
}
