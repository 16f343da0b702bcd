"""What tasks do. What each comes to is known beforehand, by evaluating the graph here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.sim.worker import Worker

# Functions, as they travel. All do the same; there are several so that they come and go.
BLOBS = {name: f"the code of {name}".encode() for name in "fgh"}
KIND = b"the type int"
# Most tasks are short; of the others the most that they take.
SHORT_SECONDS = (0.0, 0.0, 0.001, 0.02)
LONG_SECONDS = (1.0, 3.0, 20.0)
# However slow a worker is.
MAX_SECONDS = 100.0


class Spec(NamedTuple):
    """One key: what it is made of, and how its task behaves."""

    key: str
    inputs: tuple[str, ...]
    constant: int
    function: str
    seconds: float
    small: bool  # its value travels with the news that it is there
    nbytes: int
    retries: int = 0
    priority: int = 0
    raises: bool = False
    flaky: int = 0  # how often it fails, in all, before it works
    poison: bool = False  # kills its worker
    secedes: bool = False
    scattered: bool = False
    stuck: bool = False  # its value cannot leave its worker
    resources: dict[str, float] = {}  # noqa: RUF012 - of a tuple, which nobody changes
    time_limit: float = 0  # it may not run for longer; 0: no limit

    @property
    def arguments(self) -> bytes:
        return f"{self.constant} and {' '.join(self.inputs)}".encode()

    @property
    def error(self) -> bytes:
        return f"the exception of {self.key}".encode()

    def value(self, inputs: Iterable[int]) -> int:
        total = self.constant
        for weight, value in enumerate(inputs, 1):
            total += weight * value
        return total % (1 << 61)


class Play(NamedTuple):
    """One attempt at a task."""

    seconds: float
    error: bytes | None
    kills: bool
    secedes: bool


class Book:
    """All that is known of all keys."""

    def __init__(self, random: Random) -> None:
        self.specs: dict[str, Spec] = {}
        self.numbers: dict[str, int] = {}  # in the order in which they were drawn
        self.values: dict[str, int] = {}  # of those that can be computed
        self.failed: dict[str, int] = {}  # flaky ones: how often
        # Scattered data: the worker to which it came last, how often that had said hello, and when.
        self.brought: dict[str, tuple[Worker, int, float]] = {}
        self.ended: dict[str, float] = {}  # when a result was last made of a key
        self._random = random

    def add(self, spec: Spec) -> None:
        """Inputs first."""
        self.specs[spec.key] = spec
        self.numbers[spec.key] = len(self.numbers)
        if not (spec.raises or spec.poison) and all(key in self.values for key in spec.inputs):
            self.values[spec.key] = spec.value(self.values[key] for key in spec.inputs)

    def separable(self, key: str) -> bool:
        """Whether the inputs of a task may be where they cannot be brought together, or not where it may
        run."""
        spec = self.specs[key]
        stuck = sum(self.specs[name].stuck for name in spec.inputs)
        return stuck > 1 or (stuck == 1 and bool(spec.resources))

    def ancestry(self, key: str) -> Iterator[Spec]:
        """The key's own spec and those of all that it needs."""
        seen = {key: None}
        stack = [key]
        while stack:
            spec = self.specs[stack.pop()]
            yield spec
            fresh = [k for k in spec.inputs if k not in seen]
            seen.update(dict.fromkeys(fresh))
            stack += fresh

    def begin(self, spec: Spec, worker: Worker) -> Play:
        error = None
        if spec.raises:
            error = spec.error
        elif self.failed.get(spec.key, 0) < spec.flaky:
            self.failed[spec.key] = self.failed.get(spec.key, 0) + 1
            error = spec.error
        seconds = spec.seconds * self._random.uniform(0.5, 1.5)
        return Play(seconds, error, spec.poison, spec.secedes and error is None)


def packed(value: int) -> bytes:
    return value.to_bytes(8, "big")


def unpacked(frame: bytes | memoryview) -> int:
    return int.from_bytes(frame, "big")
