"""A network that does what ZeroMQ does, as far as the shells can see.

A `Wire` is one connection from a dealer to a router. On it whole messages arrive, in order, each way. What
was under way when it breaks is lost, from some point on; each end learns of the break in its own time.
What is sent to a peer that is not there any more vanishes. After a break the dealer dials again, and the
router sees a new peer. `SimDealer` and `SimRouter` have the methods of `transport.Dealer` and
`transport.Router` that the shells use.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

from distributed.transport import CONNECTED, DISCONNECTED, UNREACHABLE
from tests.sim.repeats import Repeats
from tests.sim.world import Process, World

# Seconds. A message takes at least the first, and on average the second more.
LATENCY, MORE_LATENCY = 0.00005, 0.0003
# What the monitor tells comes a little later than what it tells of.
MONITOR_SECONDS = 0.003
# Between a break, or an attempt to connect that failed, and the next attempt.
REDIAL_SECONDS = (0.05, 0.4)
Frames = Sequence[Any]


class Net:
    """All routers, by address, and all wires. At most one partition at a time: `groups` says who is
    where, by name (0 for all others), until `apart_until`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.routers: dict[str, SimRouter] = {}
        self.wires: dict[Wire, None] = {}
        self.groups: dict[str, int] = {}
        self.apart_until = 0.0
        self.repeats: Repeats | None = None
        self.peers = 0

    def apart(self, one: Process, other: Process) -> bool:
        groups = self.groups
        return self.world.now < self.apart_until and (
            groups.get(one.name, 0) != groups.get(other.name, 0)
        )

    def reach(self, process: Process, address: str) -> SimRouter | None:
        """Who listens there, if a connection can be made."""
        router = self.routers.get(address)
        if router is None or router.process.paused or self.apart(process, router.process):
            return None
        return router

    def latency(self) -> float:
        return LATENCY + self.world.random.expovariate(1 / MORE_LATENCY)


class Wire:
    """One connection. `up` leads to the router, `down` to the dealer."""

    def __init__(self, net: Net, dealer: SimDealer, router: SimRouter) -> None:
        net.peers += 1
        self.net = net
        self.dealer = dealer
        self.router = router
        self.peer = b"%d-%s" % (net.peers, dealer.process.name.encode())
        self.alive = True
        self.router_knows = False  # that it is closed
        self.clogged_until = 0.0
        # Some are slow: what goes another way comes first.
        self._slowness = net.world.random.choice((1, 1, 1, 50))
        self._under_way: dict[bool, deque[Frames]] = {True: deque(), False: deque()}
        self._due = {True: 0.0, False: 0.0}
        net.wires[self] = None
        router.wires[self.peer] = self

    def send(self, up: bool, frames: Frames) -> None:
        if not self.alive:
            return  # one end does not know yet
        world = self.net.world
        self._under_way[up].append(tuple(frames))
        due = self._due[up] = max(self._due[up], world.now + self._slowness * self.net.latency())
        world.due((self, up), due - world.now, partial(self._deliver, up))

    def _deliver(self, up: bool) -> None:
        """The next one arrives: as often as something was sent, so in order, whatever was held up."""
        if not self.alive:
            return
        net, until = self.net, self.clogged_until
        if net.apart(self.dealer.process, self.router.process):
            until = max(until, net.apart_until)
        if until > net.world.now:
            net.world.at(until - net.world.now, partial(self._deliver, up))
            return
        frames = self._under_way[up].popleft()
        if net.repeats is not None:
            frames = net.repeats.of(self, up, frames)
        self.arrive(up, frames)

    def arrive(self, up: bool, frames: Frames) -> None:
        if not self.alive:
            return
        if up:
            self.router.take(self.peer, frames)
        else:
            self.dealer.take(frames)

    def cut(self, dealer_delay: float, router_delay: float) -> None:
        """The connection breaks; its ends notice after so long."""
        if not self.alive:
            return
        self.alive = False
        self.dealer.cuts += 1
        self.dealer.process.cut_off(self.router.process)
        world = self.net.world
        del self.net.wires[self]
        arriving = self._under_way[True]
        for frames in islice(arriving, world.random.randint(0, len(arriving))):
            self.router.take(self.peer, frames)
        world.at(router_delay, lambda: self.router.notice(self))
        world.at(dealer_delay, lambda: self.dealer.notice(self))


