"""Bulk data over real sockets."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import zmq

from distributed import transfer
from distributed.codec import encode
from distributed.core.streams import PART_BYTES
from distributed.messages import (
    Goodbye,
    Part,
)
from distributed.transfer import LINK_DESCRIPTORS, Fetcher, Server
from distributed.transport import CONNECTED, Context, Dealer, Poller, Router
from tests.chaos.proxy import Proxy


class Pair:
    """A server that has some data, and somebody who wants it, in one loop."""

    def __init__(self) -> None:
        self.context: Any = Context()
        self.poller = Poller()
        self.router = Router(self.context, "127.0.0.1", 0)
        self.address = self.router.address.url
        self.poller.add(self.router)
        self.data: dict[str, Any] = {}
        self.accepted: list[Any] = []
        self.server = Server(self.router, self._collect, lambda *item: self.accepted.append(item))
        self.fetcher = Fetcher(self.context, self.poller)
        self.items: dict[str, Any] = {}
        self.ends: list[str | None] = []

    def _collect(self, keys: Any, reply: Any) -> None:
        reply([(key, 0, self.data.get(key)) for key in keys])

    def get(self, *keys: str, address: str = "") -> None:
        self.fetcher.get(address or self.address, keys, self._take, self.ends.append)

    def _take(self, items: Any) -> None:
        self.items.update((key, frames) for key, _, frames in items)

    def until(self, condition: Callable[[], Any], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            self.poller.arm()
            if self.fetcher.short:
                self.fetcher.retry()
            for channel in self.poller.wait(0.05):
                if self.fetcher.owns(channel):
                    self.fetcher.handle(channel)
                elif channel is self.router:
                    self.server.handle()

    def close(self) -> None:
        self.fetcher.close()
        self.router.close(0)
        self.poller.close()
        self.context.term()


@contextmanager
def no_descriptors() -> Iterator[list[int]]:
    """Every descriptor of this process is in use meanwhile; those in the list may be closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = os.dup(0)
    os.close(last)
    resource.setrlimit(resource.RLIMIT_NOFILE, (last + 50, hard))
    files: list[int] = []
    try:
        try:
            while True:
                files.append(os.dup(0))
        except OSError:
            yield files
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


def test_data_arrives_with_what_is_missing_and_what_cannot_be_sent(pair: Pair) -> None:
    pair.data = {"a": [b"head", b"x" * 100_000], "c": "it cannot be pickled"}
    pair.get("a", "b", "c")
    pair.until(lambda: pair.ends)
    assert [bytes(frame) for frame in pair.items["a"]] == pair.data["a"]
    assert (pair.items["b"], pair.items["c"]) == (None, "it cannot be pickled")
    assert pair.ends == [None]


