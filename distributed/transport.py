"""ZeroMQ at the edge: sockets with the right options, addresses, and who has gone.

A `Router` listens; it names each connection by a *peer*, bytes that are never used again. A `Dealer`
has one connection, which it opens again for ever. Neither ever blocks. A `Poller` waits for all of a
thread's channels at once, and lets other threads wake it.

Every socket belongs to one thread, or to whoever holds a lock. What is sent may still be lost when a
connection breaks: nothing above may conclude anything from a send that succeeded.

The calls go to the backend directly and with plain integers: pyzmq's conveniences (multipart calls,
enum flags) cost eight times what the calls underneath cost.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeAlias

import zmq
import zmq.backend

# It ends at the interpreter's exit what sends without a copy need. What is registered first runs last: so
# it is imported before any of ours registers what it does at exit, not at the first such send.
import zmq.utils.garbage

from distributed.descriptors import SHORTAGES, are_left

Frame: TypeAlias = "bytes | bytearray | memoryview"

# Frames above this are handed over without a copy; below, the copy is cheaper than its book-keeping.
ZERO_COPY_BYTES = 64 << 10
# Descriptors that pyzmq needs for the first of these: for a context, its threads and two sockets.
ZERO_COPY_DESCRIPTORS = 16
# One control message is a batch in one frame; bulk data comes in parts of 4 MiB. Anything longer than
# this is refused before memory is set aside for it. Above codec.MAX_BATCH_BYTES.
MAX_FRAME = (1 << 30) + (1 << 20)
# Sockets of one process, for which libzmq sets memory aside. A link to another process takes three of them:
# with the 1,023 that libzmq allows by itself, a session could not fetch from 341 workers.
MAX_SOCKETS = 1 << 14
# A receive stops after this many messages or seconds, so that what came is answered before more is
# read, and a flood on one socket does not silence the others.
MAX_MESSAGES = 500
MAX_SECONDS = 0.005
# How long a connection that may have closed is asked again whether it has. The socket learns of it
# a few milliseconds after the monitor does.
SUSPECT_SECONDS = 1.0
# A process that is silent for so long is stopped, or its machine is off. Not sooner: the longest message
# should get through a slow network in this time.
SILENCE_SECONDS = 300.0
# What has been connected to and does not say what it is.
HANDSHAKE_SECONDS = 30.0
# Seconds that a socket may go on sending after it was closed.
LINGER = 1.0

_SEND = zmq.backend.Socket.send
_RECEIVE = zmq.backend.Socket.recv
_GET = zmq.backend.Socket.get
_ZMQ_POLL = zmq.backend.zmq_poll
_NOBLOCK, _MORE, _EVENTS, _POLLIN = 1, 2, int(zmq.EVENTS), 1
_RCVMORE = int(zmq.RCVMORE)

_CONNECT_RETRIED, _DISCONNECTED, _HANDSHAKE_SUCCEEDED = 0x0004, 0x0200, 0x1000
_LISTENING, _ACCEPTED = 0x0008, 0x0020
_HANDSHAKE_FAILED = 0x0800 | 0x2000 | 0x4000
_MONITOR_HEAD = struct.Struct("=Hi")  # of a monitor's message: event, value
# A batch without messages, sent only to see whether it could be.
_EMPTY_BATCH = b"\x90"


def Context() -> Any:
    """What all sockets of a thread are made of."""
    context: zmq.Context[Any] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)
    return context


class Address(NamedTuple):
    host: str
    port: int

    @property
    def url(self) -> str:
        """As users see it: tcp://host:port."""
        return f"tcp://{self.place}"

    @property
    def place(self) -> str:
        """host:port, with an IPv6 address in brackets."""
        return f"{_bracketed(self.host)}:{self.port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def parse_address(value: Any) -> Address:
    """The address that a user means by 'host:port', 'tcp://host:port' or (host, port). An IPv6 address
    stands in brackets, and a slash at the end counts for nothing.

    >>> parse_address("127.0.0.1:8786").url
    'tcp://127.0.0.1:8786'
    >>> parse_address(("localhost", 8786)).place
    'localhost:8786'
    >>> parse_address("tcp://[::1]:8786/").host
    '::1'
    """
    if isinstance(value, tuple) and len(value) == 2:
        host, port = value
    elif isinstance(value, str):
        scheme, found, place = value.rpartition("://")
        if found and scheme != "tcp":
            raise ValueError(f"{value!r}: only tcp:// addresses are known")
        host, _, port = place.removesuffix("/").rpartition(":")
        if ":" in host and not (host.startswith("[") and host.endswith("]")):
            raise ValueError(
                f"{value!r} is not an address: an IPv6 address stands in brackets, as in '[::1]:8786'"
            )
    else:
        raise TypeError(
            f"an address is 'host:port', 'tcp://host:port' or (host, port), not {value!r}"
        )
    if not host or not str(port).isdigit() or not 0 <= int(port) < 65536:
        raise ValueError(f"{value!r} is not an address: write 'host:port', as in '127.0.0.1:8786'")
    return Address(str(host).strip("[]"), int(port))


