"""The scheduler's process, without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distributed.broker import AWAKE_SECONDS, Broker
from distributed.codec import decode, encode_parts
from distributed.messages import (
    PROTOCOL,
    PYTHON,
    ClientHello,
    Message,
    Run,
    Submit,
    Welcome,
)
from distributed.transport import Context, Dealer
from tests.core.env import item, worker_hello

MAX_TURNS = 1_000


class Bench:
    """A Broker whose turns are made by hand, and how long it wanted to be awake in each."""

    def __init__(self) -> None:
        self.broker = Broker()
        self.awake: list[float] = []
        self.context: Any = Context()
        self.dealers: list[Dealer] = []
        wait = self.broker._poller.wait

        def note(seconds: float, awake: float = 0.0) -> Any:
            self.awake.append(awake)
            return wait(min(seconds, 0.01), awake)

        self.broker._poller.wait = note  # type: ignore[method-assign]

    def dial(self, hello: Message) -> Dealer:
        dealer = Dealer(self.context, self.broker.address)
        self.dealers.append(dealer)
        self.until(lambda: dealer.send(encode_parts([hello])))
        self.until(lambda: self.heard(dealer, Welcome))
        return dealer

    def heard(self, dealer: Dealer, kind: type) -> bool:
        return any(type(m) is kind for frames in dealer.receive() for m in decode(frames[0]))

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(MAX_TURNS):
            self.broker._turn()
            if condition():
                return
        raise AssertionError("it has not come to that")


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    for dealer in bench.dealers:
        dealer.close(0)
    bench.context.term()
    bench.broker.stop()
    bench.broker.run()


def submit(*keys: str) -> Submit:
    return Submit({"f": b"f"}, (("f", None, True, [item(key) for key in keys]),), False)


@pytest.mark.parametrize(("keys", "stays_awake"), [(("x",), True), (("x", "y"), False)])
def test_it_stays_awake_once_for_whoever_waits_for_a_single_task(
    bench: Bench, keys: tuple[str, ...], stays_awake: bool
) -> None:
    client = bench.dial(ClientHello("c", "", PROTOCOL, PYTHON, (), (), ""))
    worker = bench.dial(worker_hello("w")._replace(nthreads=2))
    for _ in range(2):
        bench.broker._turn()
    bench.awake.clear()
    client.send(encode_parts([submit(*keys)]))
    bench.until(lambda: bench.heard(worker, Run))
    bench.broker._turn()
    bench.broker._turn()
    assert bench.awake.count(AWAKE_SECONDS) == stays_awake
    assert bench.awake[-1] == 0.0
