"""What a worker's core takes in from its own shell, and what it has the shell do."""

from __future__ import annotations

from typing import NamedTuple

from distributed.core.jobs import Job
from distributed.messages import Answer, Audit, Call, Message, PutFile, Unload

# By what a value has come: its assignment, or its key and version.
Source = int | tuple[str, int]

# Events that come from the worker's own shell.


class Completed(NamedTuple):
    """A task has returned: `(assignment, nbytes, microseconds, value or None, type or None)`."""

    items: list[tuple[int, int, int, bytes | None, bytes | None]]


class Raised(NamedTuple):
    assignment: int
    exception: bytes


class GivenUp(NamedTuple):
    """A task wants to run again, here or elsewhere."""

    assignment: int


class Starting(NamedTuple):
    """A task with a time limit is about to start. Its thread waits until that has been told."""

    assignment: int


class Seceding(NamedTuple):
    assignment: int


class Fetched(NamedTuple):
    """Data has come from a peer: `(key, nbytes, version)`. `request` is the number that `Fetch` gave it."""

    request: int
    items: list[tuple[str, int, int]]


class Unsendable(NamedTuple):
    """The peer has the data and cannot send it."""

    request: int
    key: str
    reason: str


class FetchEnded(NamedTuple):
    """The request is over: what has not come by now does not come."""

    request: int


class Received(NamedTuple):
    """A client has brought data; `kind` is its pickled type."""

    key: str
    assignment: int
    nbytes: int
    kind: bytes | None


class Asked(NamedTuple):
    """The scheduler asks what is here. `running` is `(assignment, milliseconds)` of what threads are at."""

    audit: Audit
    running: list[tuple[int, int]]


class Answered(NamedTuple):
    """What was to be served has been done. If the answer is data, the shell has its value, under (key,
    request)."""

    answer: Answer


# Effects.


class Tell(NamedTuple):
    """Send to the scheduler."""

    batch: list[Message]


class Execute(NamedTuple):
    """Give these to the threads, in this order."""

    jobs: list[Job]


class Keep(NamedTuple):
    """Store values that have just come: `(source, key)`. The source is the assignment that brought it, or
    for what was fetched `(key, version)`."""

    items: list[tuple[Source, str]]


class Delete(NamedTuple):
    keys: list[str]


class Learn(NamedTuple):
    function: str
    blob: bytes


class Fetch(NamedTuple):
    """Ask a peer for these. What comes of it is told under the number of the request."""

    request: int
    address: str
    keys: list[str]


class Serve(NamedTuple):
    """Do this beside the tasks, and answer."""

    message: Call | PutFile


Effect = Tell | Execute | Keep | Delete | Learn | Unload | Fetch | Serve
