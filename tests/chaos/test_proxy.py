"""The wire that can be cut."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.chaos.proxy import Proxy


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        yield listener


@pytest.fixture
def proxy(listener: socket.socket) -> Iterator[Proxy]:
    proxy = Proxy(*listener.getsockname())
    yield proxy
    proxy.close()


def connect(proxy: Proxy) -> socket.socket:
    host, _, port = proxy.place.partition(":")
    return socket.create_connection((host, int(port)), 5)


def is_broken(sock: socket.socket) -> bool:
    try:
        return sock.recv(10) == b""
    except ConnectionError:
        return True


def test_bytes_pass_both_ways_until_it_is_cut(proxy: Proxy, listener: socket.socket) -> None:
    with connect(proxy) as near, listener.accept()[0] as far:
        near.sendall(b"to")
        assert far.recv(10) == b"to"
        far.sendall(b"fro")
        assert near.recv(10) == b"fro"
        proxy.cut()
        assert is_broken(near) and is_broken(far)
    with connect(proxy) as refused:
        assert is_broken(refused)
    proxy.heal()
    with connect(proxy) as near, listener.accept()[0] as far:
        near.sendall(b"again")
        assert far.recv(10) == b"again"


def test_what_is_held_comes_later(proxy: Proxy, listener: socket.socket) -> None:
    with connect(proxy) as near, listener.accept()[0] as far:
        proxy.hold()
        near.sendall(b"late")
        far.settimeout(0.1)
        with pytest.raises(TimeoutError):
            far.recv(10)
        proxy.heal()
        far.settimeout(5)
        assert far.recv(10) == b"late"


def test_the_end_of_one_side_is_the_end_of_the_other(proxy: Proxy, listener: socket.socket) -> None:
    with connect(proxy) as near:
        with listener.accept()[0]:
            pass
        assert is_broken(near)


def test_where_nobody_listens(proxy: Proxy, listener: socket.socket) -> None:
    listener.close()
    with connect(proxy) as near:
        assert is_broken(near)
