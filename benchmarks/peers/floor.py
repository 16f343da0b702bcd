"""The floor (`../floor.py`): what can be said of it."""

from __future__ import annotations

import zmq

from benchmarks import floor
from benchmarks.system import Figures, System


class Floor(System):
    def __init__(self) -> None:
        self.name = f"the floor, libzmq {zmq.zmq_version()}, pyzmq {zmq.__version__}"
        self._pipeline = floor.pipeline()
        self._rate = self._pipeline.__enter__()
        self.own = {"map": self._map, "latency": self._latency}

    def _map(self, size: int, start: int) -> Figures:
        return {"rate": self._rate(size)}

    def _latency(self, size: int, start: int) -> Figures:
        """A round trip of one byte."""
        return {"p50": floor.round_trip(size) * 1e6}

    def close(self) -> None:
        self._pipeline.__exit__(None, None, None)


def start() -> Floor:
    return Floor()
