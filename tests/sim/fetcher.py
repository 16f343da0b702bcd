"""`transfer.Fetcher` itself, over the pretended network."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from distributed.transfer import Fetcher, _Link
from tests.sim.net import Net, SimDealer
from tests.sim.world import Process

# As often as a loop looks up.
RETRY_SECONDS = 0.5


class SimFetcher(Fetcher):
    """`tidy` must not be called: it asks the real clock."""

    def __init__(self, net: Net, process: Process) -> None:
        super().__init__(None, _Unpolled(), clock=lambda: net.world.now)  # type: ignore[arg-type]
        self._may_complain: Callable[[], bool] = lambda: False
        self.full_until = 0.0  # no descriptor is free before
        self._net = net
        self._process = process

    def _link(self, address: str) -> _Link:
        link = self._links.get(address)
        if link is None:
            if self._net.world.now < self.full_until:
                raise OSError(errno.EMFILE, "Too many open files")
            dealer: Any = SimDealer(self._net, self._process, address)
            link = self._links[address] = self._by_channel[dealer] = _Link(address, dealer)
        return link

    def turn(self) -> None:
        """Handle all that has come."""
        if self.short:
            self.retry()
            self._process.later(RETRY_SECONDS, self._process.wake)
        for channel in [channel for channel in self._by_channel if channel.ready]:  # type: ignore[attr-defined]
            self.handle(channel)


class _Unpolled:
    """The dealers wake their process themselves."""

    def add(self, channel: Any) -> None:
        pass

    def remove(self, channel: Any) -> None:
        pass
