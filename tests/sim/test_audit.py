"""Messages between the scheduler and its workers get lost on connections that hold: the audit mends it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from distributed.codec import encode_parts
from distributed.core import audit
from distributed.messages import (
    Abandoned,
    Audit,
    Audited,
    Done,
    Drop,
    Errors,
    Free,
    Holds,
    Message,
    Retract,
    Returned,
    Run,
    Seceded,
    Unfetchable,
)
from tests.sim import ending, scheduler, worker
from tests.sim.run import run

LOSABLE = (
    Run, Drop, Free, Retract, Audit,
    Done, Errors, Holds, Abandoned, Returned, Seceded, Unfetchable, Audited,
)  # fmt: skip


class Loss:
    """Leaves out one in `rarity` messages of these kinds, but never more than `most`."""

    def __init__(self, seed: int, kinds: Iterable[Any], rarity: int, most: int) -> None:
        self.lost: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._kinds = tuple(kinds)
        self._rarity = rarity
        self._left = most

    def encode_parts(self, batch: list[Message]) -> list[bytes]:
        return encode_parts([message for message in batch if not self._loses(message)])

    def _loses(self, message: Message) -> bool:
        if not self._left or not isinstance(message, self._kinds):
            return False
        if isinstance(message, Run) and message.blob is not None:
            return False  # a function is not told again
        if self._random.randrange(self._rarity):
            return False
        self._left -= 1
        self.lost[type(message).__name__] += 1
        return True


def lossy(monkeypatch: pytest.MonkeyPatch, loss: Loss) -> None:
    monkeypatch.setattr(scheduler.Scheduler, "lossy", True)
    for module in (scheduler, worker):
        monkeypatch.setattr(module, "encode_parts", loss.encode_parts)


@pytest.mark.parametrize("kind", LOSABLE, ids=lambda kind: kind.__name__)
def test_one_kind_of_message_gets_lost(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = iter(range(1000, 1200))
    losses = 0  # histories in which something was lost
    while losses < 2:
        seed = next(seeds)
        loss = Loss(seed, [kind], rarity=2, most=20)
        with monkeypatch.context() as patched:
            lossy(patched, loss)
            report = run(seed)
        assert not report.failure, f"seed {seed}, {loss.lost}\n{report.failure}"
        losses += bool(loss.lost)


@pytest.mark.parametrize("seed", range(2000, 2010))
def test_anything_gets_lost(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # A task that has not heard that it is called off may begin when its function has been unloaded. It
    # fails, and counts for nothing; but the simulator does not allow for that.
    kinds = [kind for kind in LOSABLE if kind is not Drop]
    loss = Loss(seed, kinds, rarity=20, most=100)
    lossy(monkeypatch, loss)
    report = run(seed)
    assert not report.failure, f"{loss.lost}\n{report.failure}"


def test_without_an_audit_it_stays_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """That these tests can fail."""
    monkeypatch.setattr(audit, "AUDIT_SECONDS", 1e9)
    monkeypatch.setattr(ending, "RESOLVE_SECONDS", 200.0)
    monkeypatch.setattr(ending, "FORGET_SECONDS", 100.0)
    for kind, failure in ((Done, "_unresolved after"), (Free, "_disagreements after")):
        for seed in range(1001, 1010):
            lossy(monkeypatch, Loss(seed, [kind], rarity=2, most=1000))
            if failure in run(seed).failure:
                break
        else:
            raise AssertionError(f"nobody misses a {kind.__name__}")
