"""Stands for `distributed.broker`: a SchedulerCore and its socket."""

from __future__ import annotations

from typing import Any

from distributed.broker import LOCK_GRACE_SECONDS, TICK_SECONDS
from distributed.codec import decode, encode_parts
from distributed.core.invariants import check
from distributed.core.scheduler import SchedulerCore
from distributed.core.states import Client, Gone, Log, Send, Tick
from distributed.messages import Fire
from tests.sim.ledger import Ledger
from tests.sim.net import Net, SimRouter
from tests.sim.world import Process

ADDRESS = "tcp://scheduler:1"
# For workers and for clients, in seconds.
TIMEOUTS = (3.0, 10.0, 30.0)
# The invariants are walked after each batch while there are few tasks, and then so much more rarely that
# it does not take most of the time.
WALKED_TASKS = 6


class Scheduler(Process):
    # Whether messages get lost on a connection that holds. Otherwise, and as long as none comes twice, the
    # books are never wrong.
    lossy = False

    def __init__(self, net: Net, life: int, ledger: Ledger) -> None:
        super().__init__(net.world, "scheduler")
        self.life = life
        self.started = self.clock.now()
        self.core = SchedulerCore(
            f"epoch {life}",
            lock_grace=LOCK_GRACE_SECONDS,
            first_assignment=int(self.world.now * 1e6) + 1,
            worker_timeout=self.world.random.choice(TIMEOUTS),
            client_timeout=self.world.random.choice(TIMEOUTS),
        )
        self._net = net
        self._router = SimRouter(net, self, ADDRESS)
        self._ledger = ledger
        self.forgotten: dict[str, float] = {}  # clients, and when that was for the world
        self._clients: frozenset[str] = frozenset()
        self._tick_is_due = False
        self._unchecked = 0
        self.after(0.0, self._tick)

    def _tick(self) -> None:
        self._tick_is_due = True
        self.after(TICK_SECONDS, self._tick)
        self.wake()

    def turn(self) -> None:
        gone = self._router.gone()
        events: list[tuple[bytes, Any]] = []
        for peer, frames in self._router.receive():
            events += [(peer, message) for message in decode(frames[0])]
        events += [(peer, Gone()) for peer in gone]
        if self._tick_is_due:
            self._tick_is_due = False
            events.append((b"", Tick()))
        if events:
            self._handle(events)

    def _handle(self, events: list[tuple[bytes, Any]]) -> None:
        world = self.world
        world.events += len(events)
        if world.traced:
            for peer, message in events:
                if type(message) is not Tick:
                    world.say(self.name, f"< {peer.decode()}", message)
        fired = self._fired(events)
        for effect in self.core.handle(events, self.clock.now()):
            if isinstance(effect, Log) and effect.text.startswith("fired work "):
                if " has failed: " in effect.text:
                    self._ledger.failed.add(effect.text.split()[2])
                continue
            if isinstance(effect, Log) and (self.lossy or self._net.repeats is not None):
                world.say(self.name, "warns:", effect.text)
                continue
            assert isinstance(effect, Send), effect
            if world.traced:
                world.say(self.name, f"> {effect.peer.decode()}", effect.batch)
            for frame in encode_parts(effect.batch):
                self._router.send(effect.peer, (frame,))
        self._ledger.note_fired(fired)
        self._note_forgotten()
        self._unchecked += 1
        if self._unchecked * WALKED_TASKS > len(self.core.lifecycle.tasks):
            self.check()

    def _fired(self, events: list[tuple[bytes, Any]]) -> list[str]:
        """What clients fire of what they have not been told is cancelled."""
        peers = self.core.members.peers
        said = [(peers.get(peer), message) for peer, message in events if type(message) is Fire]
        heard = [m for sender, m in said if isinstance(sender, Client) and not sender.clearings]
        return [key for message in heard for key in message.keys]

    def _note_forgotten(self) -> None:
        clients = self.core.members.clients
        if len(clients) != len(self._clients):
            gone = self._clients - clients.keys()
            self.forgotten.update(dict.fromkeys(gone, self.world.now))
            self._clients = frozenset(clients)

    def check(self) -> None:
        self._unchecked = 0
        check(self.core)
        for task in self.core.lifecycle.tasks.values():
            if task.deaths:
                self._ledger.check_blame(task.key, len(task.deaths))

    def leftovers(self) -> list[Any]:
        """What should not be there once nobody wants anything."""
        core = self.core
        workers = core.members.workers.values()
        found: list[Any] = [*core.lifecycle.tasks.values(), *core.queues.no_worker]
        found += [*core.requests.collects, *core.requests.replications, *core.requests.restarts]
        found += [*core.queues.stuck.reasons, *core.queues.stuck.homeless, *core.locks.table]
        found += core.lifecycle.unsettled
        for client in core.members.clients.values():
            found += [*client.unsettled, *client.ahead]
        found += core.evictions.forced
        found += core.fired.trustees
        for worker in workers:
            tables = (
                worker.holds, worker.assigned, worker.incoming, worker.seceded, worker.started,
            )  # fmt: skip
            found += [(worker, table) for table in tables if table]
            found += [(worker, worker.stock.taken)] if worker.stock.taken else []
            found += [(worker, worker.stock.strays)] if worker.stock.strays else []
        return found

    def memories(self) -> list[Any]:
        """What should not be there once all clients have left, beside that."""
        core = self.core
        return [*core.members.clients.values(), *core.lifecycle.functions]
