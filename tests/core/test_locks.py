"""Locks: what the scheduler does with contenders, and that between the cores of clients and schedulers,
whatever is lost on its way, no lock is held twice and none is left lying."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed.codec import decode, encode
from distributed.core import locks
from distributed.core.client import ClientCore
from distributed.core.client_events import Conceding, Connected, Contending, Tell
from distributed.core.contenders import HOLDING, WAITING, Contender
from distributed.core.entries import Waiter
from distributed.core.patience import LOCK_SECONDS
from distributed.core.scheduler import DIED_SECONDS
from distributed.messages import (
    Concede,
    Contend,
    Denied,
    Died,
    Goodbye,
    Granted,
    HelloAgain,
    IsLocked,
    Reply,
    Restart,
)
from tests.core.env import Env

GRACE = 5.0


@pytest.fixture
def env() -> Env:
    """With two clients."""
    env = Env()
    env.client("C")
    env.client("D")
    return env


@pytest.fixture
def heir() -> Env:
    """A scheduler that may have had a predecessor."""
    env = Env(lock_grace=GRACE)
    env.tick()
    return env


def contend(env: Env, client: str, number: int, name: str = "l", waits: bool = True) -> list[Any]:
    """What is said to the client at once."""
    env.send(client, Contend(name, number, waits))
    return heard(env, client)


def concede(env: Env, client: str, number: int, name: str = "l") -> None:
    env.send(client, Concede(name, number))


def heard(env: Env, client: str) -> list[Any]:
    found, env.inbox[client] = env.inbox[client], []
    return found


def is_locked(env: Env, client: str, name: str = "l") -> bool:
    env.send(client, IsLocked(7, name))
    (reply,) = env.take(client, Reply)
    assert reply == Reply(7, True, reply.value)
    return bool(reply.value)


def test_a_free_lock_is_granted_at_once(env: Env) -> None:
    assert not is_locked(env, "C")
    assert contend(env, "C", 1) == [Granted("l", 1)]
    assert is_locked(env, "C") and is_locked(env, "D")
    assert contend(env, "D", 1, "other") == [Granted("other", 1)]
    concede(env, "C", 1)
    concede(env, "D", 1, "other")
    assert not is_locked(env, "D")
    env.assert_empty()


def test_a_client_has_so_many_and_no_more(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "MAX_CONTENDERS", 3)
    for number in (1, 2):
        assert contend(env, "C", number, f"lock {number}") == [Granted(f"lock {number}", number)]
    contend(env, "D", 1)
    assert contend(env, "C", 3) == []  # it waits, and counts
    ((name, number, why),) = contend(env, "C", 4, "another")
    assert (name, number) == ("another", 4)
    assert "let go of some first" in why
    assert contend(env, "C", 1, "lock 1") == [Granted("lock 1", 1)]  # said again
    assert contend(env, "D", 2, "another") == [Granted("another", 2)]  # others are not concerned
    concede(env, "C", 2, "lock 2")
    assert contend(env, "C", 5, "lock 5") == [Granted("lock 5", 5)]


def test_a_hello_with_too_many_is_cut_short(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "MAX_CONTENDERS", 2)
    env.client("E", locks=tuple((f"lock {n}", n, n < 3, True) for n in range(4)))
    assert [m.contender for m in env.take("E", Denied)] == [2, 3]


def test_what_the_client_of_a_worker_held_is_free_when_the_worker_is_dead(env: Env) -> None:
    env.nanny()
    env.worker("W", nanny="N")
    env.client("E", worker="W")
    contend(env, "E", 1)
    contend(env, "C", 1)
    env.gone("W")
    env.gone("E")
    env.tick(0.5)
    assert heard(env, "C") == []  # it may be back
    env.send("N", Died("W", "signal 9 (SIGKILL)", "", (), ""))
    assert heard(env, "C") == [Granted("l", 1)]


def test_the_death_of_a_worker_that_was_given_up_before_counts_too(env: Env) -> None:
    env.nanny()
    env.worker("W", nanny="N")
    env.client("E", worker="W")
    contend(env, "E", 1)
    env.gone("W")
    env.gone("E")
    env.tick(DIED_SECONDS + 0.1)
    assert is_locked(env, "C")
    env.send("N", Died("W", "signal 9 (SIGKILL)", "", (), ""))
    assert not is_locked(env, "C")


def test_it_is_passed_on_in_the_order_of_asking(env: Env) -> None:
    contend(env, "C", 1)
    assert contend(env, "D", 1) == []
    assert contend(env, "C", 2) == []
    concede(env, "C", 1)
    assert (heard(env, "C"), heard(env, "D")) == ([], [Granted("l", 1)])
    concede(env, "D", 1)
    assert heard(env, "C") == [Granted("l", 2)]
    concede(env, "C", 2)
    env.assert_empty()


def test_who_does_not_wait_is_denied_and_not_remembered(env: Env) -> None:
    assert contend(env, "C", 1, waits=False) == [Granted("l", 1)]
    assert contend(env, "D", 1, waits=False) == [Denied("l", 1, "")]
    concede(env, "C", 1)
    assert heard(env, "D") == []
    env.assert_empty()


def test_who_has_stopped_waiting_gets_nothing(env: Env) -> None:
    contend(env, "C", 1)
    contend(env, "D", 1)
    contend(env, "D", 2)
    concede(env, "D", 1)
    concede(env, "C", 1)
    assert heard(env, "D") == [Granted("l", 2)]


def test_a_grant_that_crosses_with_the_withdrawal_is_passed_on(env: Env) -> None:
    contend(env, "C", 1)
    contend(env, "D", 1)
    contend(env, "C", 2)
    concede(env, "C", 1)  # granted to D, which at the same time gives up
    concede(env, "D", 1)
    assert heard(env, "C") == [Granted("l", 2)]


def test_concessions_of_what_is_over_change_nothing(env: Env) -> None:
    concede(env, "C", 1)
    contend(env, "C", 1)
    concede(env, "D", 1)
    concede(env, "C", 2)
    concede(env, "C", 1, "other")
    assert is_locked(env, "C")
    concede(env, "C", 1)
    concede(env, "C", 1)
    env.assert_empty()


def test_a_client_that_leaves_leaves_its_locks(env: Env) -> None:
    contend(env, "C", 1)
    contend(env, "C", 2)
    contend(env, "D", 1)
    contend(env, "C", 3)
    env.send("C", Goodbye())
    assert heard(env, "D") == [Granted("l", 1)]
    concede(env, "D", 1)
    env.assert_empty()


def test_a_client_that_vanishes_loses_its_locks_after_a_while(env: Env) -> None:
    contend(env, "C", 1)
    contend(env, "D", 1)
    env.gone("C")
    env.tick(LOCK_SECONDS)
    assert heard(env, "D") == []
    env.tick(0.1)
    assert heard(env, "D") == [Granted("l", 1)]


def test_a_restart_leaves_locks_alone(env: Env) -> None:
    env.worker()
    contend(env, "C", 1)
    contend(env, "D", 1)
    env.send("D", Restart(1))
    env.take("D", Granted)
    assert is_locked(env, "C")
    concede(env, "C", 1)
    assert env.take("D", Granted) == [Granted("l", 1)]


# Clients that come back


def test_what_is_known_of_a_client_stays_as_it_is(env: Env) -> None:
    contend(env, "C", 1)
    contend(env, "C", 2)
    contend(env, "D", 1)
    env.gone("C")
    env.client("C", peer="C2", locks=(("l", 1, True, True), ("l", 2, False, True)))
    assert heard(env, "C2") == []
    concede(env, "C2", 1)
    assert (heard(env, "C2"), heard(env, "D")) == ([Granted("l", 2)], [])


def test_a_grant_that_was_lost_is_repeated(env: Env) -> None:
    contend(env, "C", 1)
    env.client("C", peer="C2", locks=(("l", 1, False, True),))
    assert heard(env, "C2") == [Granted("l", 1)]


def test_a_concession_that_was_lost_is_noticed(env: Env) -> None:
    contend(env, "C", 1)
    contend(env, "D", 1)
    contend(env, "C", 2)
    env.client("C", peer="C2")
    assert heard(env, "D") == [Granted("l", 1)]
    concede(env, "D", 1)
    env.assert_empty()


def test_a_request_that_was_lost_is_heard_again(env: Env) -> None:
    contend(env, "D", 1)
    env.client("C", peer="C2", locks=(("l", 1, False, True), ("l", 2, False, False)))
    assert heard(env, "C2") == [Denied("l", 2, "")]
    concede(env, "D", 1)
    assert heard(env, "C2") == [Granted("l", 1)]


def test_the_first_of_two_holders_wins(env: Env) -> None:
    contend(env, "C", 1)
    contend(env, "D", 1)
    env.gone("C")
    env.tick(LOCK_SECONDS + 1)
    env.client("C", locks=(("l", 1, True, True),))
    assert heard(env, "C") == [Denied("l", 1, "")]
    concede(env, "D", 1)
    env.assert_empty()


def test_a_client_that_contradicts_itself_breaks_nothing(env: Env, heir: Env) -> None:
    confused = (("l", 1, False, True), ("l", 1, True, True))
    contend(env, "D", 1)
    env.client("C", peer="C2", locks=confused)
    assert heard(env, "C2") == [Denied("l", 1, "")]
    concede(env, "D", 1)
    env.assert_empty()
    heir.client("C", locks=confused)
    concede(heir, "C", 1)
    heir.assert_empty()


def test_who_comes_late_and_finds_the_lock_free_has_it(env: Env) -> None:
    contend(env, "C", 1)
    env.gone("C")
    env.tick(LOCK_SECONDS + 1)
    env.client("C", locks=(("l", 1, True, True),))
    assert heard(env, "C") == []
    assert contend(env, "D", 1, waits=False) == [Denied("l", 1, "")]


# A scheduler that takes the place of one that died


def test_it_gives_nothing_away_that_somebody_may_hold(heir: Env) -> None:
    heir.client("D", locks=(("l", 1, False, True),))
    heir.tick(GRACE - 1)
    assert heard(heir, "D") == []
    assert is_locked(heir, "D")
    assert contend(heir, "D", 2, "other", waits=False) == [Denied("other", 2, "")]
    heir.client("C", locks=(("l", 1, True, True),))
    heir.tick(1)
    assert heard(heir, "D") == []
    concede(heir, "C", 1)
    assert heard(heir, "D") == [Granted("l", 1)]


def test_it_gives_away_what_nobody_has_claimed_in_time(heir: Env) -> None:
    heir.client("D", locks=(("l", 1, False, True),))
    heir.client("E")
    contend(heir, "E", 1)
    contend(heir, "E", 2, "other")
    concede(heir, "E", 2, "other")
    heir.tick(GRACE)
    assert (heard(heir, "D"), heard(heir, "E")) == ([Granted("l", 1)], [])
    assert contend(heir, "E", 3, "other") == [Granted("other", 3)]


def test_it_passes_on_at_once_what_its_holder_lets_go(heir: Env) -> None:
    heir.client("D", locks=(("l", 1, False, True),))
    heir.client("C", locks=(("l", 1, True, True), ("m", 2, True, True)))
    concede(heir, "C", 1)
    concede(heir, "C", 2, "m")
    assert heard(heir, "D") == [Granted("l", 1)]
    assert not is_locked(heir, "D", "m")


def test_who_leaves_in_the_time_of_grace_is_forgotten(heir: Env) -> None:
    heir.client("D", locks=(("l", 1, False, True), ("m", 2, True, True)))
    heir.send("D", Goodbye())
    heir.assert_empty()


# All together


class Party:
    """A client's core, and the two directions of its connection, in which messages take their time."""

    def __init__(self, id: str) -> None:
        self.core = ClientCore(id)
        self.peer = ""  # none: there is no connection
        self.connections = 0
        self.to_scheduler: list[Any] = []
        self.to_client: list[Any] = []
        self.contenders: list[Contender] = []

    def handle(self, event: Any) -> None:
        for effect in self.core.handle(event):
            if isinstance(effect, Tell) and self.peer:
                self.to_scheduler += decode(encode(effect.batch))

    def holds(self, name: str) -> list[Contender]:
        return [c for c in self.contenders if c.status is HOLDING and c.name == name]


