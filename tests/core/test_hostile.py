"""A core takes whatever comes; and if it did not, this would show."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from distributed.core.members import Members
from tests.core.hostile import feed

CORES = 10


@pytest.mark.parametrize("start", range(0, 80, CORES))
def test_the_scheduler_takes_messages_of_the_right_shape_with_any_values(start: int) -> None:
    assert sum(feed(seed) for seed in range(start, start + CORES)) > 1000 * CORES


def test_a_deliberate_bug_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that leaves takes along whoever has its id, of whatever kind."""

    def leave(members: Members, member: Any) -> None:
        if members.peers.get(member.peer) is member:
            del members.peers[member.peer]
        for table in (members.clients, members.workers, members.nannies):
            table.pop(member.id, None)

    monkeypatch.setattr(Members, "leave", leave)
    with pytest.raises((KeyError, AssertionError)):
        for seed in count():
            feed(seed)
