"""Bulk data between workers, and between workers and clients: the shell around `core/streams.py`.

Whoever wants data connects a `Fetcher` to the `Server` of the worker that has it. A client that scatters
brings data in the same way. All of this happens in the thread of one poll loop; the callbacks run there
and have to be quick.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from distributed.codec import decode, encode
from distributed.core.streams import Incoming, Item, Outgoing
from distributed.errors import ProtocolError
from distributed.logs import Seldom
from distributed.messages import (
    Get,
    Message,
    More,
    Part,
)
from distributed.transport import (
    CONNECTED,
    Channel,
    Dealer,
    Frame,
    Poller,
    Router,
    parse_address,
)

# How often a shortage of descriptors is mentioned.
COMPLAINT_SECONDS = 10.0
# Connections that nobody has used for so long are closed.
IDLE_SECONDS = 60.0
# A worker whose process is silent for so long is not waited for: the scheduler gives it up then, too. A
# part of 4 MiB takes less on any network that is worth it.
SILENCE_SECONDS = 30.0

# A link that cannot be opened, for too many files are open, is tried again for this long. Files of tasks
# may be closed by then, and links to others are, once their requests have ended.
SHORTAGE_SECONDS = 10.0
# Descriptors of a link: those of its socket, of its monitor's two ends, and its connection.
LINK_DESCRIPTORS = 4

logger = logging.getLogger("distributed.transfer")

Frames = list[Frame]
OnItems = Callable[[list[Item]], object]
OnEnd = Callable[["str | None"], object]


class Shortage(str):
    """Why a request has failed, if it is that this process has too many open files."""


def noting(
    failures: dict[str, str], address: str, end: Callable[[str | None], object]
) -> Callable[[str | None], object]:
    """What is told the end of a transfer, and notes why it has failed."""

    def note(error: str | None) -> None:
        if error is not None:
            failures[address] = error
        end(error)

    return note


class _Begin(NamedTuple):
    """A request that waits for a link that could not be opened."""

    address: str
    act: Callable[[_Link], None]
    on_end: OnEnd
    give_up_at: float


class Fetcher:
    """Gets data from workers and brings data to them, over one connection to each.

    `lend(count)` is asked to close this many files where no link can be opened otherwise; `clock` is in
    seconds.
    """

    def __init__(
        self,
        context: Any,
        poller: Poller,
        lend: Callable[[int], bool] = lambda count: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._poller = poller
        self._lend = lend
        self._clock = clock
        self._links: dict[str, _Link] = {}
        self._by_channel: dict[Channel, _Link] = {}
        self._waiting: deque[_Begin] = deque()
        self._may_complain: Callable[[], bool] = Seldom(COMPLAINT_SECONDS)

    def get(self, address: str, keys: Sequence[str], on_items: OnItems, on_end: OnEnd) -> None:
        """`on_items([(key, version, frames)])` with those that have come: None in place of the frames if
        the worker does not have it, a text if it cannot be sent. When all have come `on_end(None)`;
        `on_end(reason)` if the connection fails."""
        self._begin(address, lambda link: link.get(keys, on_items, on_end), on_end)

    def put(self, address: str, items: Sequence[tuple[str, int, Frames]], on_end: OnEnd) -> None:
        """Bring (key, assignment, frames). Ends once the worker has taken all of it."""
        self._begin(address, lambda link: link.put(items, on_end), on_end)

    def owns(self, channel: Channel) -> bool:
        return channel in self._by_channel

    def handle(self, channel: Channel) -> None:
        """Something has come on one of our channels."""
        link = self._by_channel[channel]
        reason = link.handle()
        if reason is not None:
            self._drop(link, reason)

    def tidy(self) -> None:
        """Close what has been idle for long. Called now and then."""
        for link in tuple(self._links.values()):
            if not link.requests and time.monotonic() - link.used > IDLE_SECONDS:
                self._drop(link, "idle")

    @property
    def short(self) -> bool:
        """Whether requests wait for links that cannot be opened: call `retry` soon."""
        return bool(self._waiting)

    def retry(self) -> None:
        """Try those again, in their order; those that have waited for long fail."""
        if self._waiting:
            self._close_idle()
        while self._waiting:
            begin = self._waiting[0]
            try:
                link = self._link(begin.address)
            except OSError as error:
                if self._clock() < begin.give_up_at:
                    return
                self._waiting.popleft()
                begin.on_end(Shortage(f"{begin.address}: {error.strerror}"))
            else:
                self._waiting.popleft()
                begin.act(link)

    def close(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for begin in waiting:
            begin.on_end(f"{begin.address}: closed")
        for link in tuple(self._links.values()):
            self._drop(link, "closed")

    def _begin(self, address: str, act: Callable[[_Link], None], on_end: OnEnd) -> None:
        try:
            link = self._link(address)
        except ValueError as error:
            # Addresses come from workers, by way of the scheduler: one that lies must not end us.
            on_end(f"{address}: {error}")
        except OSError as error:
            if self._may_complain():
                logger.warning("the data at %s cannot be fetched yet: %s", address, error.strerror)
            give_up_at = self._clock() + SHORTAGE_SECONDS
            self._waiting.append(_Begin(address, act, on_end, give_up_at))
        else:
            act(link)

    def _close_idle(self) -> None:
        for link in tuple(self._links.values()):
            if not link.requests:
                self._drop(link, "others need its descriptors")

    def _open(self, address: str) -> Dealer:
        """Raises OSError if there are too many open files."""
        place = parse_address(address)
        try:
            return Dealer(self._context, place, SILENCE_SECONDS)
        except OSError:
            if not self._lend(LINK_DESCRIPTORS):
                raise
        return Dealer(self._context, place, SILENCE_SECONDS)

    def _link(self, address: str) -> _Link:
        link = self._links.get(address)
        if link is None:
            link = _Link(address, self._open(address))
            self._links[address] = self._by_channel[link.dealer] = link
            self._poller.add(link.dealer)
        link.used = time.monotonic()
        return link

    def _drop(self, link: _Link, reason: str) -> None:
        del self._links[link.address], self._by_channel[link.dealer]
        self._poller.remove(link.dealer)
        link.dealer.close(0)
        link.fail(f"{link.address}: {reason}")


class _Getting:
    """A request whose answer is coming in."""

    def __init__(self, on_items: OnItems, on_end: OnEnd) -> None:
        self.incoming = Incoming()
        self.on_items = on_items
        self.on_end = on_end


class _Putting:
    """Data that is going out."""

    def __init__(self, outgoing: Outgoing, on_end: OnEnd) -> None:
        self.outgoing = outgoing
        self.on_end = on_end


class _Link:
    """The connection to one worker, with the requests that are open on it."""

    def __init__(self, address: str, dealer: Dealer) -> None:
        self.address = address
        self.dealer = dealer
        self.used = time.monotonic()
        self.requests: dict[int, _Getting | _Putting] = {}
        self._connected = False
        self._waiting: list[Callable[[], None]] = []  # until there is a connection
        self._last_request = 0

    def get(self, keys: Sequence[str], on_items: OnItems, on_end: OnEnd) -> None:
        request = self._open(_Getting(on_items, on_end))
        self._when_connected(lambda: self._say(Get(request, list(keys))))

    def put(self, items: Sequence[Item], on_end: OnEnd) -> None:
        request = self._last_request + 1
        putting = _Putting(Outgoing(request, True, items), on_end)
        self._open(putting)
        self._when_connected(lambda: self._pump(putting))

    def _open(self, request: _Getting | _Putting) -> int:
        self._last_request += 1
        self.requests[self._last_request] = request
        return self._last_request

    def _when_connected(self, act: Callable[[], None]) -> None:
        if self._connected:
            act()
        else:
            self._waiting.append(act)

    def _say(self, message: Message) -> None:
        # If this fails the connection has just broken, and its monitor is about to say so.
        self.dealer.send((encode([message]),))

    def _pump(self, putting: _Putting) -> None:
        for part, pieces in putting.outgoing.parts():
            self.dealer.send((encode([part]), *pieces))

    def handle(self) -> str | None:
        """Why the connection cannot be used any more, or None."""
        for event in self.dealer.events():
            if event != CONNECTED or self._connected:
                return f"the connection is {event}"
            self._connected = True
            waiting, self._waiting = self._waiting, []
            for act in waiting:
                act()
        self.used = time.monotonic()
        try:
            for frames in self.dealer.receive():
                for message in decode(frames[0]):
                    self._hear(message, frames[1:])
        except ProtocolError as error:
            return f"the other side sent nonsense: {error}"
        return None

    def _hear(self, message: Message, pieces: Sequence[Any]) -> None:
        if isinstance(message, Part) and not message.put:
            getting = self.requests.get(message.request)
            if isinstance(getting, _Getting):
                self._take(getting, message, pieces)
        elif isinstance(message, More) and message.put:
            putting = self.requests.get(message.request)
            if isinstance(putting, _Putting):
                self._acknowledged(putting, message.request)
        else:
            raise ProtocolError(f"{type(message).__name__} does not belong here")

    def _take(self, getting: _Getting, part: Part, pieces: Sequence[Any]) -> None:
        items = getting.incoming.feed(part, pieces)
        if items:
            getting.on_items(items)
        if getting.incoming.ended:
            del self.requests[part.request]
            getting.on_end(None)
        else:
            self._say(More(part.request, False))

    def _acknowledged(self, putting: _Putting, request: int) -> None:
        putting.outgoing.acknowledge()
        self._pump(putting)
        if putting.outgoing.taken:
            del self.requests[request]
            putting.on_end(None)

    def fail(self, reason: str) -> None:
        """End all requests."""
        requests, self.requests = self.requests, {}
        for request in requests.values():
            request.on_end(reason)


class Server:
    """Gives a worker's data to whoever asks, and takes what clients bring.

    `collect(keys, reply)` has to call `reply` with (key, version, frames) items, later, in the thread of
    the loop.
    `accept(key, assignment, frames)` takes what was brought.
    """

    def __init__(
        self,
        router: Router,
        collect: Callable[[Sequence[str], Callable[[list[Item]], None]], None],
        accept: Callable[[str, int, Frames], object],
    ) -> None:
        self._router = router
        self._collect = collect
        self._accept = accept
        self._outgoing: dict[bytes, dict[int, Outgoing]] = {}
        self._incoming: dict[bytes, dict[int, Incoming]] = {}

    def handle(self) -> None:
        """Something has come, or somebody has gone."""
        gone = self._router.gone()
        for peer, frames in self._router.receive():
            try:
                for message in decode(frames[0]):
                    self._hear(peer, message, frames[1:])
            except ProtocolError as error:
                logger.debug("a peer of the data channel is ignored: %s", error)
                self._forget(peer)
        for peer in gone:
            self._forget(peer)

    def _forget(self, peer: bytes) -> None:
        self._outgoing.pop(peer, None)
        self._incoming.pop(peer, None)

    def _hear(self, peer: bytes, message: Message, pieces: Sequence[Any]) -> None:
        if isinstance(message, Get):
            request = message.request
            self._collect(message.keys, lambda items: self._reply(peer, request, items))
        elif isinstance(message, More) and not message.put:
            outgoing = self._outgoing.get(peer, {}).get(message.request)
            if outgoing is not None:
                outgoing.acknowledge()
                self._pump(peer, outgoing)
        elif isinstance(message, Part) and message.put:
            self._take(peer, message, pieces)
        else:
            raise ProtocolError(f"{type(message).__name__} does not belong here")

    def _reply(self, peer: bytes, request: int, items: list[Item]) -> None:
        outgoing = Outgoing(request, False, items)
        self._outgoing.setdefault(peer, {})[request] = outgoing
        self._pump(peer, outgoing)

    def _pump(self, peer: bytes, outgoing: Outgoing) -> None:
        last = False
        for part, pieces in outgoing.parts():
            last = part.last
            if not self._router.send(peer, (encode([part]), *pieces)):
                self._forget(peer)
                return
        if last:
            streams = self._outgoing[peer]
            del streams[outgoing.request]
            if not streams:
                del self._outgoing[peer]

    def _take(self, peer: bytes, part: Part, pieces: Sequence[Any]) -> None:
        streams = self._incoming.setdefault(peer, {})
        incoming = streams.setdefault(part.request, Incoming())
        for key, assignment, frames in incoming.feed(part, pieces):
            if isinstance(frames, list):
                self._accept(key, assignment, frames)
        if incoming.ended:
            del streams[part.request]
            if not streams:
                del self._incoming[peer]
        self._router.send(peer, (encode([More(part.request, True)]),))
