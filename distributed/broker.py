"""The scheduler process: one ROUTER socket and one poll loop around `core/scheduler.py`.

The loop reads all that has come, lets the core decide once, and sends one message to each peer that is
owed something. Under load that makes batches; idle, it makes no delay.
"""

from __future__ import annotations

import logging
import time
import uuid
from typing import Any

from distributed.codec import encode_parts
from distributed.collecting import SeldomCollected
from distributed.core.patience import CLIENT_GRACE_SECONDS, SILENCE_SECONDS
from distributed.core.scheduler import SchedulerCore
from distributed.core.states import Effect, Exit, Log, Send, Tick
from distributed.descriptors import Doorkeeper
from distributed.intake import Intake
from distributed.keys import shown_text
from distributed.transport import Context, Poller, Router

TICK_SECONDS = 0.25
# A scheduler that may have had a predecessor at its address gives no lock away before the clients of that
# one have had so long to find it and to say what they hold.
LOCK_GRACE_SECONDS = 5.0
# How soon to look again at a connection that may have closed.
SUSPICION_SECONDS = 0.01
# When it has sent something and the cluster is nearly idle, the scheduler stays awake for so long. Somebody
# may wait for a single task, and its next message is near; a processor that sleeps takes long to wake, and
# longer to be as quick as before. With more to do it is the others that need the processors.
AWAKE_SECONDS = 0.0005

logger = logging.getLogger("distributed.scheduler")


class Broker:
    """A scheduler that listens on `host:port` (0: any free port) as soon as it exists.

    Raises OSError that names the address if it cannot be listened to. `idle_timeout`, in seconds, ends
    it after so long without clients and work. `worker_timeout` and `client_timeout`, in seconds, say when
    those that are silent are given up; see `core/patience.py`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8786,
        idle_timeout: float | None = None,
        worker_timeout: float = SILENCE_SECONDS,
        client_timeout: float = CLIENT_GRACE_SECONDS,
    ) -> None:
        self._context: Any = Context()
        try:
            self._router = Router(self._context, host, port, alone=True)
        except OSError:
            self._context.term()
            raise
        self.address = self._router.address
        self.id = uuid.uuid4().hex
        self._poller = Poller()
        self._poller.add(self._router)
        self._doorkeeper = Doorkeeper(self._router, self._poller, logger)
        # A port that was free is one that nobody knew.
        lock_grace = LOCK_GRACE_SECONDS if port else 0.0
        # Microseconds since 1970: no earlier scheduler has given out so many assignments by now.
        first_assignment = time.time_ns() // 1000
        self._core = SchedulerCore(
            self.id, idle_timeout, lock_grace, first_assignment, worker_timeout, client_timeout
        )
        self._intake = Intake(self._core.members.is_doomed)
        self._stopping = False
        self._next_tick = 0.0
        self._awake = 0.0  # seconds from the end of a turn

    def run(self) -> None:
        """Serve until `stop`, until a client ends the cluster, or until idle for too long."""
        try:
            # What is here stays, mostly, and what goes is no garbage: the core undoes its cycles.
            with SeldomCollected():
                while not self._stopping:
                    self._turn()
        finally:
            self._doorkeeper.close()
            self._router.close()
            self._poller.close()
            self._context.term()

    def stop(self) -> None:
        """End `run` soon. May be called from any thread and from a signal handler."""
        self._stopping = True
        self._poller.wake()

    @property
    def wake_descriptor(self) -> int:
        """For `signal.set_wakeup_fd`, so that a signal is noticed at once."""
        return self._poller.wake_descriptor

    def _turn(self) -> None:
        self._poller.arm()
        if not self._stopping:
            self._poller.wait(self._patience(), self._awake)
        if self._doorkeeper.short:
            self._doorkeeper.turn()
        if not self._intake.waits:
            gone = self._router.gone()  # before what they have sent is received
            self._intake.add(self._router.receive(), gone)
        events = self._intake.take()
        now = time.monotonic()
        if now >= self._next_tick:
            self._next_tick = now + TICK_SECONDS
            self._doorkeeper.tick()
            events.append((b"", Tick()))
        self._awake = 0.0
        if events:
            effects = self._core.handle(events, now)
            for effect in effects:
                self._carry_out(effect)
            if effects and self._core.nearly_idle:
                self._awake = AWAKE_SECONDS

    def _patience(self) -> float:
        if self._intake.waits:
            return 0.0
        if self._router.suspicious:
            return SUSPICION_SECONDS
        return max(0.0, self._next_tick - time.monotonic())

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            for frame in encode_parts(effect.batch):
                # If it cannot be sent, the peer has gone, and the next turn is told so.
                self._router.send(effect.peer, (frame,))
        elif isinstance(effect, Log):
            logger.warning("%s", shown_text(effect.text))
        elif isinstance(effect, Exit):
            logger.info("ends: %s", effect.reason)
            self._stopping = True
