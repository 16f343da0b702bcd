"""Stands for `distributed.nanny`: says who lives, why one died, and brings a new one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from distributed.codec import decode, encode
from distributed.messages import (
    PROTOCOL,
    PYTHON,
    Alive,
    Died,
    HelloAgain,
    Kill,
    Message,
    NannyHello,
)
from distributed.transport import CONNECTED, DISCONNECTED
from tests.sim import scheduler
from tests.sim.net import Net, SimDealer
from tests.sim.worker import START_AGAIN, OnDeath, Worker
from tests.sim.world import Process

ALIVE_SECONDS = 1.0
# How long it waits before it tries again what it had no room for.
PUT_OFF_SECONDS = (0.5, 8.0)
# How long a new process takes until it dials.
START_SECONDS = (0.2, 1.0)


class Nanny(Process):
    """`start(on_death)` starts one more worker process of ours."""

    def __init__(
        self,
        net: Net,
        name: str,
        start: Callable[[str, OnDeath], Worker],
        count: int,
        on_death: Callable[[], object],
    ) -> None:
        super().__init__(net.world, name)
        self.workers: list[Worker] = []
        self.full_until = 0.0  # no room on the disk for what a new worker needs
        self._start = start
        self._on_death = on_death
        self._dealer = SimDealer(net, self, scheduler.ADDRESS)
        self._connected = False
        self._unsent: deque[Died] = deque()
        for _ in range(count):
            self._bring()
        self._tell_who_lives()

    @property
    def was_cut_off(self) -> bool:
        """So the scheduler may not have heard how its workers died."""
        return self._dealer.cuts > 0

    def _bring(self) -> None:
        if self.world.now < self.full_until:
            self.later(self.world.random.uniform(*PUT_OFF_SECONDS), self._bring)
            return
        worker = self._start(
            self.name,
            lambda reason, running: self.soon(lambda: self._died(worker, reason, running)),
        )
        self.workers.append(worker)

    def _died(self, worker: Worker, reason: str, running: list[int]) -> None:
        self.workers.remove(worker)
        if reason != START_AGAIN:
            self._report(Died(worker.name, reason, "", running, ""))
        self.later(self.world.random.uniform(*START_SECONDS), self._bring)

    def _report(self, died: Died) -> None:
        if self._connected:
            self._say(died)
        else:
            self._unsent.append(died)

    def die(self, reason: str) -> None:
        """Its workers end with it."""
        if self.alive:
            super().die(reason)
            for worker in tuple(self.workers):
                worker.die("its nanny has ended")
            self._on_death()

    def _tell_who_lives(self) -> None:
        if self._connected:
            self._say(Alive([worker.name for worker in self.workers if not worker.paused]))
        self.after(ALIVE_SECONDS, self._tell_who_lives)

    def turn(self) -> None:
        for event in self._dealer.events():
            if event == CONNECTED:
                self._connected = True
                self._say(NannyHello(self.name, PROTOCOL, PYTHON))
                while self._unsent:
                    self._say(self._unsent.popleft())
            elif event == DISCONNECTED:
                self._connected = False
        for frames in self._dealer.receive():
            for message in decode(frames[0]):
                if isinstance(message, HelloAgain):
                    self._say(NannyHello(self.name, PROTOCOL, PYTHON))
                elif isinstance(message, Kill):
                    self._kill(message)

    def _kill(self, message: Kill) -> None:
        for worker in tuple(self.workers):
            if worker.name in message.workers:
                worker.die(message.reason, ordered=True)

    def _say(self, message: Message) -> None:
        self._dealer.send((encode([message]),))
