"""Keeps worker processes alive.

The main process of `dworker` is a nanny. It starts the workers, passes their output on, tells the
scheduler that they live, why one died, and brings a new one. Being another process it can do so whatever
a task does to its worker.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import json
import logging
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil

from distributed.codec import decode, encode
from distributed.descriptors import raise_limit
from distributed.environment import worker_environment
from distributed.errors import DistributedError, ProtocolError, SchedulerGone
from distributed.leases import Lease
from distributed.messages import (
    PROTOCOL,
    PYTHON,
    Alive,
    Died,
    Goodbye,
    HelloAgain,
    Kill,
    Message,
    NannyHello,
    Refused,
)
from distributed.output import pass_on, print_promptly, say
from distributed.paths import python_like_ours
from distributed.processes import (
    Child,
    describe_exit,
    end_with_parent,
    kill_group,
    leave,
    on_signals,
    run_exit_functions,
    take_standard_input,
)
from distributed.running import Running
from distributed.transport import CONNECTED, DISCONNECTED, Address, Context, Dealer, Poller

if TYPE_CHECKING:
    from distributed.worker import Worker

# How worker processes end that mean to. Everything else, 0 too, is a death.
ORDERLY, AGAIN, NO_SCHEDULER, CANNOT_START = 80, 81, 82, 83
# What the directory of a nanny begins with.
DIRECTORY = "dworker"

# See cli.scheduler.MIN_WORKER_TIMEOUT.
ALIVE_SECONDS = 1.0
CHECK_SECONDS = 0.25
# A worker that uses more than this share of its limit is ended, before the machine's own memory killer
# picks a process of its choice.
MEMORY_SHARE = 0.95
# A worker that dies before it has registered is replaced after a pause that doubles each time.
FIRST_PAUSE, LAST_PAUSE = 0.5, 30.0
# Workers that are asked to end get so long before they are killed. A task cannot be interrupted, so
# more would only make people wait.
GRACE_SECONDS = 1.0
# What tasks have registered with `atexit` may take this long of it.
EXIT_SECONDS = 0.5
# Of each of the last lines of a worker that died, so much is told to whoever asks why: enough for a
# message, little enough to travel with the failure of everything that depends on what it did.
TOLD_CHARACTERS = 500
# Reasons of deaths that wait for a connection.
MAX_UNSENT = 100

logger = logging.getLogger("distributed.nanny")


class WorkerOptions(NamedTuple):
    """How each worker process is to be; see `worker.Worker`."""

    nthreads: int
    name: str | None
    host: str
    ports: Sequence[int]  # of which it takes one that is free; none: any
    memory_limit: int
    resources: dict[str, float]
    local_directory: str | None
    death_timeout: float | None
    log_level: str
    contact: str | None = None  # what others are told in place of where it listens
    lifetime: float | None = None
    lifetime_stagger: float = 0.0
    lifetime_restart: bool = False
    preload: Sequence[str] = ()
    preload_arguments: Sequence[str] = ()


class _Ward:
    """One place for a worker process, and the process that is in it now."""

    def __init__(self, name: str | None, ports: Sequence[int]) -> None:
        self.name = name
        self.ports = ports  # of which it takes one; none: any
        self.port = 0  # of its last process
        self.worker = ""  # the id of the process's worker
        self.directory = ""  # where it may keep files
        self.child: Child | None = None
        self.process: psutil.Process | None = None
        self.registered = False
        self.reason = ""  # why we killed it, if we did
        self.ordered = False  # somebody else wanted us to
        self.running: Running | None = None  # what its threads are at
        self.memory = 0  # bytes that it used when we looked last
        self.is_full = False  # and that was why we killed it
        self.failure = ""  # why it says that another would fare no better
        self.crashes = 0  # in a row, before it had registered
        self.start_at = 0.0  # when to start the next process


class Nanny:
    """Runs `nprocs` workers for the scheduler at that address until `stop`. Their tasks import modules from
    `path`.

    Raises OSError if there is no place for the workers' files.
    """

    def __init__(
        self, scheduler: Address, options: WorkerOptions, nprocs: int, path: list[str]
    ) -> None:
        self.scheduler = scheduler
        self.id = uuid.uuid4().hex
        self._options = options
        self._path = path
        # Ours, so that what a killed worker leaves there does not stay.
        self._lease = Lease(options.local_directory, DIRECTORY)
        self._proven = False  # a worker of ours has registered once
        self._wards = [
            _Ward(_name(options.name, number, nprocs), options.ports[number::nprocs])
            for number in range(nprocs)
        ]
        self._context: Any = Context()
        self._poller = Poller()
        self._dealer = Dealer(self._context, scheduler)
        self._poller.add(self._dealer)
        self._connected = False
        self._unsent: deque[Died] = deque(maxlen=MAX_UNSENT)
        self._posted: deque[Callable[[], object]] = deque()
        self._stopping = False
        self._failure = ""
        self._next_alive = 0.0

    def run(self) -> None:
        """Raises SchedulerGone if the workers gave up waiting for a scheduler, or were refused."""
        try:
            while not self._stopping:
                self._turn()
        finally:
            ended = self._end_workers()
            if self._connected:
                self._dealer.send((encode([*ended, Goodbye()]),))
            self._dealer.close()
            self._poller.close()
            self._context.term()
            self._lease.close()
        if self._failure:
            raise SchedulerGone(self._failure)

    def stop(self) -> None:
        """End soon. May be called from any thread and from a signal handler."""
        self._stopping = True
        self._poller.wake()

    @property
    def wake_descriptor(self) -> int:
        return self._poller.wake_descriptor

    def _turn(self) -> None:
        self._poller.arm()
        if not (self._posted or self._stopping):
            self._poller.wait(CHECK_SECONDS)
        self._hear()
        while self._posted:
            self._posted.popleft()()
        now = time.monotonic()
        for ward in self._wards:
            if ward.child is None and not self._stopping and now >= ward.start_at:
                self._try_to_start(ward)
            self._check_memory(ward)
        if self._connected and now >= self._next_alive:
            self._next_alive = now + ALIVE_SECONDS
            self._say(Alive([ward.worker for ward in self._wards if _is_running(ward)]))

    # The scheduler

    def _hear(self) -> None:
        for event in self._dealer.events():
            if event == CONNECTED:
                self._connected = True
                self._say(NannyHello(self.id, PROTOCOL, PYTHON))
                while self._unsent:
                    self._say(self._unsent.popleft())
            elif event == DISCONNECTED:
                self._connected = False
        for frames in self._dealer.receive():
            try:
                messages = decode(frames[0])
            except ProtocolError as error:
                logger.error("the scheduler sent nonsense: %s", error)
                continue
            for message in messages:
                self._on_message(message)

    def _on_message(self, message: Message) -> None:
        if isinstance(message, Kill):
            for ward in self._wards:
                if ward.worker in message.workers and ward.child is not None:
                    ward.reason, ward.ordered = message.reason, True
                    logger.info("%s is ended: %s", _called(ward, ward.child), ward.reason)
                    kill_group(ward.child.pid)
        elif isinstance(message, HelloAgain):
            self._say(NannyHello(self.id, PROTOCOL, PYTHON))
        elif isinstance(message, Goodbye):
            self._stopping = True
        elif isinstance(message, Refused):
            self._failure = message.reason
            self._stopping = True

    def _say(self, message: Message) -> None:
        self._dealer.send((encode([message]),))

    # The workers

    def _try_to_start(self, ward: _Ward) -> None:
        try:
            self._start(ward)
        except OSError as error:
            # The disk is full, say. It is not ours to end for that: there may be room again.
            shutil.rmtree(ward.directory, ignore_errors=True)
            self._put_off(ward, cannot_start(error))

    def _put_off(self, ward: _Ward, reason: str) -> None:
        """The place stays empty for a while."""
        ward.crashes += 1
        pause = pause_after(ward.crashes)
        ward.start_at = time.monotonic() + pause
        logger.warning("%s; trying again in %g s", reason, pause)

    def _start(self, ward: _Ward) -> None:
        """Raises OSError if that is not possible now."""
        if not self._lease.exists:
            self._lease = Lease(self._options.local_directory, DIRECTORY)
        ward.worker = uuid.uuid4().hex
        ward.directory = str(Path(self._lease.directory, ward.worker))
        Path(ward.directory).mkdir()
        running = str(Path(ward.directory, "running"))
        ward.running = Running(running)
        ward.memory, ward.is_full = 0, False
        ward.registered = False
        ward.reason, ward.ordered, ward.failure = "", False, ""
        options = self._options._replace(
            name=ward.name, ports=ward.ports, local_directory=ward.directory
        )
        config = {
            "scheduler": list(self.scheduler),
            "nanny": self.id,
            "id": ward.worker,
            "running": running,
            "lease": self._lease.descriptor,
            "last_port": ward.port,
            "options": options._asdict(),
            "path": self._path,
        }
        ward.child = Child(
            python_like_ours(
                "from distributed.nanny import run_worker; run_worker()", json.dumps(config)
            ),
            lambda text, is_error: self._on_text(ward, text, is_error),
            lambda child: self._post(lambda: self._on_exit(ward, child)),
            worker_environment(os.environ),
            keep=(self._lease.descriptor,),
        )
        try:
            ward.process = psutil.Process(ward.child.pid)
        except psutil.Error:
            ward.process = None  # it has ended already, and `_on_exit` is about to be called

    def _post(self, act: Callable[[], object]) -> None:
        self._posted.append(act)
        self._poller.wake()

    def _on_text(self, ward: _Ward, text: str, is_error: bool) -> None:
        if not is_error and text.startswith(GAVE_UP):
            ward.failure = text.removeprefix(GAVE_UP).rstrip("\n")
            return  # `run` raises it
        if not is_error and not ward.registered and text.startswith(STARTED):
            ward.port = int(text.rpartition(":")[2])
        if not is_error and text.startswith(REGISTERED):
            ward.registered = self._proven = True
        pass_on(text, is_error, ward)

    def _on_exit(self, ward: _Ward, child: Child) -> None:
        if ward.child is not child:
            return
        ward.child = ward.process = None
        shutil.rmtree(ward.directory, ignore_errors=True)
        status = child.process.returncode
        if status == NO_SCHEDULER or (status == CANNOT_START and not self._proven):
            self._failure = ward.failure
            self._stopping = True
        elif status == CANNOT_START:
            # Its predecessors could: it is for want of room, or of files that may be open, or of the port.
            self._put_off(ward, ward.failure)
        elif status == ORDERLY:
            self._wards.remove(ward)
            self._stopping = self._stopping or not self._wards
        elif not self._stopping:
            self._replace(ward, child, status)

    def _replace(self, ward: _Ward, child: Child, status: int) -> None:
        if status != AGAIN:
            if not ward.reason:
                logger.warning(
                    "%s died (%s); starting a new one", _called(ward, child), describe_exit(status)
                )
            died = self._obituary(ward, child, status)
            if self._connected:
                self._say(died)
            else:
                self._unsent.append(died)
        if ward.registered:
            ward.crashes = 0
        else:
            ward.crashes += 1
            ward.start_at = time.monotonic() + pause_after(ward.crashes)

    def _obituary(self, ward: _Ward, child: Child, status: int) -> Died:
        reason = ward.reason or describe_exit(status)
        if ward.memory and not ward.reason:
            reason += f"; it last used {self._usage(ward)}"
        said = [line for line in child.tail if not line.startswith((STARTED, REGISTERED))]
        output = "\n".join(line[:TOLD_CHARACTERS] for line in said)
        if ward.ordered or ward.running is None:
            return Died(ward.worker, reason, output, [], "")
        at_work = ward.running.assignments(), ward.running.pickled()
        return Died(ward.worker, reason, output, *at_work, ward.memory if ward.is_full else 0)

    def _usage(self, ward: _Ward) -> str:
        limit = self._options.memory_limit
        share = f"its limit of {limit / 1e9:.2f} GB" if limit else "memory, without a limit"
        return f"{ward.memory / 1e9:.2f} GB of {share}"

    def _check_memory(self, ward: _Ward) -> None:
        if ward.process is None or ward.child is None or ward.reason:
            return
        try:
            ward.memory = ward.process.memory_info().rss or ward.memory  # 0 at its very end
        except (psutil.Error, OSError):
            return  # it has just ended, or the machine has no room for one more open file
        limit = self._options.memory_limit
        if limit and ward.memory > MEMORY_SHARE * limit:
            ward.reason, ward.is_full = f"memory: it used {self._usage(ward)}", True
            logger.warning("%s is ended: %s", _called(ward, ward.child), ward.reason)
            kill_group(ward.child.pid)

    def _end_workers(self) -> list[Died]:
        """Returns what to say of those that may not have been able to say goodbye themselves."""
        wards = [ward for ward in self._wards if ward.child is not None]
        children = [ward.child for ward in wards if ward.child is not None]
        for child in children:
            child.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for child in children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.info("process %d does not end by itself", child.pid)
            kill_group(child.pid)
        for child in children:
            child.join(GRACE_SECONDS)
        return [Died(ward.worker, "its nanny was stopped", "", [], "") for ward in wards]


def _is_running(ward: _Ward) -> bool:
    """Whether the process exists and has not been stopped."""
    if ward.process is None:
        return False
    try:
        return bool(ward.process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE))
    except psutil.Error:
        return False
    except OSError:
        # Too many files are open on this machine, say.
        return ward.child is not None and ward.child.alive


def _called(ward: _Ward, child: Child) -> str:
    name = f"worker {ward.name}" if ward.name else "worker"
    return f"the {name} (process {child.pid})"


def _name(name: str | None, number: int, nprocs: int) -> str | None:
    return name if name is None or nprocs == 1 else f"{name}-{number}"


def pause_after(crashes: int) -> float:
    """Seconds before the next attempt, after so many workers in a row that did not get to register.

    >>> [pause_after(n) for n in (1, 2, 3, 20)]
    [0.5, 1.0, 2.0, 30.0]
    """
    return min(LAST_PAUSE, FIRST_PAUSE * 2.0 ** min(crashes - 1, 10))


# In the worker's process -----------------------------------------------------------------------

# The first two are for people too; the last is followed by the reason.
STARTED = "Start worker at"
REGISTERED = "Registered with scheduler at:"
GAVE_UP = "Worker gives up: "


def announce(what: str, place: str) -> None:
    """Say on the terminal where we are."""
    say(f"{what:<30} {place}")


def announce_worker(address: str) -> None:
    """Say on the terminal where the worker is."""
    announce(STARTED, address.removeprefix("tcp://"))


def make_worker(
    scheduler: Address,
    options: WorkerOptions,
    path: list[str],
    id: str | None = None,
    nanny: str = "",
    running: str | None = None,
    last_port: int = 0,
) -> Worker:
    """The worker, with what it prints, and with the modules that it preloads. It is on the first of its
    ports that is free. From then on modules are imported from `path`: what a worker itself needs, it has.

    Raises CannotStart or PreloadFailed.
    """
    from distributed.lifetimes import leave_after
    from distributed.preloads import PreloadFailed, load_preloads
    from distributed.worker import Worker

    def make(port: int) -> Worker:
        return Worker(
            scheduler,
            id=id,
            nanny=nanny,
            running=running,
            name=options.name,
            nthreads=options.nthreads,
            host=options.host,
            port=port,
            contact=options.contact,
            memory_limit=options.memory_limit,
            resources=options.resources,
            local_directory=options.local_directory,
            death_timeout=options.death_timeout,
            on_registered=lambda: announce(REGISTERED, scheduler.place),
        )

    try:
        worker = _on_a_port(ports_to_try(options.ports, last_port), last_port, make)
    except OSError as error:
        raise cannot_start(error) from None
    sys.path[:] = path
    try:
        load_preloads(options.preload, options.preload_arguments, worker)
    except PreloadFailed:
        worker.stop()
        worker.run()  # that its files go
        raise
    if options.lifetime is not None:
        stagger = options.lifetime_stagger
        leave_after(worker, options.lifetime + random.uniform(-stagger, stagger))
    return worker


def ports_to_try(given: Sequence[int], last: int) -> list[int]:
    """In this order: first the port of the predecessor, so that what is pinned to its address finds the
    worker; 0 is any port.

    >>> ports_to_try([], 4000), ports_to_try([3000, 3001], 3001), ports_to_try([], 0)
    ([4000, 0], [3001, 3000], [0])
    """
    if given:
        return sorted(given, key=lambda port: port != last)
    return [last, 0] if last else [0]


def _on_a_port(ports: Sequence[int], last_port: int, make: Callable[[int], Worker]) -> Worker:
    """The worker on the first port that is free. Raises OSError if none is."""
    *others, last = ports
    for port in others:
        try:
            return make(port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            if port == last_port:
                logger.warning("%s; this worker has a new address", error.strerror)
    return make(last)


def run_worker() -> None:
    """The main program of a worker process under a nanny; its configuration is in sys.argv."""
    from distributed.logs import set_up_logging
    from distributed.preloads import PreloadFailed
    from distributed.worker import DISMISSED, EXPIRED, START_AGAIN, STOPPED

    _end_with_nanny()
    raise_limit()
    print_promptly()
    config = json.loads(sys.argv.pop())
    os.set_inheritable(config["lease"], False)
    options = WorkerOptions(**config["options"])
    set_up_logging(options.log_level)
    gc.freeze()  # all that has been imported stays
    scheduler = Address(*config["scheduler"])
    arguments = config["id"], config["nanny"], config["running"], config["last_port"]
    try:
        worker = make_worker(scheduler, options, config["path"], *arguments)
        on_signals(worker.stop, worker.wake_descriptor)
        announce_worker(worker.address)
        ending = worker.run()
    except CannotStart as error:
        # Its port is taken, its directory cannot be written: a new process would fare no better.
        say(f"{GAVE_UP}{error}")
        leave(CANNOT_START)
    except (PreloadFailed, SchedulerGone) as error:
        run_exit_functions(EXIT_SECONDS)
        say(f"{GAVE_UP}{error}")
        leave(NO_SCHEDULER)
    else:
        run_exit_functions(EXIT_SECONDS)
        expired = AGAIN if options.lifetime_restart else ORDERLY
        leave({START_AGAIN: AGAIN, DISMISSED: ORDERLY, STOPPED: 0, EXPIRED: expired}[ending])


class CannotStart(DistributedError):
    """There is no place for a worker's files, or no port; the text says why."""


def cannot_start(error: OSError) -> CannotStart:
    """Why, in one line.

    >>> cannot_start(FileNotFoundError(2, "No such file or directory", "/nowhere"))
    CannotStart('the worker cannot start: No such file or directory: /nowhere')
    """
    place = f": {error.filename}" if error.filename else ""
    return CannotStart(f"the worker cannot start: {error.strerror or error}{place}")


def _end_with_nanny() -> None:
    """End when standard input does. The kernel sees to it: a thread of ours could not, while a task
    keeps the interpreter lock."""
    if not hasattr(fcntl, "F_SETSIG"):  # elsewhere than on Linux
        end_with_parent()
        return
    lifeline = take_standard_input()
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:
        os._exit(1)  # it had ended before
