"""What the scheduler knows: its records, the states of a task, and which may follow which.

Theory of operation
-------------------
A task is a key and a recipe: a function and pickled arguments, both opaque. It lives like this:

    released ──► waiting ──► ready ──► processing ──► memory
                    │          │           │             │
                    │      no-worker       ▼             ▼
                    └───────────────►    erred       released ──► forgotten

released    has a recipe, no data, and nobody needs its data now.
waiting     somebody needs it, and at least one input is not in memory; `missing` counts those.
ready       every input is in memory; it stands in a queue of `queues.py`, or a pool of `pools.py`.
no-worker   as ready, but no worker that is here may run it.
processing  assigned to `worker` under the number `assignment`.
memory      its data lies on `holders`, at least one.
erred       `error` says why; its dependents that waited for it have erred with it.
forgotten   in no table any more; only a local variable can still refer to it.

A task is *needed* while a client wants it (`wanters`) or an unfinished dependent uses it (`users`
counts the dependents that are waiting, ready, no-worker or processing, and a client of which
dependents are still to come, see `Client.ahead`). Data that nobody needs is freed; the recipe stays
as long as any dependent is known, because a lost result may have to be computed again from it.

Scattered data is a task without a function. It is processing while its client sends it, and when its
last holder dies it is lost for good.

The invariants behind these words are spelled out, and checked after every event in the tests, by
`invariants.py`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from distributed.core.priority import Priority
from distributed.core.resources import Needs, Stock
from distributed.messages import Message

if TYPE_CHECKING:
    from distributed.core.backlog import Backlog

Peer = bytes

RELEASED = "released"
WAITING = "waiting"
READY = "ready"
NO_WORKER = "no-worker"
PROCESSING = "processing"
MEMORY = "memory"
ERRED = "erred"
FORGOTTEN = "forgotten"

# States in which a task uses the data of its dependencies.
ACTIVE = frozenset({WAITING, READY, NO_WORKER, PROCESSING})
# States in which a task stands still until its inputs are there, or a worker is.
UNASSIGNED = frozenset({WAITING, READY, NO_WORKER})

TRANSITIONS = {
    RELEASED: {WAITING, PROCESSING, MEMORY, ERRED, FORGOTTEN},
    WAITING: {READY, NO_WORKER, ERRED, RELEASED, MEMORY},
    READY: {PROCESSING, WAITING, NO_WORKER, ERRED, RELEASED, MEMORY},
    NO_WORKER: {READY, WAITING, ERRED, RELEASED, MEMORY},
    PROCESSING: {MEMORY, ERRED, WAITING, READY, NO_WORKER, RELEASED},
    MEMORY: {RELEASED},
    ERRED: {RELEASED, FORGOTTEN},
    FORGOTTEN: set(),
}


class Options(NamedTuple):
    """What the caller asked for, shared by all tasks of one group; see `codec.check_options`."""

    priority: float = 0
    retries: int = 0
    workers: tuple[str, ...] = ()
    loose: bool = False
    resources: Needs = ()
    time_limit: float = 0  # seconds that an attempt may take, from its start; 0: no limit
    # What the caller asked for, if these are stricter; see `stuck.py`.
    asked: Options | None = None


DEFAULT_OPTIONS = Options()

# Up to so many dependents stand in a tuple: a dict of one takes four times the memory. (With more, taking
# one out of a tuple takes longer than out of a dict.)
MAX_TUPLE = 8

# Why a task ended without a result: how ('raised', 'lost', 'killed', 'cancelled', 'stuck', 'timeout'),
# and the pickled exception or a text.
Error = tuple[str, "bytes | str"]


class Function:
    """A pickled function, and how long its calls take."""

    __slots__ = ("blob", "clients", "id", "seconds", "tasks")

    def __init__(self, id: str, blob: bytes) -> None:
        self.id = id
        self.blob = blob
        self.tasks = 0  # that refer to it
        self.clients: set[Client] = set()  # that will not send it again
        self.seconds: float | None = None  # moving average; None until one has finished


class Task:
    """One piece of work and what has become of it; see the top of this module."""

    __slots__ = (
        "arguments",
        "assignment",
        "deaths",
        "dependencies",
        "dependents",
        "error",
        "function",
        "holders",
        "key",
        "missing",
        "nbytes",
        "options",
        "owner",
        "priority",
        "retries",
        "since",
        "state",
        "users",
        "wanters",
        "worker",
    )

    def __init__(
        self,
        key: str,
        function: Function | None,
        arguments: bytes,
        priority: Priority,
        options: Options,
        owner: Client,
    ) -> None:
        self.key = key
        self.function = function
        self.arguments = arguments
        self.priority = priority  # smaller runs earlier, see `priority.py`
        self.owner = owner  # whose recipe it has; NO_OWNER without one
        self.options = options
        self.state = RELEASED
        self.dependencies: tuple[Task, ...] = ()
        self.dependents: tuple[Task, ...] | dict[Task, None] = ()
        self.missing = 0
        self.users = 0
        # Tuples: mostly one long, then shared by all tasks (`Worker.alone`, `Client.alone`).
        self.wanters: tuple[Client, ...] = ()
        self.holders: tuple[Worker, ...] = ()
        self.worker: Worker | None = None
        self.assignment = 0
        # Data of earlier versions had been let go of before this was asked for.
        self.since = 0
        self.nbytes = 0
        self.error: Error | None = None
        self.retries = options.retries
        self.deaths: tuple[str, ...] = ()  # of workers that were running it, in words

    def add_dependent(self, task: Task) -> None:
        dependents = self.dependents
        if type(dependents) is dict:
            dependents[task] = None
        elif len(dependents) < MAX_TUPLE:
            self.dependents = (*dependents, task)
        else:
            self.dependents = dict.fromkeys((*dependents, task))

    def remove_dependent(self, task: Task) -> None:
        dependents = self.dependents
        if type(dependents) is dict:
            dependents.pop(task, None)
        else:
            self.dependents = tuple([other for other in dependents if other is not task])

    def __lt__(self, other: Task) -> bool:
        # In a backlog two tasks may be of one priority.
        return self.key < other.key

    def __repr__(self) -> str:
        return f"<Task {self.key} {self.state}>"


class Member:
    """A process that takes part: whoever said hello on the socket that `peer` names."""

    __slots__ = ("gone_since", "id", "last_seen", "out", "peer")

    def __init__(self, id: str, peer: Peer, now: float) -> None:
        self.id = id
        self.peer = peer
        self.last_seen = now
        self.gone_since: float | None = None  # its connection broke; it may come back
        self.out: list[Message] = []  # messages of the batch being decided

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


class Client(Member):
    __slots__ = (
        "ahead",
        "alone",
        "clearings",
        "functions",
        "served",
        "unsettled",
        "wants",
        "worker",
    )

    def __init__(self, id: str, peer: Peer, now: float) -> None:
        super().__init__(id, peer, now)
        self.worker = ""  # the id of the worker of whose process it is, if it is
        # Restarts of the cluster that it has been told of, and has not answered yet.
        self.clearings = 0
        # Dicts for their order: sets would make runs unrepeatable.
        self.wants: dict[Task, None] = {}
        self.functions: dict[Function, None] = {}
        # Tasks that it does not want itself, and whose dependents may still be on their way.
        self.unsettled: list[Task] = []
        # Tasks that run before their dependents have come; each has so many users more for that.
        self.ahead: Counter[Task] = Counter()
        self.alone = (self,)  # shared as `wanters` by all tasks that only it wants
        # Seconds of work that workers were given for it, as estimated. Of several clients with ready work
        # the one with the least is served next; see `backlog.py`.
        self.served = 0.0


# The owner of data that has no recipe.
NO_OWNER = Client("", b"", 0.0)


class Nanny(Member):
    __slots__ = ()


class Worker(Member):
    __slots__ = (
        "address",
        "addresses",
        "aliases",
        "alone",
        "assigned",
        "begun",
        "functions",
        "holds",
        "incoming",
        "memory",
        "memory_limit",
        "name",
        "nanny",
        "nthreads",
        "pid",
        "queue",
        "reported_at",
        "seceded",
        "seconds",
        "started",
        "stock",
        "thief",
    )

    def __init__(
        self,
        id: str,
        peer: Peer,
        now: float,
        name: str,
        address: str,
        nthreads: int,
        queue: Backlog,
    ) -> None:
        super().__init__(id, peer, now)
        self.name = name
        self.address = address
        self.addresses = (address,)  # shared by all that tells where results are that only it has
        self.nthreads = nthreads
        self.nanny = ""
        self.pid = 0
        self.memory_limit = 0
        self.memory = 0
        # By its id alone it is told from one that has died a moment ago and whose port it has.
        self.aliases = names_of(name, address) | {id}
        # assignment -> task; a key (str) once that assignment has been dropped but may still run.
        self.assigned: dict[int, Task | str] = {}
        self.incoming: dict[int, Task] = {}  # scattered data on its way here
        self.stock = Stock()
        self.seceded: set[int] = set()  # assignments that have given their thread back
        # Assignments with a time limit that have started, and when we were told.
        self.started: dict[int, float] = {}
        self.queue = queue  # of what is ready, and whose inputs lie here
        self.holds: dict[Task, None] = {}
        self.functions: set[str] = set()  # that have been sent to it
        self.alone = (self,)  # shared as `holders` by all results that only it has
        self.seconds = 0.0  # moving average of what a task takes here
        self.reported_at = now  # when its last task ended, or its first began
        self.thief: Worker | None = None  # for whom it has been asked to hand work back
        # Assignments that it has been asked for, and has not handed back when it answered: they have begun.
        self.begun: set[int] = set()

    @property
    def named(self) -> str:
        """Its name and address, as told to people."""
        return self.address if self.name == self.address else f"{self.name} at {self.address}"

    @property
    def busy(self) -> int:
        """Threads in use, and tasks that wait there for one."""
        return len(self.assigned) - len(self.seceded)


def names_of(name: str, address: str) -> frozenset[str]:
    """All that a caller may write to mean the worker: its name, address, host:port, host.

    >>> sorted(names_of("alice", "tcp://10.0.0.7:4321"))
    ['10.0.0.7', '10.0.0.7:4321', 'alice', 'tcp://10.0.0.7:4321']
    >>> sorted(names_of("bob", "tcp://[::1]:4321"))
    ['::1', '[::1]:4321', 'bob', 'tcp://[::1]:4321']
    """
    place = address.partition("://")[2]
    return frozenset({name, address, place, place.rpartition(":")[0].strip("[]")})


# Events that come from the scheduler's own shell, not from the wire.


class Gone(NamedTuple):
    """The connection of a peer is closed."""


class Nonsense(NamedTuple):
    """A peer sent what is not a message."""

    reason: str


class Tick(NamedTuple):
    """Time has passed. Fed at least every `patience.TICK_SECONDS`."""


# Effects: what the shell has to do once the core has decided.


class Send(NamedTuple):
    peer: Peer
    batch: list[Message]


class Log(NamedTuple):
    """A warning for whoever reads the scheduler's log."""

    text: str


class Exit(NamedTuple):
    """End the process."""

    reason: str


Effect = Send | Log | Exit
