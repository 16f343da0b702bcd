"""Questions that an Executor answers about its cluster: who is there, what lies and runs where."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from distributed.arguments import Workers, checked_count, worker_names
from distributed.connection import Connection
from distributed.core.dump import describe_entry, describe_worker_core
from distributed.core.entries import CANCELLED, FINISHED, LOST, PENDING, Entry
from distributed.core.states import names_of
from distributed.dumping import write_dump
from distributed.errors import DistributedError
from distributed.futures import Future, flat_futures
from distributed.keys import shown_key, shown_text
from distributed.messages import Ask, Broadcast
from distributed.serialize import pickle_bytes
from distributed.tasks import workers_here
from distributed.tracebacks import load_exception
from distributed.units import Seconds
from distributed.unpickling import unpickle
from distributed.waiting import deadline_of

# A scheduler, or a worker that is to describe itself, that has not answered by then may be stopped:
# whoever looks for the reason of a hang must not hang.
ANSWER_SECONDS = 5.0
# Workers that are asked at the same time to describe themselves.
MAX_ASKED = 32


class Moment(NamedTuple):
    """What happened to a key, and how many seconds ago."""

    ago: float
    text: str

    def __str__(self) -> str:
        return f"{self.ago:12.6f} s ago  {self.text}"


class Story(list[Moment]):
    """Moments in their order; shown one a line."""

    def __repr__(self) -> str:
        return "\n".join(map(str, self)) or "nothing is remembered of it"


class Inspection:
    """The part of an Executor that looks and changes nothing."""

    _connection: Connection
    scheduler_address: str

    def ncores(self, workers: Workers = None) -> dict[str, int]:
        """{address: threads} of the workers, or of those that are named."""
        found = dict(self._ask("ncores"))
        names = worker_names(workers)
        if names is None:
            return found
        known = {address: names_of(name, address) for address, name in self._names().items()}
        return {a: n for a, n in found.items() if not known.get(a, frozenset()).isdisjoint(names)}

    nthreads = ncores

    def _names(self) -> dict[str, str]:
        workers = self._ask("scheduler_info")["workers"]
        return {address: described["name"] for address, described in workers.items()}

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

    def scheduler_info(self, n_workers: int | None = None) -> dict[str, Any]:
        """The scheduler's address, its workers (or the first `n_workers` of them), and how many tasks are
        in which state. Of each worker: name, id, host, status, pid, threads, memory in bytes, and when it
        was last seen, in seconds since 1970."""
        found = {"address": self.scheduler_address, "id": self._connection.epoch}
        found |= self._ask("scheduler_info")
        workers = dict(islice(found["workers"].items(), n_workers))
        for described in workers.values():
            described["last_seen"] = time.time() - described.pop("seconds_since_seen")
            described["metrics"] = {"memory": described["memory"]}
        return {**found, "type": "Scheduler", "workers": workers}

    def why(self, future: Any) -> str:
        """Why the future, or the task of that key, is not done, in a sentence.

        >>> from distributed import Executor
        >>> with Executor(n_workers=1) as e:
        ...     future = e.submit(pow, 2, 10, workers="bob")
        ...     print(e.why(e.submit(abs, future)))
        it waits for pow-..., which cannot run anywhere: there is work for a worker named bob, but there
        are only: tcp://...
        """
        wire, entry = self._find(future)
        if entry is not None and entry.status is not PENDING:
            return self._in_words(_ending(entry))
        alone = self._connection.alone_seconds
        if alone is not None:
            where = self.scheduler_address
            return f"there has been no connection to the scheduler at {where} for {alone:.1f} s"
        try:
            return self._in_words(self._ask_about("why", wire))
        except (DistributedError, OSError) as error:
            return f"the scheduler cannot be asked: {error}"

    def story(self, future: Any) -> Story:
        """What has happened to the future, or the task of that key, as far as the scheduler remembers:
        (seconds ago, text), in order."""
        wire, _ = self._find(future)
        found = self._ask_about("story", wire)
        return Story(Moment(ago, self._in_words(text)) for ago, text in found)

    def dump(self, path: str | os.PathLike[str]) -> None:
        """Write all that is known of the state of the cluster into a file, as JSON: what the scheduler,
        each worker and this client have in their tables, and the last messages.

        The file is there when all has been written. What cannot be had is named in it.
        """
        write_dump(path, self._state())

    def _state(self) -> Iterator[tuple[str, Any]]:
        """(name of a section, a part of it); the parts of a section follow each other."""
        yield "written", datetime.now().astimezone().isoformat()
        yield "client", {"id": self._connection.core.id, "scheduler": self.scheduler_address}
        yield "entries", [_named(describe_entry(entry)) for entry in self._connection.entries()]
        try:
            question = "dump"
            while (page := self._ask(question, timeout=ANSWER_SECONDS)) is not None:
                question = "more"
                for section, part in page.items():
                    named = section == "tasks"
                    yield section, [_named(thing) for thing in part] if named else part
            addresses = list(self._ask("ncores", timeout=ANSWER_SECONDS))
        except (DistributedError, OSError) as error:
            yield "missing", f"{type(error).__name__}: {error}"
            return
        with ThreadPoolExecutor(MAX_ASKED) as threads:
            for described in threads.map(self._described, addresses):
                yield "worker_processes", [described]

    def _described(self, address: str) -> dict[str, Any]:
        """What the worker says of itself."""
        call = pickle_bytes((_describe_workers, (), {}))
        try:
            answers = self._connection.ask(
                lambda request: Broadcast(request, call, (address,)), ANSWER_SECONDS
            )
            (ok, value), *_ = answers.values()
            if ok:
                return {"address": address, **unpickle(value)[address]}
            error = load_exception(value) if isinstance(value, bytes) else value
            return {"address": address, "missing": str(error)}
        except (DistributedError, OSError) as error:
            return {"address": address, "missing": f"{type(error).__name__}: {error}"}

    def _find(self, given: Any) -> tuple[str, Entry | None]:
        """The key on the wire of a future or a key, and what this client knows of it."""
        if isinstance(given, Future):
            return given.wire, given._entry
        entries = self._connection.entries()
        found = [entry for entry in entries if given in (entry.key, shown_key(entry.key))]
        if found:
            # The same key may name several pieces of work: one that is not done is asked about.
            entry = next((entry for entry in found if entry.status is PENDING), found[-1])
            return entry.key, entry
        if isinstance(given, str):
            return given, None
        raise ValueError(f"no task of this Executor has the key {given!r:.100}")

    def _ask_about(self, question: str, wire: str) -> Any:
        return self._connection.ask(lambda r: Ask(r, question, (wire,)), ANSWER_SECONDS)

    def _in_words(self, text: str) -> str:
        return shown_text(text).replace(f"client {self._connection.core.id}", "this Executor")

    def wait_for_workers(self, n_workers: int, timeout: Seconds | None = None) -> None:
        """Block until so many workers have registered. Raises TimeoutError after `timeout`."""
        checked_count("n_workers", n_workers)
        deadline = deadline_of(timeout)
        pause = threading.Event()
        while (present := len(self.ncores())) < n_workers:
            if deadline is not None and deadline.left() < 0:
                raise deadline.missed(f"{present} of {n_workers} workers have registered")
            pause.wait(0.02)

    def _ask(self, question: str, futures: Any = None, timeout: float | None = None) -> Any:
        keys = None
        if futures is not None:
            keys = tuple(future.wire for future in flat_futures(futures, question))
        return self._connection.ask(lambda request: Ask(request, question, keys), timeout)


def _ending(entry: Entry) -> str:
    """How it has ended."""
    if entry.status is FINISHED:
        return (
            f"it is done: its result, {entry.nbytes:,} bytes, lies on the worker at {entry.address}"
        )
    if isinstance(entry.ending, bytes):
        reason = "".join(traceback.format_exception_only(load_exception(entry.ending))).strip()
    else:
        reason = entry.ending if isinstance(entry.ending, str) else entry.ending[1]
    how = {CANCELLED: "was cancelled", LOST: "is lost"}.get(entry.status, "has failed")
    return f"it {how}: {reason}" if reason else f"it {how}"


def _named(thing: dict[str, Any]) -> dict[str, Any]:
    """With the key as users know it first, and then as it is on the wire."""
    wire = thing.pop("key")
    shown = shown_key(wire)
    return {"key": shown if isinstance(shown, str) else repr(shown), "wire": wire, **thing}


def _describe_workers() -> dict[str, dict[str, Any]]:
    """Runs on a worker, beside its tasks."""
    return {worker.address: worker.look(describe_worker_core) for worker in tuple(workers_here)}