# Hosts that mean: all interfaces of this machine.
WILDCARDS = ("", "0.0.0.0", "*", "::")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    return host in ("localhost", "::1") or host.startswith("127.")


def reachable_host(host: str, towards: Address) -> str:
    """The host that others can reach us by: for a wildcard, the interface that leads to `towards`. Raises
    OSError if there is no way there."""
    if host not in WILDCARDS:
        return host
    family = socket.AF_INET6 if ":" in towards.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((towards.host, towards.port or 1))
        return str(probe.getsockname()[0])


class Channel:
    """A socket with its monitor.

    Raises OSError if this process cannot open as many files as that takes.
    """

    def __init__(self, context: zmq.Context[Any], kind: int, watched: int) -> None:
        try:
            self._socket = context.socket(kind)
        except zmq.ZMQError as error:
            raise _os_error(error) from None
        try:
            _set_common(self._socket)
            self._monitor = _Monitor(context, self._socket, watched)
        except zmq.ZMQError as error:
            self._socket.close(0)
            raise _os_error(error) from None
        # Whether the monitor may have something to say, and whether something may have come: the descriptor
        # only tells of that once somebody has looked and found nothing.
        self.alarmed = True
        self.unsure = True

    def sockets(self) -> tuple[Any, Any]:
        """The socket and the monitor's."""
        return self._socket, self._monitor.socket

    def has_input(self) -> bool:
        """Whether there is something to receive."""
        self.unsure = bool(_GET(self._socket, _EVENTS) & _POLLIN)
        return self.unsure

    def close(self, linger: float = LINGER) -> None:
        """What has been handed over is still sent, for at most so many seconds."""
        self._monitor.close()
        self._socket.close(int(linger * 1000))


