"""Open files: how many this process may have, and what is done when there are no more.

Each connection and each open file takes a descriptor, and a process may only have as many as its limit
(`ulimit -n`). At the limit, libzmq's own thread tries to accept whoever is waiting at the door again and
again, as fast as it can, and a worker can neither fetch data nor give its own away. So a process that
others connect to keeps some descriptors in reserve, which tasks cannot take, and a `Doorkeeper` that spends
them.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import select
from typing import TYPE_CHECKING

from distributed.logs import Seldom

if TYPE_CHECKING:
    from distributed.transport import Poller, Router

# Descriptors that are kept for later. A link to another process takes four.
SPARES = 64
# Of these, the ones that are kept for links that this process makes itself: those who connect do not get
# them.
OUR_SPARES = 32
# With this few left nobody is let in.
LAST_SPARES = 8
# The soft limit is not raised beyond this: some programs, which tasks may start, close every descriptor up
# to the limit one by one.
MAX_LIMIT = 1 << 19
# How often the shortage is mentioned again.
COMPLAINT_SECONDS = 10.0

# What the system says when there are no descriptors left, to this process or to the whole machine.
SHORTAGES = (errno.EMFILE, errno.ENFILE)


def raise_limit() -> None:
    """Let this process have as many open files as it may; of the programs that it starts, too.

    Only in processes of our own: a session may rely on its limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_LIMIT if hard == resource.RLIM_INFINITY else min(hard, MAX_LIMIT)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        # The system has another limit that it does not tell (macOS has). Then it stays as it is.
        logging.getLogger("distributed").debug("the limit of open files stays %d", soft)


def are_left(count: int = 1) -> bool:
    """Whether this many more files could be opened now."""
    reserve = Reserve(count)
    enough = reserve.refill()
    reserve.close()
    return enough


class Reserve:
    """Descriptors that refer to nothing, and are closed when one is needed."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._spares: list[int] = []

    def __len__(self) -> int:
        return len(self._spares)

    def refill(self) -> bool:
        """Take back what was lent. False if there are not enough descriptors for that."""
        while len(self._spares) < self._size:
            try:
                self._spares.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                return False
        return True

    def lend(self, count: int) -> bool:
        """Close this many, for others to be opened; false if there are not as many."""
        if len(self._spares) < count:
            return False
        for _ in range(count):
            os.close(self._spares.pop())
        return True

    def close(self) -> None:
        """Give all of them up."""
        self.lend(len(self))


class Doorkeeper:
    """Sees to it that a process at its limit still serves those that are connected.

    When descriptors run short, newcomers get half of the reserve. Then the connection that has been silent
    for longest makes room for each: a member says something as soon as it is connected. When next to
    nothing is left, newcomers are let in and sent away at once: only so does libzmq stop trying. Members
    dial again by themselves, and are let in when there is room. `tick` is called now and then; while it
    has found a shortage (`short`), `turn` each time that the loop wakes.
    """

    def __init__(self, router: Router, poller: Poller, logger: logging.Logger) -> None:
        self.short = False
        self._router = router
        self._poller = poller
        self._logger = logger
        self._reserve = Reserve(SPARES)
        self._reserve.refill()
        self._sent_away = 0
        self._may_complain = Seldom(COMPLAINT_SECONDS)

    def tick(self) -> None:
        """Look whether descriptors have run short, or are there again."""
        short = not (self._reserve.refill() and are_left())
        if short is not self.short:
            self.short = short
            if short:
                self._poller.watch(self._router.listener)
            else:
                self._poller.unwatch(self._router.listener)
                self._logger.warning("there are enough descriptors for open files again")
        if short and self._may_complain():
            self._logger.warning("%s", self._complaint())

    def _complaint(self) -> str:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        text = (
            f"too many open files: this process may have {limit}, and {len(self._reserve)} of the "
            f"{SPARES} that it keeps in reserve are left; "
        )
        if self._sent_away:
            text += f"{self._sent_away} connections were sent away; "
            self._sent_away = 0
        return text + "close some, or raise the limit with `ulimit -n` before the start"

    def turn(self) -> None:
        """Let newcomers in, or send somebody away."""
        while len(self._reserve) <= LAST_SPARES and self._router.hang_up():
            self._sent_away += 1
        if not self._somebody_waits() or are_left():
            return
        if len(self._reserve) <= OUR_SPARES and self._router.hang_up():
            self._sent_away += 1
        else:
            self._reserve.lend(1)

    def _somebody_waits(self) -> bool:
        door = select.poll()
        door.register(self._router.listener, select.POLLIN)
        return bool(door.poll(0))

    def lend(self, count: int) -> bool:
        """Make room for a link of our own; false if nothing is left for that."""
        return self._reserve.lend(count)

    def close(self) -> None:
        """The loop has ended."""
        self._reserve.close()
