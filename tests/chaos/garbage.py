"""What nobody should send: bytes that are not ZeroMQ, ZeroMQ that is not ours, messages without sense."""

from __future__ import annotations

import socket
import time
from random import Random
from typing import Any, get_type_hints

import msgpack
import zmq

from distributed.messages import (
    CODES,
    MESSAGES,
    PROTOCOL,
    PYTHON,
    ClientHello,
    Heartbeat,
    NannyHello,
    Restart,
    Stop,
    WorkerHello,
)

SOCKET_SECONDS = 1.0
# What any client may order, and the cluster has to obey. What comes before any hello is not obeyed.
ORDERS = {CODES[Stop], CODES[Restart]}
HELLOS = {CODES[kind] for kind in (ClientHello, NannyHello, WorkerHello)}

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16) + b"\x00" + bytes(31)
OPENINGS = (
    b"",
    b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    b"SSH-2.0-OpenSSH_9.0\r\n",
    GREETING[:11],
    GREETING,
    GREETING + b"\x02" + (1 << 62).to_bytes(8, "big"),  # a frame longer than any memory
    GREETING
    + b"\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00",
)


def raw(host: str, port: int, random: Random) -> None:
    """A connection that begins as something and goes on as noise; it is closed one way or the other."""
    try:
        with socket.create_connection((host, port), SOCKET_SECONDS) as sock:
            sock.sendall(
                random.choice(OPENINGS) + random.randbytes(random.choice((0, 10, 100_000)))
            )
            if random.random() < 0.5:
                reset = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # as linger: at once, and with RST
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    except OSError:
        pass  # it was cut off in the middle, as it deserves; or nobody is there at the moment


def nonsense(host: str, port: int, random: Random, count: int = 50) -> None:
    """A peer that speaks ZeroMQ, and sends such messages. Perhaps it has said hello first."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
        sock.set(zmq.LINGER, 0)
        sock.set(zmq.SNDTIMEO, int(SOCKET_SECONDS * 1000))
        sock.set(zmq.RCVTIMEO, 50)
        sock.connect(f"tcp://{host}:{port}")
        kind = random.choice((None, ClientHello, NannyHello))
        try:
            if kind is not None:
                sock.send(batch(hello(random, kind)))
            for _ in range(count):
                sock.send_multipart(frames(random, HELLOS if kind is None else ORDERS))
            _read_for(sock, SOCKET_SECONDS / 10)
        except zmq.Again:
            pass  # nobody is there at the moment


def _read_for(sock: Any, seconds: float) -> None:
    """So that what was sent arrives."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            sock.recv_multipart()
        except zmq.Again:
            pass


def batch(*messages: tuple[Any, ...]) -> bytes:
    packed: bytes = msgpack.packb([(CODES[type(message)], *message) for message in messages])
    return packed


def hello(random: Random, kind: Any) -> tuple[Any, ...]:
    """A proper one of the kind, from somebody whom nobody knows."""
    fields = {
        name: _PROPER.get(name, _PROPER_TYPES.get(hint, ()))
        for name, hint in get_type_hints(kind).items()
    }
    found: tuple[Any, ...] = kind(*[f"chaos-{random.getrandbits(60)}", *list(fields.values())[1:]])
    return found


_PROPER = {"protocol": PROTOCOL, "python": PYTHON, "address": "tcp://127.0.0.1:1", "nthreads": 1}
_PROPER_TYPES: dict[Any, Any] = {str: "", int: 0, dict[str, float]: {}}


def frames(random: Random, without: set[int]) -> list[bytes]:
    """One message of this kind or that, never one of the codes `without`."""
    kind = random.randrange(5)
    if kind == 0:
        (draw,) = random.choices((_noise, _nested, _megabytes), (70, 29, 1))
        return [draw(random)]
    if kind == 1:
        return [msgpack.packb(thing(random))]
    if kind == 2:
        return [batch(Heartbeat(1)), random.randbytes(10), b""]
    code = random.choice([code for code in range(len(MESSAGES)) if code not in without])
    fields = [field(random, hint) for hint in get_type_hints(MESSAGES[code]).values()]
    frame: bytes = msgpack.packb([[code, *fields]])
    if kind == 3:
        return [frame, *(random.randbytes(3) for _ in range(random.choice((0, 0, 1, 2))))]
    # Without its end, with another, or with a field too many: never a message of another code.
    damaged = random.choice((frame[:-1], frame[:-1] + b"\xc1", msgpack.packb([[code, *fields, 1]])))
    return [damaged]


def _noise(random: Random) -> bytes:
    return random.randbytes(random.randrange(200))


def _nested(random: Random) -> bytes:
    """Arrays in arrays, as deep as msgpack goes and deeper, with something in or after them."""
    code = random.randrange(len(MESSAGES))
    inner = random.choice((b"", b"\xc0", b"\xc0\xc0", b"\xff" * 9, b"\x80\x80"))
    return bytes([0x91, 0x92, code]) + b"\x91" * random.choice((10, 1000, 1020, 100_000)) + inner


def _megabytes(random: Random) -> bytes:
    """Much of one thing: zeros, maps, text, messages."""
    count = random.choice((1 << 10, 1 << 20, 3 << 20))
    what = random.choice(
        (b"\x00", b"\x80", b"\x90", b"\x91\xa1x", b"\x91" + bytes([CODES[Heartbeat]]))
    )
    head = random.choice(
        (b"", b"\xdd" + count.to_bytes(4, "big"), b"\xdb" + count.to_bytes(4, "big"))
    )
    return head + what * count


def field(random: Random, hint: Any) -> Any:
    """Mostly of the type that it should have."""
    if random.random() < 0.1:
        return thing(random)
    if random.random() < 0.1:
        return layout(random)
    text = str(hint)
    if "tuple" in text:
        return [thing(random) for _ in range(random.randrange(4))]
    if "dict" in text:
        return {_word(random): thing(random) for _ in range(random.randrange(3))}
    if hint is bool:
        return random.random() < 0.5
    if hint is int:
        return random.choice((0, 1, -1, random.getrandbits(50), -(1 << 63), (1 << 64) - 1))
    return random.randbytes(9) if hint is bytes else _word(random)


def layout(random: Random) -> list[Any]:
    """Of data that somebody brings: well made, and a lie."""
    sizes = [random.choice((0, 3, 1 << 20, 1 << 62)) for _ in range(random.randrange(3))]
    return [[_word(random), random.getrandbits(40), random.choice((sizes, None, "no"))]]


def thing(random: Random, depth: int = 3) -> Any:
    """Whatever msgpack can say."""
    kind = random.randrange(9 if depth else 7)
    if kind == 7:
        return [thing(random, depth - 1) for _ in range(random.randrange(5))]
    if kind == 8:
        return {_word(random): thing(random, depth - 1) for _ in range(random.randrange(4))}
    return (
        None,
        random.random() < 0.5,
        random.randrange(-5, 300),
        random.choice((float("nan"), float("inf"), -0.0, 1e300)),
        _word(random),
        random.randbytes(random.randrange(20)),
        random.getrandbits(63),
    )[kind]


def _word(random: Random) -> str:
    return random.choice(("x", "", "\0", "127.0.0.1:1", "tcp://127.0.0.1:1", "../..", "\u2603" * 5))
