"""A worker's records: what it has been given to do, and what it waits for."""

from __future__ import annotations


class Job:
    """One assignment: to run a function once."""

    __slots__ = (
        "arguments",
        "assignment",
        "dropped",
        "function",
        "inputs",
        "key",
        "missing",
        "seceded",
        "started",
        "timed",
        "wanted",
    )

    def __init__(
        self,
        assignment: int,
        key: str,
        function: str,
        arguments: bytes,
        wanted: bool,
        timed: bool = False,
    ) -> None:
        self.assignment = assignment
        self.key = key
        self.function = function
        self.arguments = arguments
        self.wanted = wanted  # by a client, which likes to have small results at once
        self.timed = timed  # it has a time limit
        self.started = False  # that is told only of those with a limit
        self.inputs: tuple[str, ...] = ()
        self.missing = 0
        self.dropped = False  # while it ran; its result counts for nothing
        self.seceded = False


class Input:
    """A key that is wanted here and is not here yet."""

    __slots__ = (
        "acquired",
        "addresses",
        "jobs",
        "key",
        "nbytes",
        "peer",
        "reason",
        "since",
        "tried",
    )

    def __init__(self, key: str, nbytes: int, addresses: tuple[str, ...], since: int) -> None:
        self.key = key
        self.nbytes = nbytes
        self.addresses = addresses  # not tried yet
        self.since = since  # no earlier version will do
        self.tried: tuple[str, ...] = ()  # that do not have it
        self.reason: str | None = None  # why one that has it cannot send it
        self.jobs: dict[Job, None] = {}
        self.acquired = False  # the scheduler wants a copy here
        self.peer: Peer | None = None


class Peer:
    """Another worker, from which inputs come."""

    __slots__ = ("address", "nbytes", "queue", "requests")

    def __init__(self, address: str) -> None:
        self.address = address
        self.queue: dict[str, Input] = {}
        self.requests: list[Request] = []  # that are open, the oldest first
        self.nbytes = 0  # of what stands in the queue, and of what is still to come


class Request:
    """Inputs that a peer has been asked for."""

    __slots__ = ("inputs", "nbytes", "number", "peer")

    def __init__(self, number: int, peer: Peer, inputs: dict[str, Input], nbytes: int) -> None:
        self.number = number
        self.peer = peer
        self.inputs = inputs  # that have not come yet
        self.nbytes = nbytes  # of all, come or not: values are taken in until the request has ended