class World:
    """Clients that contend for few locks, on a network that loses what a connection carries when it
    breaks, and a scheduler that may be replaced by another."""

    def __init__(self) -> None:
        self.env = Env(lock_grace=GRACE)
        self.env.tick()
        self.parties = [Party(id) for id in "CDE"]
        for party in self.parties:
            self.connect(party)

    def step(self, action: str, who: int, choice: int) -> None:
        party = self.parties[who]
        name = "m" if choice == 5 else "l"
        if action == "contend":
            party.contenders.append(Contender(name, choice % 3 > 0, Waiter()))
            party.handle(Contending(party.contenders[-1]))
        elif action == "concede":
            open_ = [c for c in party.contenders if c.status in (WAITING, HOLDING)]
            if open_:
                party.handle(Conceding(open_[choice % len(open_)]))
        elif action == "send":
            self.send(party, 1 + choice)
        elif action == "receive":
            self.receive(party, 1 + choice)
        elif action == "exchange":
            self.send(party, 10)
            self.receive(party, 10)
        elif action == "break":
            self.break_connection(party, lose=choice % 2 == 0)
        elif action == "connect":
            self.connect(party)
        elif action == "ask for a hello" and party.peer:
            party.to_client.append(HelloAgain())
        elif action == "tick":
            self.let_time_pass()
        elif action == "die":
            self.break_connection(party, lose=choice % 2 == 0)
            self.parties[who] = Party(f"{party.core.id}+")
        elif action == "replace":
            self.replace_scheduler(lose=choice % 2 == 0)
        self.check()

    def send(self, party: Party, count: int) -> None:
        batch, party.to_scheduler = party.to_scheduler[:count], party.to_scheduler[count:]
        if batch:
            self.env.send(party.peer, *batch)
            self.collect()

    def collect(self) -> None:
        for party in self.parties:
            party.to_client += heard(self.env, party.peer)

    def receive(self, party: Party, count: int) -> None:
        batch, party.to_client = party.to_client[:count], party.to_client[count:]
        for message in batch:
            party.handle(message)

    def break_connection(self, party: Party, lose: bool) -> None:
        """What was on its way to the scheduler is lost, what was on its way to the client perhaps; the
        rest may be read later, but not after the next connection is there (`transport.Dealer`)."""
        if party.peer:
            self.env.gone(party.peer)
            self.collect()
        party.peer, party.to_scheduler = "", []
        if lose:
            party.to_client = []

    def connect(self, party: Party) -> None:
        if not party.peer:
            self.receive(party, len(party.to_client))
            party.connections += 1
            party.peer = f"{party.core.id}-{party.connections}"
            party.handle(Connected())

    def let_time_pass(self) -> None:
        """A little, or much if everybody is connected: no client is away for longer than it may be."""
        for party in self.parties:
            self.connect(party)
            self.send(party, len(party.to_scheduler))
        self.env.tick(3)
        self.collect()

    def replace_scheduler(self, lose: bool) -> None:
        for party in self.parties:
            self.break_connection(party, lose)
        self.env = Env(lock_grace=GRACE)
        self.env.tick()

    def check(self) -> None:
        for name in "lm":
            held = [contender for party in self.parties for contender in party.holds(name)]
            assert len(held) <= 1, name

    def deliver_all(self) -> None:
        for party in self.parties:
            self.connect(party)
        while any(party.to_scheduler or party.to_client for party in self.parties):
            for party in self.parties:
                self.send(party, len(party.to_scheduler))
                self.receive(party, len(party.to_client))
                self.check()

    def finish(self) -> None:
        """No more faults: whoever gets a lock lets it go, until nobody waits."""
        self.deliver_all()
        self.env.tick(GRACE + LOCK_SECONDS + 1)
        self.collect()
        self.deliver_all()
        while holders := [(p, c) for p in self.parties for n in "lm" for c in p.holds(n)]:
            for party, contender in holders:
                party.handle(Conceding(contender))
            self.deliver_all()


ACTIONS = (
    "contend", "contend", "concede", "concede", "send", "receive", "exchange", "exchange", "exchange",
    "connect", "connect", "break", "tick", "die", "replace", "ask for a hello",
)  # fmt: skip

STEPS = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2), st.integers(0, 5)),
    min_size=20,
    max_size=80,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_no_lock_is_held_twice_and_everybody_gets_it(steps: list[tuple[str, int, int]]) -> None:
    world = World()
    for step in steps:
        world.step(*step)
    world.finish()
    for party in world.parties:
        assert not [c for c in party.contenders if c.status in (WAITING, HOLDING)]
        assert party.core.contenders.table == {}
    world.env.assert_empty()