class SimRouter:
    """Listens at an address, for as long as its process lives."""

    def __init__(self, net: Net, process: Process, address: str) -> None:
        self.net = net
        self.process = process
        self.address = address
        self.wires: dict[bytes, Wire] = {}
        self._met: dict[bytes, None] = {}  # peers that have said something
        self._inbox: list[tuple[bytes, Frames]] = []
        self._gone: list[bytes] = []
        net.routers[address] = self
        process.channels[self] = None

    def receive(self) -> list[tuple[bytes, Frames]]:
        received, self._inbox = self._inbox, []
        for peer, _ in received:
            self._met[peer] = None
        return received

    def gone(self) -> list[bytes]:
        gone, self._gone = self._gone, []
        return gone

    def send(self, peer: bytes, frames: Frames) -> bool:
        wire = self.wires.get(peer)
        if wire is not None and not wire.router_knows:
            wire.send(False, frames)
            return True
        self._forget(peer)
        return False

    def close(self) -> None:
        self.net.routers.pop(self.address, None)
        self.process.channels.pop(self, None)
        for wire in tuple(self.wires.values()):
            wire.cut(self.net.latency(), 0.0)

    # Called by wires

    def take(self, peer: bytes, frames: Frames) -> None:
        self._inbox.append((peer, frames))
        self.process.wake()

    def notice(self, wire: Wire) -> None:
        """From now on a send fails. Who has said nothing yet is not missed, until that happens."""
        wire.router_knows = True
        self.wires.pop(wire.peer, None)
        self._forget(wire.peer)

    def _forget(self, peer: bytes) -> None:
        if peer in self._met:
            del self._met[peer]
            self._gone.append(peer)
            self.process.wake()


class SimDealer:
    """Connects to an address, again whenever that breaks. Nothing is queued without a connection."""

    def __init__(self, net: Net, process: Process, address: str) -> None:
        self.net = net
        self.process = process
        self.address = address
        self.cuts = 0  # connections that have broken
        self._wire: Wire | None = None
        self._events: list[str] = []
        self._inbox: list[Frames] = []
        self._closed = False
        self._told_at = 0.0  # when the monitor tells the last of what it has to tell
        process.channels[self] = None
        process.later(net.latency(), self._dial)

    def events(self) -> list[str]:
        events, self._events = self._events, []
        return events

    def receive(self) -> list[Frames]:
        inbox, self._inbox = self._inbox, []
        return inbox

    @property
    def ready(self) -> bool:
        return bool(self._events or self._inbox)

    def send(self, frames: Frames) -> bool:
        if self._wire is None:
            return False
        self._wire.send(True, frames)
        return True

    def close(self, linger: float = 0) -> None:
        self._closed = True
        self.process.channels.pop(self, None)
        if self._wire is not None:
            self._wire.cut(0.0, self.net.latency())

    def _dial(self) -> None:
        if self._closed or self._wire is not None:
            return
        router = self.net.reach(self.process, self.address)
        if router is None:
            self._tell(UNREACHABLE)
            self._redial()
            return
        self._inbox.clear()  # nothing that came before the break is received after it
        self._wire = Wire(self.net, self, router)
        self._tell(CONNECTED)

    def _redial(self) -> None:
        self.process.later(self.net.world.random.uniform(*REDIAL_SECONDS), self._dial)

    def _tell(self, event: str) -> None:
        world = self.net.world
        due = world.now + world.random.random() * MONITOR_SECONDS
        self._told_at = max(self._told_at, due)
        world.at(self._told_at - world.now, lambda: self._told(event))

    def _told(self, event: str) -> None:
        if not self._closed:
            self._events.append(event)
            self.process.wake()

    # Called by wires

    def take(self, frames: Frames) -> None:
        if not self._closed:
            self._inbox.append(frames)
            self.process.wake()

    def notice(self, wire: Wire) -> None:
        if self._closed:
            return
        self._wire = None
        # Some of what had come may still be read, before there is a new connection.
        del self._inbox[self.net.world.random.randint(0, len(self._inbox)) :]
        self._tell(DISCONNECTED)
        self._redial()