def test_large_data_arrives_in_parts(pair: Pair) -> None:
    large = bytes(range(256)) * (20 * PART_BYTES // 256) + b"end"
    pair.data = {"a": [large], "b": [b"small"]}
    pair.get("a", "b")
    pair.get("b")
    pair.until(lambda: len(pair.ends) == 2)
    assert bytes(pair.items["a"][0]) == large
    assert pair.server._outgoing == {}


def test_data_can_be_brought(pair: Pair) -> None:
    large = b"x" * (10 * PART_BYTES)
    pair.fetcher.put(pair.address, [("a", 7, [large]), ("b", 8, [b"1", b""])], pair.ends.append)
    pair.until(lambda: pair.ends)
    assert pair.ends == [None]
    ((key, number, frames), second) = pair.accepted
    assert (key, number, bytes(frames[0])) == ("a", 7, large)
    assert (second[0], [bytes(frame) for frame in second[2]]) == ("b", [b"1", b""])
    assert pair.server._incoming == {}


def test_a_worker_that_is_not_there_fails_the_request(pair: Pair) -> None:
    pair.get("a", address="tcp://127.0.0.1:9")
    pair.until(lambda: pair.ends)
    assert "unreachable" in str(pair.ends[0])


@pytest.mark.parametrize("address", ["nowhere", "tcp://no where:1", "tcp://[::1:1", "tcp://x:0"])
def test_what_is_no_address_fails_the_request(pair: Pair, address: str) -> None:
    pair.get("a", address=address)
    pair.fetcher.put(address, [], pair.ends.append)
    pair.until(lambda: len(pair.ends) == 2)
    assert all(str(end).startswith(f"{address}: ") for end in pair.ends)


def test_a_worker_that_goes_fails_the_requests(pair: Pair) -> None:
    pair.data = {"a": [b"1"]}
    pair.get("a")
    pair.until(lambda: pair.ends)
    pair.server = Server(pair.router, lambda keys, reply: None, lambda *item: None)
    pair.get("a")
    pair.get("a")
    pair.poller.remove(pair.router)
    pair.router.close(0)
    pair.until(lambda: len(pair.ends) == 3)
    assert all("disconnected" in str(end) for end in pair.ends[1:])


def test_a_worker_that_stands_still_fails_the_requests(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections stay open: the kernel sees to that."""
    monkeypatch.setattr(transfer, "SILENCE_SECONDS", 0.6)
    wire = Proxy(*pair.router.address)
    pair.data = {"a": [b"1"]}
    address = f"tcp://{wire.place}"
    try:
        pair.get("a", address=address)
        pair.until(lambda: pair.ends)
        wire.hold()
        pair.get("a", address=address)
        pair.until(lambda: len(pair.ends) == 2)
        assert pair.ends == [None, f"{address}: the connection is disconnected"]
    finally:
        wire.close()


def test_nonsense_harms_nobody_else(pair: Pair) -> None:
    dealer = Dealer(pair.context, pair.router.address)
    pair.poller.add(dealer)
    pair.until(lambda: dealer.events() == [CONNECTED])
    for frames in ((b"\xff",), (encode([Goodbye()]),), (encode([Part(1, True, None, True)]), b"1")):
        dealer.send(frames)
    pair.data = {"a": [b"1"]}
    pair.get("a")
    pair.until(lambda: pair.ends)
    assert pair.ends == [None]
    pair.poller.remove(dealer)
    dealer.close(0)


def test_without_descriptors_a_request_waits_for_them(pair: Pair) -> None:
    pair.data = {"a": [b"head", b"x" * 1000]}
    with no_descriptors() as files:
        pair.get("a")
        pair.get("a")
        assert pair.fetcher.short and pair.ends == []
        pair.fetcher.retry()
        assert pair.ends == []
        for _ in range(LINK_DESCRIPTORS + 1):  # and one for the other end
            os.close(files.pop())
        pair.until(lambda: len(pair.ends) == 2)
    assert pair.ends == [None, None] and "a" in pair.items


def test_but_not_for_ever(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SHORTAGE_SECONDS", 0.0)
    with no_descriptors():
        pair.get("a")
        pair.until(lambda: pair.ends)
    assert "no connection can be opened: Too many open files" in str(pair.ends[0])


def test_a_reserve_is_asked_for_descriptors(pair: Pair) -> None:
    pair.data = {"a": [b"head"]}
    asked: list[int] = []
    with no_descriptors() as files:

        def lend(count: int) -> bool:
            asked.append(count)
            for _ in range(count + 1):
                os.close(files.pop())
            return True

        pair.fetcher._lend = lend
        pair.get("a")
        pair.until(lambda: pair.ends)
    assert (asked, pair.ends) == ([LINK_DESCRIPTORS], [None])


def test_large_frames_are_copied_where_nothing_can_be_opened(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.data = {"a": [b"head"], "b": [b"x" * 1_000_000]}
    pair.get("a")
    pair.until(lambda: pair.ends)
    # As before the first of them: pyzmq's thread would have to be started.
    monkeypatch.setattr(zmq.utils.garbage.gc, "is_alive", lambda: False)
    with no_descriptors():
        pair.get("b")
        pair.until(lambda: len(pair.ends) == 2)
    assert len(pair.items["b"][0]) == 1_000_000


def test_more_links_are_open_at_once_than_libzmq_allows_by_itself() -> None:
    context = Context()
    sockets = [context.socket(zmq.PAIR) for _ in range(1100)]
    for sock in sockets:
        sock.close(0)
    context.term()
