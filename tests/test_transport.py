"""Sockets: who is there, who has gone, and how to be woken."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distributed.transport import (
    CONNECTED,
    DISCONNECTED,
    REFUSED,
    UNREACHABLE,
    Address,
    Channel,
    Context,
    Dealer,
    Poller,
    Router,
    is_loopback,
    parse_address,
    reachable_host,
)

# ZeroMQ's protocol, but a security mechanism that nobody has.
GREETING_OF_ANOTHER_KIND = (
    b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"BOGUS".ljust(20, b"\0") + bytes(32)
)

Make = Callable[..., Any]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes channels, and closes them at the end."""
    context: Any = Context()
    made: list[Any] = []

    def make(kind: Any, *arguments: Any) -> Any:
        made.append(kind(context, *arguments))
        return made[-1]

    yield make
    for channel in made:
        channel.close(0)
    context.term()


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller()
    yield poller
    poller.close()


def until(poller: Poller, look: Callable[[], Any], seconds: float = 5.0) -> Any:
    """Poll until it finds something; returns that."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline
        poller.arm()
        poller.wait(0.02)
    return found


def connect(make: Make, poller: Poller, router: Router) -> Dealer:
    dealer: Dealer = make(Dealer, router.address)
    poller.add(dealer)
    assert until(poller, dealer.events) == [CONNECTED]
    return dealer


def test_messages_go_both_ways(make: Make, poller: Poller) -> None:
    router = make(Router, "127.0.0.1", 0)
    poller.add(router)
    dealer = connect(make, poller, router)
    assert dealer.send((b"one", b"x" * 1_000_000))
    ((peer, frames),) = until(poller, router.receive)
    assert frames[0] == b"one" and bytes(frames[1]) == b"x" * 1_000_000
    assert router.send(peer, (b"two",))
    assert until(poller, dealer.receive) == [[b"two"]]


def test_ipv6(make: Make, poller: Poller) -> None:
    router = make(Router, "::1", 0)
    poller.add(router)
    assert router.address.url == f"tcp://[::1]:{router.address.port}"
    assert connect(make, poller, router).send((b"one",))
    ((_, frames),) = until(poller, router.receive)
    assert frames == [b"one"]
    with pytest.raises(OSError, match=r"cannot listen at \[::1\]:\d+: Address already in use"):
        make(Router, *router.address)


@pytest.mark.parametrize("alone", [False, True])
def test_nothing_is_missed_whatever_the_order(make: Make, poller: Poller, alone: bool) -> None:
    """Sending takes note of what has come, and then no descriptor tells of it."""
    router = make(Router, "127.0.0.1", 0, alone)
    poller.add(router)
    dealer = connect(make, poller, router)
    dealer.send((b"hello",))
    ((peer, _),) = until(poller, router.receive)
    received = 0
    for number in range(300):
        router.send(peer, (b"%d" % number,))
        dealer.send((b"x",))
        received += len(until(poller, dealer.receive))
        router.receive()
    until(poller, lambda: received == 300 or dealer.receive())


def test_who_goes_is_named(make: Make, poller: Poller) -> None:
    router = make(Router, "127.0.0.1", 0)
    poller.add(router)
    peers = []
    dealers = [connect(make, poller, router) for _ in range(3)]
    for dealer in dealers:
        dealer.send((b"hello",))
        ((peer, _),) = until(poller, router.receive)
        peers.append(peer)
    poller.remove(dealers[1])
    dealers[1].close(0)
    assert until(poller, router.gone) == [peers[1]]
    assert not router.send(peers[1], (b"x",))
    assert router.send(peers[0], (b"x",))
    assert router.gone() == []


def test_a_router_that_comes_back_is_found_again(make: Make, poller: Poller) -> None:
    router = make(Router, "127.0.0.1", 0)
    dealer = connect(make, poller, router)
    router.close(0)
    assert until(poller, dealer.events)[0] == DISCONNECTED
    # The socket learns of it a few milliseconds after its monitor.
    until(poller, lambda: not dealer.send((b"lost",)))
    make(Router, "127.0.0.1", router.address.port)
    until(poller, lambda: CONNECTED in dealer.events())
    assert dealer.send((b"found",))


def test_what_was_not_read_before_the_break_never_is(make: Make, poller: Poller) -> None:
    """Or a lock that was granted by a scheduler that is dead would be taken for granted by the next."""
    context: Any = Context()
    router = Router(context, "127.0.0.1", 0)
    dealer = connect(make, poller, router)
    dealer.send((b"hello",))
    ((peer, _),) = until(poller, router.receive)
    router.send(peer, (b"old",))
    until(poller, dealer.has_input)
    router.close()
    context.term()
    router = make(Router, "127.0.0.1", dealer.address.port)
    until(poller, lambda: CONNECTED in dealer.events())
    assert dealer.receive() == []
    dealer.send((b"hello",))
    ((peer, _),) = until(poller, router.receive)
    router.send(peer, (b"new",))
    assert until(poller, dealer.receive) == [[b"new"]]


def test_nobody_there_and_somebody_else(make: Make, poller: Poller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        stranger = make(Dealer, Address("127.0.0.1", port))
        poller.add(stranger)
        accepted, _ = server.accept()
        with accepted:
            accepted.sendall(GREETING_OF_ANOTHER_KIND)
            found: list[str] = []
            until(poller, lambda: found.extend(stranger.events()) or REFUSED in found)
    poller.remove(stranger)
    nobody = make(Dealer, Address("127.0.0.1", port))
    poller.add(nobody)
    assert until(poller, nobody.events)[0] == UNREACHABLE
    assert not nobody.send((b"x",))


def test_a_taken_port_is_named(make: Make) -> None:
    router = make(Router, "127.0.0.1", 0)
    context: Any = Context()
    text = f"cannot listen at 127.0.0.1:{router.address.port}: Address already in use"
    with pytest.raises(OSError, match=text):
        Router(context, "127.0.0.1", router.address.port)
    context.term()


@pytest.mark.parametrize("awake", [0.0, 40.0])
def test_another_thread_can_wake_it(poller: Poller, awake: float) -> None:
    for _ in range(100):
        poller.arm()
        thread = threading.Thread(target=poller.wake)
        thread.start()
        start = time.monotonic()
        assert poller.wait(30, awake) == {}
        assert time.monotonic() - start < 10
        thread.join()


def test_being_awake_takes_no_longer_than_the_wait(poller: Poller) -> None:
    start = time.monotonic()
    assert poller.wait(0.05, awake=30.0) == {}
    assert 0.05 <= time.monotonic() - start < 10


def test_noise_does_not_disturb_a_router(make: Make, poller: Poller) -> None:
    router = make(Router, "127.0.0.1", 0)
    poller.add(router)
    for _ in range(50):
        with socket.create_connection((router.address.host, router.address.port)) as noise:
            noise.sendall(b"\xff" * 100)
    dealer: Channel = connect(make, poller, router)
    dealer.send((b"hello",))  # type: ignore[call-arg, arg-type]
    ((_, frames),) = until(poller, router.receive)
    assert frames == [b"hello"]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "8786",
        "host:",
        ":8786",
        "host:port",
        "http://host:80",
        "host:99999",
        "::1:8786",
        "[::1]",
    ],
)
def test_what_is_not_an_address_is_refused(value: str) -> None:
    with pytest.raises(ValueError):
        parse_address(value)


@pytest.mark.parametrize("value", ["[::1]:8786", "tcp://[::1]:8786/", ("::1", 8786)])
def test_an_ipv6_address_stands_in_brackets(value: object) -> None:
    assert parse_address(value) == Address("::1", 8786)
    assert parse_address(value).place == "[::1]:8786"


def test_an_ipv6_address_without_brackets_is_told_of_them() -> None:
    with pytest.raises(ValueError, match="stands in brackets"):
        parse_address("::1:8786")


def test_a_channel_may_be_opened_as_soon_as_another_is_closed() -> None:
    with Context() as context:
        for _ in range(200):
            Dealer(context, Address("127.0.0.1", 1)).close(0)


def test_hosts() -> None:
    assert is_loopback("127.0.0.1") and is_loopback("localhost")
    assert is_loopback("::1") and not is_loopback("::")
    assert not is_loopback("0.0.0.0") and not is_loopback("10.0.0.1")
    assert reachable_host("10.0.0.7", Address("10.0.0.1", 1)) == "10.0.0.7"
    assert reachable_host("0.0.0.0", Address("127.0.0.1", 1)) == "127.0.0.1"
    assert reachable_host("", Address("::1", 1)) == "::1"


def test_a_signal_ends_the_wait_and_is_harmless_after_the_end() -> None:
    caught: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: caught.append(number))
    poller = Poller()
    try:
        signal.set_wakeup_fd(poller.wake_descriptor)
        signal.raise_signal(signal.SIGUSR1)
        start = time.monotonic()
        poller.wait(30)
        assert time.monotonic() - start < 10
    finally:
        poller.close()
        assert signal.set_wakeup_fd(-1) == -1, "it would write to a descriptor that is closed"
        signal.signal(signal.SIGUSR1, before)
    assert caught == [signal.SIGUSR1]


def test_a_wake_that_comes_after_the_end_is_harmless() -> None:
    """Its descriptor may be somebody else's by then."""
    poller = Poller()
    poller.arm()
    poller.close()
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        poller.wake()
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize(
    "noise",
    [
        b"\x01\x00" + b"\x01\x00" + b"\x05\x00abcd",  # ZMTP 1.0: an identity, and two messages
        b"\x47ET / HTTP/1.1".ljust(200, b"\x20"),
    ],
)
def test_what_is_not_zmtp_3_is_not_heard(make: Make, poller: Poller, noise: bytes) -> None:
    router = make(Router, "127.0.0.1", 0)
    poller.add(router)
    with socket.create_connection(router.address) as stranger:
        stranger.sendall(noise)
        dealer = connect(make, poller, router)
        assert dealer.send((b"one of us",))
        ((_, frames),) = until(poller, router.receive)
        assert frames == [b"one of us"]