class Router(Channel):
    """Listens on `host:port` (0: any free port). Raises OSError that names the address if it cannot.

    `alone`: there is no other thread that runs Python in this process.
    """

    def __init__(
        self, context: zmq.Context[Any], host: str, port: int, alone: bool = False
    ) -> None:
        super().__init__(context, zmq.ROUTER, _DISCONNECTED | _LISTENING | _ACCEPTED)
        self._socket.set(zmq.IPV6, int(":" in host))
        self._question = ((self._socket, _POLLIN),) if alone else None
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        self._socket.set(zmq.BACKLOG, 4096)
        self._socket.set(zmq.HANDSHAKE_IVL, 8000)
        try:
            self._socket.bind(f"tcp://{_bracketed(host)}:{port or '*'}")
        except zmq.ZMQError as error:
            self.close()
            reason = os.strerror(error.errno)
            raise OSError(
                error.errno, f"cannot listen at {Address(host, port).place}: {reason}"
            ) from None
        endpoint = self._socket.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()
        self.address = Address(host, int(endpoint.rpartition(":")[2]))
        # The descriptor at which newcomers wait.
        (self.listener,) = (value for event, value in self._monitor.events() if event == _LISTENING)
        # Descriptors of connections that have not said anything yet, the oldest first.
        self._silent: dict[int, None] = {}
        self._descriptors: dict[bytes, int] = {}
        self._at: dict[int, set[bytes]] = {}  # peers whose connection has or had this descriptor
        self._suspects: dict[bytes, float] = {}  # until when
        self._gone: list[bytes] = []

    def has_input(self) -> bool:
        if self._question is None:
            return super().has_input()
        # It takes two thirds of the time, but lets go of the interpreter: where another thread may take
        # that, it can be milliseconds before one has it again.
        self.unsure = bool(_ZMQ_POLL(self._question, 0))
        return self.unsure

    def receive(self) -> list[tuple[bytes, list[Any]]]:
        """What has come: (peer, frames). The first frame is bytes, others are buffers."""
        received: list[tuple[bytes, list[Any]]] = []
        sock = self._socket
        end = time.perf_counter() + MAX_SECONDS
        while self.unsure or (not received and self.has_input()):
            try:
                peer = _RECEIVE(sock, _NOBLOCK)
            except zmq.Again:  # the descriptor has told of something else
                self.unsure = False
                break
            first = _RECEIVE(sock, _NOBLOCK, False)
            frames = _receive_rest(sock, first)
            if peer in self._descriptors or self._meet(peer, first):
                received.append((peer, frames))
            if self.has_input() and _is_enough(received, end):
                break
        return received

    def _meet(self, peer: bytes, frame: Any) -> bool:
        try:
            descriptor = frame.get(zmq.SRCFD)
        except zmq.ZMQError:
            # A protocol of long ago, for which libzmq also takes what is none at all: an HTTP request, say.
            # It never says hello, and nobody could tell us when it has gone.
            return False
        self._silent.pop(descriptor, None)
        self._descriptors[peer] = descriptor
        self._at.setdefault(descriptor, set()).add(peer)
        return True

    def send(self, peer: bytes, frames: Sequence[Frame]) -> bool:
        """False if the peer is not there any more (`gone` will tell) or its queue is full."""
        self.unsure = True
        try:
            _SEND(self._socket, peer, _MORE | _NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            self._forget(peer)
            return False
        _send_frames(self._socket, frames)
        return True

    def gone(self) -> list[bytes]:
        """The peers whose connections have closed since the last call."""
        if not (self.alarmed or self._suspects or self._gone):
            return []
        now = time.monotonic()
        self.alarmed = False
        for event, descriptor in self._monitor.events():
            if event == _DISCONNECTED:
                for peer in self._at.get(descriptor, ()):
                    self._suspects[peer] = now + SUSPECT_SECONDS
                self._silent.pop(descriptor, None)
            elif event == _ACCEPTED:
                self._silent.pop(descriptor, None)
                self._silent[descriptor] = None
        for peer, until in tuple(self._suspects.items()):
            # A descriptor may have been given to a new connection meanwhile: only a send can tell.
            if self.send(peer, (_EMPTY_BATCH,)) and now > until:
                del self._suspects[peer]
        gone, self._gone = self._gone, []
        return gone

    @property
    def suspicious(self) -> bool:
        """Whether `gone` should be called again soon."""
        return bool(self._suspects or self._gone)

    def hang_up(self) -> bool:
        """Break the oldest connection that has not said anything; false if there is none."""
        while self._silent:
            descriptor = next(iter(self._silent))
            del self._silent[descriptor]
            if self._hang_up(descriptor):
                return True
        return False

    def _hang_up(self, descriptor: int) -> bool:
        try:
            connection = socket.socket(fileno=descriptor)
        except OSError:
            return False  # it has gone, and another file, or none, is there
        try:
            # It may have gone, and a socket of somebody else have taken its number.
            if connection.getsockname()[1] != self.address.port:
                return False
            connection.shutdown(socket.SHUT_RDWR)
        except (OSError, IndexError):
            return False
        finally:
            connection.detach()  # libzmq closes it
        return True

    def _forget(self, peer: bytes) -> None:
        self._suspects.pop(peer, None)
        descriptor = self._descriptors.pop(peer, None)
        if descriptor is not None:
            peers = self._at[descriptor]
            peers.discard(peer)
            if not peers:
                del self._at[descriptor]
            self._gone.append(peer)


CONNECTED, DISCONNECTED, UNREACHABLE, REFUSED = (
    "connected",
    "disconnected",
    "unreachable",
    "refused",
)


class Dealer(Channel):
    """A connection to the Router at an address, opened again whenever it breaks. Raises ValueError for
    what can be the address of nothing.

    It also breaks if the other process has not been heard of for `silence` seconds (SILENCE_SECONDS): its
    kernel keeps connections open although it is stopped. libzmq's own threads ask and answer, whatever the
    others do. No message may take longer on the wire.

    Nothing is queued while there is no connection: `send` says so. After each `CONNECTED` the other
    side sees a new peer, that must say hello, and nothing is received that came before the break.
    """

    def __init__(
        self, context: zmq.Context[Any], address: Address, silence: float | None = None
    ) -> None:
        super().__init__(
            context,
            zmq.DEALER,
            _CONNECT_RETRIED | _DISCONNECTED | _HANDSHAKE_SUCCEEDED | _HANDSHAKE_FAILED,
        )
        self.address = address
        # A name stands for an IPv4 address: with this, libzmq would take another one for it.
        self._socket.set(zmq.IPV6, int(":" in address.host))
        self._socket.set(zmq.IMMEDIATE, 1)
        # Spread, so that a thousand workers do not dial a restarted scheduler all at once.
        self._socket.set(zmq.RECONNECT_IVL, 50 + random.randrange(100))
        self._socket.set(zmq.RECONNECT_IVL_MAX, 2000)
        self._socket.set(zmq.CONNECT_TIMEOUT, 4000)
        silence = SILENCE_SECONDS if silence is None else silence
        interval = int(1000 * silence / 6)
        self._socket.set(zmq.HANDSHAKE_IVL, int(1000 * min(silence, HANDSHAKE_SECONDS)))
        self._socket.set(zmq.HEARTBEAT_IVL, interval)
        self._socket.set(zmq.HEARTBEAT_TIMEOUT, int(1000 * silence) - interval)
        try:
            self._socket.connect(address.url)
        except zmq.ZMQError as error:
            self.close(0)
            raise ValueError(f"{address.url} cannot be connected to: {error}") from None

    def events(self) -> list[str]:
        """What happened to the connection: CONNECTED, DISCONNECTED, UNREACHABLE (an attempt failed),
        REFUSED (what answers there is not one of us)."""
        if not self.alarmed:
            return []
        self.alarmed = False
        return [_kind_of(event) for event, _ in self._monitor.events()]

    def receive(self) -> list[list[Any]]:
        """What has come: lists of frames, the first of each bytes, others buffers."""
        received: list[list[Any]] = []
        sock = self._socket
        end = time.perf_counter() + MAX_SECONDS
        while self.unsure or (not received and self.has_input()):
            try:
                first = _RECEIVE(sock, _NOBLOCK, False)
            except zmq.Again:  # the descriptor has told of something else
                self.unsure = False
                break
            received.append(_receive_rest(sock, first))
            if self.has_input() and _is_enough(received, end):
                break
        return received

    def send(self, frames: Sequence[Frame]) -> bool:
        """False if there is no connection: the message has not been sent and is not kept."""
        self.unsure = True
        try:
            _send_frames(self._socket, frames)
        except zmq.Again:
            return False
        return True


def _os_error(error: zmq.ZMQError) -> OSError:
    return OSError(error.errno, f"no connection can be opened: {os.strerror(error.errno)}")


def _kind_of(event: int) -> str:
    if event == _HANDSHAKE_SUCCEEDED:
        return CONNECTED
    if event == _DISCONNECTED:
        return DISCONNECTED
    return UNREACHABLE if event == _CONNECT_RETRIED else REFUSED


def _set_common(sock: zmq.Socket[Any]) -> None:
    # No high-water marks: a mark counts messages, and what it does at a Router is to lose them. What
    # is in flight is bounded above, by prefetch for tasks and by windows for bulk data.
    sock.set_hwm(0)
    sock.set(zmq.LINGER, int(LINGER * 1000))
    sock.set(zmq.MAXMSGSIZE, MAX_FRAME)
    # A host that vanished without a word, idle or in the middle of a transfer, is noticed in a minute.
    sock.set(zmq.TCP_KEEPALIVE, 1)
    sock.set(zmq.TCP_KEEPALIVE_IDLE, 30)
    sock.set(zmq.TCP_KEEPALIVE_INTVL, 10)
    sock.set(zmq.TCP_KEEPALIVE_CNT, 3)
    sock.set(zmq.TCP_MAXRT, 60_000)


def _receive_rest(sock: Any, frame: Any) -> list[Any]:
    """The frames of a message of which one has been received."""
    frames = [frame.bytes]
    while frame.more:
        frame = _RECEIVE(sock, _NOBLOCK, False)
        frames.append(frame.buffer)
    return frames


def _is_enough(received: Sequence[Any], end: float) -> bool:
    """Whether to answer what has come before more is received."""
    return len(received) >= MAX_MESSAGES or time.perf_counter() > end


def _send_frames(sock: Any, frames: Sequence[Frame]) -> None:
    first = frames[0]
    if len(frames) == 1 and type(first) is bytes and len(first) < ZERO_COPY_BYTES:
        _SEND(sock, first, _NOBLOCK)
        return
    last = len(frames) - 1
    for position, frame in enumerate(frames):
        flags = _NOBLOCK if position == last else _NOBLOCK | _MORE
        if memoryview(frame).nbytes < ZERO_COPY_BYTES or not _send_uncopied(sock, frame, flags):
            _SEND(sock, frame, flags)


def _send_uncopied(sock: Any, frame: Frame, flags: int) -> bool:
    """False if that cannot be: the first time takes a thread of pyzmq's, and that takes descriptors."""
    if not zmq.utils.garbage.gc.is_alive() and not are_left(ZERO_COPY_DESCRIPTORS):
        return False
    try:
        _SEND(sock, frame, flags, False)
    except zmq.ZMQError as error:
        if error.errno not in SHORTAGES:
            raise
        return False
    return True


_monitors = itertools.count(1)


class _Monitor:
    """What libzmq tells of a socket's connections."""

    def __init__(self, context: zmq.Context[Any], watched: zmq.Socket[Any], events: int) -> None:
        self._watched = watched
        # A name that was never there: libzmq gives the one of a closed socket free when it gets to it.
        url = f"inproc://monitor-{next(_monitors)}"
        watched.monitor(url, events)
        try:
            self.socket = context.socket(zmq.PAIR)
        except zmq.ZMQError:
            watched.disable_monitor()
            raise
        # Unbounded: libzmq's own threads stand still while a monitor is full.
        self.socket.set_hwm(0)
        self.socket.set(zmq.LINGER, 0)
        self.socket.connect(url)

    def events(self) -> list[tuple[int, int]]:
        found = []
        while _GET(self.socket, _EVENTS) & _POLLIN:
            head = _RECEIVE(self.socket, _NOBLOCK)
            if _GET(self.socket, _RCVMORE):
                _RECEIVE(self.socket, _NOBLOCK)
            found.append(_MONITOR_HEAD.unpack(head))
        return found

    def close(self) -> None:
        if not self._watched.closed:
            self._watched.disable_monitor()
        self.socket.close(0)


class Poller:
    """Waits until a channel has something to say, or another thread calls `wake`.

    The thread that waits says so with `arm` and looks at its queues once more before `wait`; another
    thread puts something in a queue and then calls `wake`. So no call is lost, and only the first wake
    of a sleep costs a system call.

    It polls the sockets' descriptors itself: `zmq_poll` asks each socket for its state before and after,
    and every such question is two system calls. A socket's descriptor becomes readable when something
    arrives for it, but no more than once; what a send has taken note of meanwhile has to be asked for
    (`Channel.has_input`).
    """

    def __init__(self, lock: AbstractContextManager[Any] | None = None) -> None:
        # Without it nobody may touch the sockets. Of no use to whoever gives none, and cheap.
        self._lock = lock or threading.Lock()
        self._poll = select.poll()
        self._channels: dict[Channel, None] = {}
        self._owners: dict[int, tuple[Channel, bool]] = {}  # and whether it is the monitor
        self._reader, self._writer = os.pipe()
        for descriptor in (self._reader, self._writer):
            os.set_blocking(descriptor, False)
        self._poll.register(self._reader, select.POLLIN)
        # Held to write, or to close: a closed descriptor may be somebody else's by then. Signal handlers
        # and finalizers wake too, in the middle of anything.
        self._pipe = threading.RLock()
        self._armed = False
        self._lent = False
        self._closed = False

    def add(self, channel: Channel) -> None:
        self._channels[channel] = None
        for sock, is_monitor in zip(channel.sockets(), (False, True), strict=True):
            descriptor = sock.get(zmq.FD)
            self._owners[descriptor] = (channel, is_monitor)
            self._poll.register(descriptor, select.POLLIN)

    def remove(self, channel: Channel) -> None:
        del self._channels[channel]
        for sock in channel.sockets():
            descriptor = sock.get(zmq.FD)
            del self._owners[descriptor]
            self._poll.unregister(descriptor)

    def watch(self, descriptor: int) -> None:
        """Let `wait` return also when there is something to read at this descriptor."""
        self._poll.register(descriptor, select.POLLIN)

    def unwatch(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)

    def arm(self) -> None:
        self._armed = True

    def wake(self) -> None:
        if not self._armed:
            return
        self._armed = False
        with self._pipe:
            if self._closed:
                return
            try:
                os.write(self._writer, b"\0")
            except BlockingIOError:
                pass  # as many wakes as a pipe holds are under way

    @property
    def wake_descriptor(self) -> int:
        """For `signal.set_wakeup_fd`: a signal ends the wait. Taken back when the poller is closed, which
        then has to be done by the main thread."""
        self._lent = True
        return self._writer

    def wait(self, seconds: float, awake: float = 0.0) -> dict[Channel, None]:
        """The channels that have something, once one has, or after so many seconds (0: at once).

        For the first `awake` seconds the thread looks again and again rather than sleep. Each time it lets
        other processes go first.
        """
        ready: dict[Channel, None] = {}
        with self._lock:
            for channel in self._channels:
                if channel.alarmed or (channel.unsure and channel.has_input()):
                    ready[channel] = None
        for descriptor, _ in self._look(0.0 if ready else seconds, awake):
            owner = self._owners.get(descriptor)
            if owner is None:
                self._clear_wakes()
                continue
            channel, is_monitor = owner
            ready[channel] = None
            if is_monitor:
                channel.alarmed = True
            else:
                channel.unsure = True
        self._armed = False
        return ready

    def _look(self, seconds: float, awake: float) -> list[tuple[int, int]]:
        if awake and seconds:
            end = time.perf_counter() + min(awake, seconds)
            while time.perf_counter() < end:
                found = self._poll.poll(0)
                if found:
                    return found
                os.sched_yield()
        return self._poll.poll(seconds * 1000)

    def _clear_wakes(self) -> None:
        try:
            os.read(self._reader, 4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        with self._pipe:
            if self._closed:
                return
            self._closed = True
            if self._lent:
                signal.set_wakeup_fd(-1)
            os.close(self._reader)
            os.close(self._writer)
