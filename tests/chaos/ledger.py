"""Says of each outcome whether it may be.

Each future ends exactly once: with its right value, its task's own exception, a cancellation that was asked
for, or an error whose cause is among the faults that have happened meanwhile. `PERMITTED` is that table.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

from distributed import DistributedError, Future, KilledWorker, LostData, SchedulerGone
from distributed.core.lifecycle import MAX_DEATHS
from tests.support import wait_until

# Faults that end a worker, so that what runs there is counted one death.
DEADLY = ("worker killed", "nanny killed")
# Faults after which data has to be somewhere else, or is gone.
LOSING = (
    *DEADLY,
    "worker link cut",
    "worker ended",
    "nanny ended",
    "worker stopped for long",
    "nanny stopped for long",
)
# Faults that break the connection between the client and the scheduler.
SEVERING = ("scheduler killed", "client link cut")
# What a fault leads to may be seen so long after it: by then everybody has noticed.
AFTERMATH_SECONDS = 5.0


class Wrong(AssertionError):
    """An outcome that may not be."""


class Promise:
    """What is expected of a future, or of a call that returns a value.

    Either it has the `value` (None: any), or `error` is what its task raises. `scattered`: data that cannot
    be computed again is among what it needs. `deadly`: it, or what it needs, ends its worker. `asks`: more
    than futures is part of it: data is sent, and workers are named for that.
    """

    def __init__(
        self,
        name: str,
        value: Any,
        error: BaseException | None = None,
        scattered: bool = False,
        deadly: bool = False,
        asks: bool = False,
    ) -> None:
        self.name = name
        self.value = value
        self.error = error
        self.scattered = scattered
        self.deadly = deadly
        self.asks = asks
        self.called_off = False  # or something that it needs
        self.made = time.monotonic()
        self.endings = 0
        self.outcome = ""


class Ledger:
    """May be shared by threads."""

    def __init__(self, patience: float) -> None:
        self.patience = patience  # seconds that anything may take, whatever happens
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._faults: list[tuple[float, str]] = []
        self._promises: list[Promise] = []  # of futures, that have to end once
        self._lock = threading.Lock()

    # What happens to the cluster

    def fault(self, kind: str) -> None:
        """To be noted before it is done, and once more when it ends, if that is another moment."""
        with self._lock:
            self._faults.append((time.monotonic(), kind))

    def faults_during(self, promise: Promise, kinds: tuple[str, ...]) -> int:
        since = promise.made - AFTERMATH_SECONDS
        with self._lock:
            return sum(when > since and kind in kinds for when, kind in self._faults)

    # What is expected

    def expect(
        self,
        future: Future,
        value: Any = None,
        *,
        error: BaseException | None = None,
        scattered: bool = False,
        deadly: bool = False,
    ) -> Promise:
        """Of a future that has just been made."""
        promise = Promise(str(future.key), value, error, scattered=scattered, deadly=deadly)
        with self._lock:
            self._promises.append(promise)
        future.add_done_callback(lambda _: self._ended(promise))
        return promise

    def _ended(self, promise: Promise) -> None:
        with self._lock:
            promise.endings += 1

    # What has come of it

    def settle(self, promise: Promise, future: Future) -> str:
        """Wait for the future's end and judge it, twice: it has to be the same."""
        first = self.look(promise, lambda: future.result(self.patience))
        if first == "value":
            return self.look(promise, lambda: future.result(self.patience))
        if first == "hung":
            self._complain(promise, first, _explained(future))
        again = self._judge(promise, lambda: future.result(self.patience))[0]
        if again != first and first != "lost":
            self._complain(promise, again, f"and before it was {first}")
        return first

    def look(self, promise: Promise, call: Callable[[], Any]) -> str:
        """Call, and judge how that ends."""
        outcome, what = self._judge(promise, call)
        with self._lock:
            self.outcomes[outcome] += 1
        promise.outcome = outcome
        if not PERMITTED[outcome](self, promise, what):
            self._complain(promise, outcome, repr(what)[:2000])
        return outcome

    def _judge(self, promise: Promise, call: Callable[[], Any]) -> tuple[str, Any]:
        try:
            return "value", call()
        except TimeoutError as error:
            return "hung", error
        except CancelledError as error:
            return "cancelled", error
        except KilledWorker as error:
            return "killed", error
        except LostData as error:
            return "lost", error
        except SchedulerGone as error:
            return "cut off", error
        except DistributedError as error:
            return "refused", error
        except BaseException as error:
            return "raised", error

    def _complain(self, promise: Promise, outcome: str, what: str) -> None:
        with self._lock:
            self.wrong.append(f"{promise.name} must not end as {outcome}: {what}")

    def close(self) -> None:
        """All has been settled. Raises Wrong if anything was wrong."""
        with self._lock:
            promises = list(self._promises)
        wait_until(
            lambda: all(promise.endings for promise in promises), self.patience, "the callbacks"
        )
        for promise in promises:
            if promise.endings != 1:
                self._complain(promise, promise.outcome, f"{promise.endings} times")
            if not promise.outcome:
                self._complain(promise, "nothing", "nobody has looked")
        if self.wrong:
            raise Wrong("\n".join([f"{len(self.wrong)} wrong outcomes", *self.wrong[:20]]))


def _explained(future: Future) -> str:
    """Why it has not ended, as a user would find out."""
    executor = future.executor
    try:
        return f"{executor.why(future)}\n{executor.story(future)}"
    except (DistributedError, OSError) as error:
        return f"and nobody knows why: {error}"


def _right_value(ledger: Ledger, promise: Promise, what: Any) -> bool:
    if promise.error is not None:
        return False
    return promise.value is None or bool(promise.value == what)


def _own_exception(ledger: Ledger, promise: Promise, what: Any) -> bool:
    error = promise.error
    return error is not None and type(what) is type(error) and what.args == error.args


def _cancelled(ledger: Ledger, promise: Promise, what: Any) -> bool:
    return promise.called_off


def _killed(ledger: Ledger, promise: Promise, what: Any) -> bool:
    """It ends its workers; or so many died of our hand while it ran there."""
    return promise.deadly or ledger.faults_during(promise, DEADLY) >= MAX_DEATHS


def _lost(ledger: Ledger, promise: Promise, what: Any) -> bool:
    """Only scattered data can be lost. But what was called off is not submitted again when the connection
    is back, so that what uses it may find it lost rather than cancelled."""
    if promise.called_off and ledger.faults_during(promise, SEVERING):
        return True
    return promise.scattered and ledger.faults_during(promise, LOSING) > 0


def _refused(ledger: Ledger, promise: Promise, what: Any) -> bool:
    """Where data was to go, or where it had just gone, nobody is any more."""
    return promise.asks and ledger.faults_during(promise, LOSING) > 0


PERMITTED: dict[str, Callable[[Ledger, Promise, Any], bool]] = {
    "value": _right_value,
    "raised": _own_exception,
    "cancelled": _cancelled,
    "killed": _killed,
    "lost": _lost,
    "refused": _refused,
    # The scheduler is never gone for so long that anybody should give up.
    "cut off": lambda ledger, promise, what: False,
    "hung": lambda ledger, promise, what: False,
}
