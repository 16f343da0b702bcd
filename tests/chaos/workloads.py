"""Work whose outcome is known beforehand. Each ends when all that it has begun has been judged."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import dask

from distributed import Executor, Future, as_completed
from tests.chaos import tasks
from tests.chaos.ledger import Ledger, Promise

# Of the data of `bulk`: more than one part of a transfer, now and then.
BLOCK_BYTES = (20_000, 300_000, 6_000_000)

Expected = list[tuple[Future, Promise]]


class Workload:
    """One client's work, drawn from `random`. Its tasks take one of these times, in seconds."""

    def __init__(
        self,
        executor: Executor,
        ledger: Ledger,
        random: Random,
        seconds: tuple[float, ...] = (0.0, 0.0, 0.001, 0.01, 0.05),
    ) -> None:
        self.executor = executor
        self.ledger = ledger
        self.random = random
        self._choices = seconds

    def run(self) -> str:
        """One of them; returns which."""
        kind = self.random.choice(KINDS)
        kind(self)
        return kind.__name__

    def _salt(self) -> int:
        """Makes calls differ from those of before, so that they run."""
        return self.random.getrandbits(40)

    def _seconds(self) -> float:
        return self.random.choice(self._choices)

    def _settle(self, expected: Expected) -> None:
        self.random.shuffle(expected)
        for future, promise in expected:
            self.ledger.settle(promise, future)

    def _numbers(self, count: int) -> tuple[list[int], list[Future]]:
        """Of tasks, and what they return."""
        salt, seconds = self._salt(), self._seconds()
        numbers = [salt + n for n in range(count)]
        futures = self.executor.map(tasks.slowly_add, numbers, [1] * count, seconds=seconds)
        return [number + 1 for number in numbers], futures

    def _expect(self, futures: list[Future], values: list[Any]) -> Expected:
        return [(f, self.ledger.expect(f, v)) for f, v in zip(futures, values, strict=True)]

    def map(self) -> None:
        values, futures = self._numbers(self.random.randrange(1, 400))
        expected = self._expect(futures, values)
        how = self.random.randrange(3)
        if how == 0:
            whole = Promise("gather", values)
            self.ledger.look(whole, lambda: self.executor.gather(futures))
        elif how == 1:
            given = {future: promise for future, promise in expected}
            for future in as_completed(given, timeout=self.ledger.patience):
                self.ledger.look(given.pop(future), future.result)
        self._settle(expected)

    def tree(self) -> None:
        values, level = self._numbers(self.random.randrange(2, 200))
        while len(level) > 1:
            level = [
                self.executor.submit(tasks.total, level[i : i + 3]) for i in range(0, len(level), 3)
            ]
            values = [sum(values[i : i + 3]) for i in range(0, len(values), 3)]
        self._settle(self._expect(level, values))

    def chain(self) -> None:
        number, seconds, length = self._salt(), self._seconds(), self.random.randrange(1, 60)
        future = self.executor.submit(tasks.slowly_add, number, 1)
        for _ in range(length):
            future = self.executor.submit(tasks.slowly_add, future, 1, seconds)
        self._settle(self._expect([future], [number + 1 + length]))

    def graph(self) -> None:
        """As dask has them, with `get`."""
        graph: dict[Any, Any] = {("x", n): self._salt() for n in range(4)}
        for n in range(4, self.random.randrange(6, 80)):
            inputs = self.random.sample(list(graph), self.random.randrange(1, 4))
            graph["x", n] = (tasks.combine, *inputs)
        wanted = self.random.sample(list(graph), 5)
        promise = Promise("get", list(dask.get(graph, wanted)))
        self.ledger.look(promise, lambda: self.executor.get(graph, wanted))

    def bulk(self) -> None:
        salt, size = self._salt(), self.random.choice(BLOCK_BYTES)
        blocks = [self.executor.submit(tasks.block_of, salt + n, size) for n in range(8)]
        values = [tasks.block_of(salt + n, size) for n in range(8)]
        mixed = [self.executor.submit(tasks.mix, *blocks[n : n + 3]) for n in range(6)]
        mixtures = [tasks.mix(*values[n : n + 3]) for n in range(6)]
        self._settle(self._expect(blocks, values) + self._expect(mixed, mixtures))

    def scatter(self) -> None:
        salt, size = self._salt(), self.random.choice(BLOCK_BYTES)
        values = [tasks.block_of(salt + n, size) for n in range(4)]
        futures: list[Future] = []
        broadcast = self.random.random() < 0.3
        sending = Promise("scatter", None, scattered=True, asks=True)
        call = lambda: futures.extend(self.executor.scatter(values, broadcast=broadcast))  # noqa: E731
        if self.ledger.look(sending, call) != "value":
            return
        expect = self.ledger.expect
        expected = [(f, expect(f, v, scattered=True)) for f, v in zip(futures, values, strict=True)]
        for _ in range(self.random.randrange(1, 5)):
            inputs = self.random.sample(range(4), 2)
            future = self.executor.submit(tasks.mix, *[futures[n] for n in inputs])
            value = tasks.mix(*[values[n] for n in inputs])
            expected.append((future, expect(future, value, scattered=True)))
        for _, promise in expected:
            promise.made = (
                sending.made
            )  # what happened while the data was sent may come to light now
        self._settle(expected)

    def failing(self) -> None:
        number = self._salt()
        error = tasks.Deliberate(number)
        retries = self.random.randrange(3)
        failed = self.executor.submit(tasks.fail, number, retries=retries)
        futures = [failed, *(self.executor.submit(tasks.slowly_add, failed, n) for n in range(5))]
        self._settle([(future, self.ledger.expect(future, error=error)) for future in futures])

    def cancelling(self) -> None:
        values, futures = self._numbers(100)
        after = self.executor.map(tasks.slowly_add, futures, values)
        expected = self._expect(futures, values) + self._expect(after, [2 * v for v in values])
        called_off = self.random.sample(range(100), 50)
        for n in called_off:
            expected[n][1].called_off = expected[100 + n][1].called_off = True
        if self.random.random() < 0.5:
            self.executor.cancel([expected[n][0] for n in called_off])
        else:
            for n in called_off:
                expected[n][0].cancel()
        self._settle(expected)

    def nested(self) -> None:
        salt = self._salt()
        futures = [self.executor.submit(tasks.sum_of_squares, n, salt) for n in (3, 20)]
        values = [sum(m**2 for m in range(n)) for n in (3, 20)]
        self._settle(self._expect(futures, values))


KINDS: tuple[Callable[[Workload], None], ...] = (
    Workload.map,
    Workload.tree,
    Workload.chain,
    Workload.graph,
    Workload.bulk,
    Workload.scatter,
    Workload.failing,
    Workload.cancelling,
    Workload.nested,
)
