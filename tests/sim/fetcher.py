"""`transfer.Fetcher` itself, over the pretended network."""

from __future__ import annotations

from typing import Any

from distributed.transfer import Fetcher, _Link
from tests.sim.net import Net, SimDealer
from tests.sim.world import Process


class SimFetcher(Fetcher):
    """`tidy` must not be called: it asks the real clock."""

    def __init__(self, net: Net, process: Process) -> None:
        super().__init__(None, _Unpolled())  # type: ignore[arg-type]
        self._net = net
        self._process = process

    def _link(self, address: str) -> _Link:
        link = self._links.get(address)
        if link is None:
            dealer: Any = SimDealer(self._net, self._process, address)
            link = self._links[address] = self._by_channel[dealer] = _Link(address, dealer)
        return link

    def turn(self) -> None:
        """Handle all that has come."""
        for channel in [channel for channel in self._by_channel if channel.ready]:  # type: ignore[attr-defined]
            self.handle(channel)


class _Unpolled:
    """The dealers wake their process themselves."""

    def add(self, channel: Any) -> None:
        pass

    def remove(self, channel: Any) -> None:
        pass
