"""What the workloads run on workers."""

from __future__ import annotations

import random
import time
from typing import Any

from distributed import get_client


class Deliberate(Exception):
    """Raised by tasks that are to fail."""


def slowly_add(number: int, other: int, seconds: float = 0.0) -> int:
    if seconds:
        time.sleep(seconds)  # on a worker
    return number + other


def total(numbers: list[int]) -> int:
    return sum(numbers)


def fail(number: int) -> int:
    raise Deliberate(number)


def block_of(number: int, size: int) -> bytes:
    """Data that is too large to come with the news of it."""
    return random.Random(number).randbytes(size)


def mix(*blocks: bytes) -> bytes:
    """Of the same length as each."""
    whole = 0
    for block in blocks:
        whole ^= int.from_bytes(block, "little")
    return whole.to_bytes(len(blocks[0]), "little")


def sum_of_squares(limit: int, salt: int) -> int:
    """A task that submits others and waits for them."""
    client = get_client()
    squares = client.map(_square, [(n, salt) for n in range(limit)])
    return sum(client.gather(squares))


def _square(pair: tuple[int, int]) -> int:
    return pair[0] ** 2


def combine(*numbers: Any) -> int:
    """A node of a graph: depends on the order of its inputs."""
    result = 7
    for number in numbers:
        result = (result * 31 + number) % 1_000_003
    return result
