"""ClientCore: events in, effects out."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.codec import decode, encode
from distributed.core.client import MAX_INLINE_BYTES, ClientCore
from distributed.core.client_events import (
    Abandon,
    Adopt,
    Answered,
    Await,
    CallOff,
    Calls,
    Caution,
    Conceding,
    Connected,
    Contending,
    Desist,
    Dropped,
    Firing,
    Introduced,
    Rejected,
    Sending,
    Tell,
    Unreachable,
    Wake,
    Welcomed,
)
from distributed.core.contenders import CONCEDED, DENIED, HOLDING, WAITING, Contender
from distributed.core.entries import (
    CANCELLED,
    ERROR,
    FINISHED,
    LOST,
    MIN_FIRED,
    PENDING,
    RESUBMIT_TASKS,
    Entry,
    Waiter,
)
from distributed.core.functions import MAX_IDLE_FUNCTIONS
from distributed.messages import (
    PROTOCOL,
    PYTHON,
    Cancel,
    Cleared,
    ClientHello,
    Concede,
    Contend,
    Denied,
    Ended,
    Failed,
    Finished,
    Fire,
    Forget,
    Granted,
    Heard,
    HelloAgain,
    Missing,
    Pending,
    Refused,
    Release,
    Reply,
    Scatter,
    Submit,
    Want,
    Warn,
    Welcome,
)

ALICE = "tcp://10.0.0.1:1"


def item(key: str, *dependencies: str) -> tuple[Any, ...]:
    return (key, b"args", dependencies or None, 0)


def submitted(items: list[Any], functions: dict[str, bytes] | None = None, call: int = 0) -> Submit:
    """Wanted calls of f without options."""
    return Submit(functions or {}, (("f", None, True, items),), False, call=call)


class Env:
    """A core whose messages go through the real codec, and whose invariants are checked each time."""

    def __init__(self) -> None:
        self.core = ClientCore("me")

    def handle(self, event: Any) -> list[Any]:
        effects = self.core.handle(event)
        for effect in effects:
            if isinstance(effect, Tell):
                decode(encode(effect.batch))
        self.check()
        return effects

    def told(self, event: Any) -> list[Any]:
        """What the event made the core say to the scheduler."""
        effects = self.handle(event)
        return [
            message for effect in effects if isinstance(effect, Tell) for message in effect.batch
        ]

    def submit(self, *keys: str | tuple[str, ...], function: str = "f") -> list[Entry]:
        items = [item(*([key] if isinstance(key, str) else key)) for key in keys]
        self.handle(Calls({function: b"blob"}, [(function, None, True, items)]))
        return [self.core.entries[found[0]] for found in items]

    def call(self, key: str, *dependencies: str, function: str = "f") -> Entry:
        entry = self.core.call(function, b"blob", None, item(key, *dependencies))
        self.check()
        return entry

    def finish(self, *keys: str, value: bytes | None = None) -> list[Any]:
        return self.handle(Finished(ALICE, [(key, 28, value, None) for key in keys]))

    def check(self) -> None:
        core = self.core
        users = Counter(core._unsettled)
        for key, entry in core.entries.items():
            assert entry.key == key and entry.known
            assert entry.handles or entry.dependents, entry
            for dependency in entry.dependencies:
                users[dependency] += 1
        for entry in core.entries.values():
            assert entry.dependents == users[entry], entry
        inline = [e.inline for e in core.entries.values() if e.inline is not None]
        assert core.inline_bytes == sum(map(len, inline))
        recipes = [e.group.function for e in core.entries.values() if e.group is not None]
        assert all(function in core.functions.blobs for function in recipes)
        idle = core.functions.blobs.keys() - set(recipes)
        assert idle == core.functions._idle.keys()
        assert len(idle) <= MAX_IDLE_FUNCTIONS


@pytest.fixture
def env() -> Env:
    return Env()


def test_submit_brings_the_function_once(env: Env) -> None:
    calls = Calls({"f": b"blob"}, [("f", None, True, [item("x")])])
    assert env.told(calls) == [submitted([item("x")], {"f": b"blob"}, call=1)]
    calls = Calls({"f": b"blob"}, [("f", None, True, [item("y")])])
    assert env.told(calls) == [submitted([item("y")], call=3)]


def test_equal_work_is_submitted_once(env: Env) -> None:
    (first,) = env.submit("x")
    assert env.told(Calls({"f": b"blob"}, [("f", None, True, [item("x")])])) == []
    assert first.handles == 2


def test_calls_are_told_of_together_before_whatever_comes_next(env: Env) -> None:
    x, y = env.call("x"), env.call("y", "x")
    assert y.dependencies == (x,)
    items = [("x", b"args", None, 1), ("y", b"args", ("x",), 2)]
    assert env.told(Dropped([x])) == [
        submitted(items, {"f": b"blob"}),
        Release(("x",), 1),
    ]
    env.call("z")
    (submit,) = env.told(Sending())
    assert submit == submitted([("z", b"args", None, 3)])
    assert env.told(Sending()) == []


def test_a_call_of_equal_work_is_told_of_once(env: Env) -> None:
    entry = env.call("x")
    assert env.call("x") is entry
    assert entry.handles == 2
    (submit,) = env.told(Sending())
    assert len(submit.groups[0][3]) == 1
    assert env.call("x") is entry
    assert env.told(Sending()) == []


def test_a_call_of_work_that_was_lost_or_was_called_off_is_told_of_again(env: Env) -> None:
    entry = env.call("x")
    env.handle(Ended([("x", "lost", "why")]))
    assert env.call("x") is entry
    assert [type(message) for message in env.told(Sending())] == [Submit]
    env.handle(CallOff([entry]))
    assert env.call("x") is not entry
    assert [type(message) for message in env.told(Sending())] == [Submit]


def test_a_call_that_is_not_told_of_is_made_good_by_the_next_connection(env: Env) -> None:
    env.call("x")
    env.handle(Sending())  # the connection that this is for breaks
    _, submit = env.told(Connected())
    assert submit == submitted([("x", b"args", None, 1)], {"f": b"blob"})._replace(again=True)


def test_the_key_is_released_with_its_last_future(env: Env) -> None:
    (entry,) = env.submit("x")
    env.submit("x")
    assert env.told(Dropped([entry])) == []
    assert env.told(Dropped([entry])) == [Release(("x",), 1)]
    assert env.core.entries == {}


def test_recipes_of_inputs_are_kept_for_their_dependents(env: Env) -> None:
    x, y = env.submit("x", ("y", "x"))
    assert env.told(Dropped([x])) == [Release(("x",), 1)]
    assert set(env.core.entries) == {"x", "y"}
    env.handle(Dropped([y]))
    assert env.core.entries == {}


def test_a_released_input_can_be_wanted_again(env: Env) -> None:
    x, _ = env.submit("x", ("y", "x"))
    env.handle(Dropped([x]))
    calls = Calls({"f": b"blob"}, [("f", None, True, [item("x")])])
    assert env.told(calls) == [submitted([item("x")], call=3)]
    assert x.status == PENDING


def test_finished_wakes_who_waits_for_all(env: Env) -> None:
    entries = env.submit("x", "y")
    waiter = Waiter()
    assert env.handle(Await(waiter, entries)) == []
    assert env.finish("x") == []
    assert env.finish("y") == [Wake([waiter])]
    assert [entry.status for entry in entries] == [FINISHED, FINISHED]
    assert entries[0].address == ALICE


def test_who_waits_for_each_is_woken_in_the_order_of_ending(env: Env) -> None:
    x, y = env.submit("x", "y")
    waiter = Waiter(each=True)
    env.handle(Await(waiter, [x, y]))
    assert env.finish("y") == [Wake([waiter])]
    assert env.finish("x") == [Wake([waiter])]
    assert waiter.done == [y, x]


def test_an_eager_waiter_is_woken_by_the_first_failure(env: Env) -> None:
    x, y = env.submit("x", "y")
    waiter = Waiter(eager=True)
    env.handle(Await(waiter, [x, y]))
    assert env.handle(Failed([("y", b"exception")])) == [Wake([waiter])]
    assert (y.status, y.ending) == (ERROR, b"exception")


def test_waiting_for_what_has_ended_ends_at_once(env: Env) -> None:
    entries = env.submit("x")
    env.finish("x")
    waiter = Waiter()
    assert env.handle(Await(waiter, entries)) == [Wake([waiter])]


def test_who_desists_is_not_woken(env: Env) -> None:
    entries = env.submit("x")
    waiter = Waiter()
    env.handle(Await(waiter, entries))
    env.handle(Desist(waiter, entries))
    assert env.finish("x") == []


def test_small_results_are_kept_while_a_future_exists(env: Env) -> None:
    (entry,) = env.submit("x")
    env.finish("x", value=b"12345")
    assert (entry.inline, env.core.inline_bytes) == (b"12345", 5)
    env.handle(Dropped([entry]))
    assert env.core.inline_bytes == 0


def test_no_more_results_are_kept_than_the_limit(env: Env) -> None:
    x, y = env.submit("x", "y")
    env.finish("x", value=bytes(MAX_INLINE_BYTES))
    env.finish("y", value=b"1")
    assert x.inline is not None
    assert (y.status, y.inline) == (FINISHED, None)


def test_data_that_cannot_be_fetched_is_pending_again(env: Env) -> None:
    (entry,) = env.submit("x")
    env.finish("x")
    assert env.told(Unreachable([("x", ALICE)])) == [Missing((("x", ALICE),))]
    assert entry.status == PENDING


def test_a_lost_result_is_pending_again_unless_it_came_along(env: Env) -> None:
    x, y = env.submit("x", "y")
    env.finish("x")
    env.finish("y", value=b"1")
    env.handle(Pending(["x", "y"]))
    assert (x.status, y.status) == (PENDING, FINISHED)


def test_cancelled_futures_stay_cancelled_and_the_key_is_free(env: Env) -> None:
    (old,) = env.submit("x")
    waiter = Waiter()
    env.handle(Await(waiter, [old]))
    effects = env.handle(CallOff([old]))
    assert effects == [Tell([Cancel(("x",), False, 1)]), Wake([waiter])]
    (new,) = env.submit("x")
    assert new is not old
    assert (old.status, new.status) == (CANCELLED, PENDING)
    assert env.told(Dropped([old])) == []


def test_what_is_cancelled_with_something_else_is_released(env: Env) -> None:
    """It may have been submitted again meanwhile: then the scheduler believes that it is wanted."""
    (x,) = env.submit("x")
    assert env.told(Ended([("x", "cancelled", ""), ("y", "cancelled", "")])) == [Release(("x",), 1)]
    assert x.status == CANCELLED
    assert env.told(Dropped([x])) == []


def test_inputs_without_futures_are_submitted_with_whatever_uses_them(env: Env) -> None:
    """What used them so far may have been cancelled, and the news be on its way."""
    inner = ("f", None, False, [item("x")])
    env.handle(Calls({"f": b"blob"}, [inner, ("f", None, True, [item("y", "x")])]))
    groups = [inner, ("f", None, True, [item("z", "x")])]
    assert env.told(Calls({"f": b"blob"}, groups)) == [Submit({}, tuple(groups), False, call=3)]


def test_endings(env: Env) -> None:
    s, x, y, z = env.submit("s", "x", "y", "z")
    env.handle(Ended([("x", "lost", "why"), ("y", "killed", "who"), ("z", "cancelled", "")]))
    env.handle(Ended([("s", "stuck", "where")]))
    assert [entry.status for entry in (x, y, z, s)] == [LOST, ERROR, CANCELLED, ERROR]
    assert (x.ending, y.ending, s.ending) == ("why", ("killed", "who"), ("stuck", "where"))


def test_lost_work_may_be_submitted_again(env: Env) -> None:
    (entry,) = env.submit("x")
    env.handle(Ended([("x", "lost", "why")]))
    told = env.told(Calls({"f": b"blob"}, [("f", None, True, [item("x")])]))
    assert [type(message) for message in told] == [Submit]
    assert entry.status == PENDING


def test_a_restart_cancels_everything_and_releases_what_was_on_its_way(env: Env) -> None:
    entries = env.submit("x", ("y", "x"))
    env.finish("x")
    assert env.told(Cleared("restart")) == [Release(("x", "y"), 1), Cleared("")]
    assert [entry.status for entry in entries] == [CANCELLED, CANCELLED]
    assert env.core.entries == {}


def test_what_is_not_wanted_any_more_is_not_scattered(env: Env) -> None:
    """The scheduler would take it for wanted, and nobody would ever let go of it."""
    env.handle(Adopt(["x", "y"], announce=False))
    env.handle(CallOff([env.core.entries["x"]]))
    question = Scatter(1, (("x", 8), ("y", 8)), None)
    assert env.core.current(question) == Scatter(1, (("y", 8),), None)
    assert env.core.current(Want(("x",))) == Want(("x",))


def test_a_new_connection_hears_everything_again(env: Env) -> None:
    x, y = env.submit("x", ("y", "x"))
    env.handle(Adopt(["z"], announce=True))
    env.handle(Dropped([x]))
    hello, submit, want = env.told(Connected())
    assert hello == ClientHello("me", "", PROTOCOL, PYTHON, ("y", "z"), (), "")
    assert submit == Submit(
        {"f": b"blob"},
        (("f", None, False, [item("x")]), ("f", None, True, [item("y", "x")])),
        False,
        again=True,
        call=1,
    )
    assert want == Want(("z",))
    assert y.status == PENDING


def test_what_waits_for_something_that_was_called_off_ends_with_the_connection(env: Env) -> None:
    """The scheduler may not have heard of it; and a new one would never know the input."""
    x, y, z, other = env.submit("x", ("y", "x"), ("z", "y"), "other")
    env.handle(CallOff([x]))
    assert y.status == PENDING
    _, submit = env.told(Connected())
    assert [group[3] for group in submit.groups] == [[item("other")]]
    assert y.status == z.status == CANCELLED
    assert other.status == PENDING


def test_what_was_called_off_and_submitted_anew_is_waited_for(env: Env) -> None:
    x, y = env.submit("x", ("y", "x"))
    env.handle(CallOff([x]))
    env.submit("x")
    env.told(Connected())
    assert y.status == PENDING


def test_much_is_submitted_again_in_messages_that_belong_together(env: Env) -> None:
    env.submit(*(f"k{n}" for n in range(2 * RESUBMIT_TASKS + 1)))
    _, *submits = env.told(Connected())
    assert [len(submit.groups[0][3]) for submit in submits] == [RESUBMIT_TASKS, RESUBMIT_TASKS, 1]
    assert [submit.more for submit in submits] == [True, True, False]


def test_a_future_from_elsewhere_is_announced_once(env: Env) -> None:
    assert env.told(Adopt(["x"], announce=True)) == [Want(("x",))]
    assert env.told(Adopt(["x"], announce=True)) == []
    assert env.core.entries["x"].handles == 2


def test_when_the_scheduler_is_gone_what_is_pending_is_lost(env: Env) -> None:
    x, y = env.submit("x", "y")
    env.finish("x")
    env.handle(Abandon(LOST, "no scheduler"))
    assert (x.status, y.status, y.ending) == (FINISHED, LOST, ("gone", "no scheduler"))


def test_idle_functions_are_forgotten_oldest_first(env: Env) -> None:
    told = []
    for number in range(MAX_IDLE_FUNCTIONS + 2):
        (entry,) = env.submit("x", function=f"f{number}")
        told += env.told(Dropped([entry]))
    assert [message for message in told if type(message) is Forget] == [
        Forget(("f0",)),
        Forget(("f1",)),
    ]


@pytest.mark.parametrize(
    ("message", "effect"),
    [
        (Welcome("epoch", {}), Welcomed("epoch")),
        (Refused("no"), Rejected("no")),
        (Reply(3, True, 5), Answered(3, True, 5)),
        (Warn("careful"), Caution("careful")),
    ],
)
def test_what_is_for_the_caller_is_passed_on(env: Env, message: Any, effect: Any) -> None:
    assert env.handle(message) == [effect]


# Locks


def contend(env: Env, name: str = "l", waits: bool = True) -> Contender:
    contender = Contender(name, waits, Waiter())
    assert env.told(Contending(contender)) == [Contend(name, contender.number, waits)]
    return contender


def test_a_lock_that_is_granted_is_held_until_it_is_conceded(env: Env) -> None:
    contender = contend(env)
    assert contender.status is WAITING
    assert env.handle(Granted("l", 1)) == [Wake([contender.waiter])]
    assert contender.status is HOLDING
    assert env.handle(Granted("l", 1)) == []
    assert env.told(Conceding(contender)) == [Concede("l", 1)]
    assert contender.status is CONCEDED
    assert env.told(Conceding(contender)) == []
    assert env.core.contenders.table == {}


def test_who_does_not_want_to_wait_is_told(env: Env) -> None:
    contender = contend(env, waits=False)
    assert env.handle(Denied("l", 1, "")) == [Wake([contender.waiter])]
    assert contender.status is DENIED
    assert env.told(Conceding(contender)) == []
    assert env.handle(Denied("l", 1, "")) == []


def test_a_grant_that_crosses_with_the_withdrawal_is_given_back(env: Env) -> None:
    contender = contend(env)
    assert env.told(Conceding(contender)) == [Concede("l", 1)]
    assert env.handle(Granted("l", 1)) == [Tell([Concede("l", 1)])]
    assert contender.status is CONCEDED


def test_contenders_of_one_name_are_different(env: Env) -> None:
    first, second = contend(env), contend(env)
    env.handle(Granted("l", 2))
    assert (first.status, second.status) == (WAITING, HOLDING)


def test_what_is_held_is_announced_before_what_is_waited_for(env: Env) -> None:
    contend(env, "a")
    contend(env, "b")
    contend(env, "a", waits=False)
    env.handle(Granted("b", 2))
    listed = (("b", 2, True, True), ("a", 1, False, True), ("a", 3, False, False))
    hello = ClientHello("me", "", PROTOCOL, PYTHON, (), listed, "")
    assert env.told(Connected()) == [hello]


def test_hello_is_said_again_only_when_the_last_has_been_answered(env: Env) -> None:
    assert len(env.told(Connected())) == 1
    # The scheduler has heard messages of before, one after another, and not yet the hello behind them.
    assert env.handle(HelloAgain()) == env.handle(HelloAgain()) == []
    env.handle(Welcome("epoch 1", {}))
    hello = ClientHello("me", "epoch 1", PROTOCOL, PYTHON, (), (), "")
    assert env.handle(HelloAgain()) == [Tell([hello]), Introduced()]
    assert env.handle(HelloAgain()) == []


def test_who_comes_back_too_late_is_warned_that_its_lock_is_gone(env: Env) -> None:
    contender = contend(env)
    env.handle(Granted("l", 1))
    env.handle(Connected())
    caution, wake = env.handle(Denied("l", 1, ""))
    assert caution == Caution("the lock l went to another while we had no connection")
    assert wake == Wake([contender.waiter])
    assert (contender.status, contender.reason) == (DENIED, caution.text)


def test_when_the_scheduler_is_gone_waiting_ends_and_holding_goes_on(env: Env) -> None:
    held, waiting = contend(env, "a"), contend(env, "b")
    env.handle(Granted("a", 1))
    assert env.handle(Abandon(LOST, "why")) == [Wake([waiting.waiter])]
    assert (held.status, waiting.status, waiting.reason) == (HOLDING, LOST, "why")
    (hello,) = env.told(Connected())
    assert hello.locks == (("a", 1, True, True),)


def test_with_the_client_its_locks_end(env: Env) -> None:
    held, waiting = contend(env, "a"), contend(env, "b")
    env.handle(Granted("a", 1))
    env.handle(Abandon(CANCELLED, "closed"))
    assert (held.status, held.reason) == (CANCELLED, "closed")
    assert (waiting.status, waiting.reason) == (CANCELLED, "closed")
    assert env.told(Conceding(held)) == []


def test_locks_survive_a_restart_of_the_cluster(env: Env) -> None:
    contender = contend(env)
    env.handle(Granted("l", 1))
    assert env.told(Cleared("restart")) == [Cleared("")]
    assert contender.status is HOLDING


def test_reports_of_unknown_keys_are_ignored(env: Env) -> None:
    assert env.finish("x") == []
    assert env.handle(Failed([("x", b"")])) == []
    assert env.handle(Ended([("x", "lost", "")])) == []
    assert env.handle(Pending(["x"])) == []


def unwanted(*keys: Any, more: bool, function: str = "f") -> Calls:
    items = [item(*([key] if isinstance(key, str) else key)) for key in keys]
    return Calls({function: b"blob"}, [(function, None, False, items)], more)


def wanted(*keys: Any, more: bool = False) -> Calls:
    return unwanted(*keys, more=more)._replace(
        groups=[("f", None, True, [item(*([k] if isinstance(k, str) else k)) for k in keys])]
    )


def test_what_is_not_wanted_is_kept_for_what_needs_it() -> None:
    core = ClientCore("me")
    core.handle(unwanted("x", more=True))
    core.handle(unwanted(("y", "x"), more=True))
    core.handle(wanted(("z", "y")))
    assert core.entries.keys() == {"x", "y", "z"}
    core.handle(Dropped([core.entries["z"]]))
    assert core.entries == {}


def test_what_nothing_needs_is_forgotten_with_the_last_part() -> None:
    core = ClientCore("me")
    core.handle(unwanted("x", "y", more=True))
    core.handle(wanted(("z", "x")))
    assert core.entries.keys() == {"x", "z"}


def test_the_scheduler_hears_of_the_last_part_though_nothing_in_it_is_new() -> None:
    core = ClientCore("me")
    core.handle(wanted("z"))
    core.handle(unwanted("x", more=True))
    (tell,) = core.handle(wanted("z"))
    assert tell == Tell([Submit({}, (), False, call=3)])
    assert core.entries.keys() == {"z"}
    assert core.entries["z"].handles == 2


def test_an_input_that_came_from_elsewhere_is_no_trouble(env: Env) -> None:
    env.handle(Adopt(["x"], announce=True))
    core = env.core
    core.handle(unwanted("w", more=True))
    core.handle(unwanted(("x", "w"), more=True))
    env.handle(wanted(("z", "x")))
    assert core.entries.keys() == {"w", "x", "z"}
    env.handle(Dropped([core.entries["x"]]))
    assert core.entries.keys() == {"w", "x", "z"}
    env.handle(Dropped([core.entries["z"]]))
    assert core.entries == {}


def test_work_that_was_known_from_elsewhere_can_be_submitted_again_too(env: Env) -> None:
    env.handle(Adopt(["x"], announce=True))
    env.submit("x")
    _, submit = env.told(Connected())
    assert submit == submitted([item("x")], {"f": b"blob"}, call=1)._replace(again=True)


def test_a_break_between_parts_loses_nothing() -> None:
    core = ClientCore("me")
    core.handle(unwanted("x", more=True))
    core.handle(Connected())
    core.handle(wanted(("z", "x")))
    core.handle(Dropped([core.entries["z"]]))
    assert core.entries == {}


def test_parts_of_several_graphs_may_take_turns() -> None:
    core = ClientCore("me")
    told = []
    for calls in (
        unwanted("x", more=True),
        unwanted("y", more=True)._replace(graph=2),
        wanted("w"),  # what has nothing to do with them
        wanted(("v", "x")),
    ):
        (tell,) = core.handle(calls)
        told += tell.batch
    assert [submit.more for submit in told] == [True, True, True, True]
    assert core.entries.keys() == {"w", "v", "x", "y"}
    (tell,) = core.handle(wanted(("u", "y"))._replace(graph=2))
    assert [submit.more for submit in tell.batch] == [False]
    core.handle(Dropped([core.entries[key] for key in "wvu"]))
    assert core.entries == {}


def test_calls_are_numbered_and_the_parts_of_a_graph_share_a_number(env: Env) -> None:
    env.handle(unwanted("x", more=True)._replace(graph="graph"))
    env.submit("a")
    env.call("b")
    env.handle(wanted(("y", "x"))._replace(graph="graph"))
    env.call("c")
    calls = {key: entry.call for key, entry in env.core.entries.items()}
    assert calls["x"] == calls["y"] < calls["a"] < calls["b"] == calls["c"]
    told = [message for message in env.told(Connected()) if type(message) is Submit]
    again = {item[0]: m.call for m in told for group in m.groups for item in group[3]}
    assert again == calls


def test_a_graph_may_be_given_up() -> None:
    core = ClientCore("me")
    core.handle(unwanted("x", more=True))
    (tell,) = core.handle(Calls({}, []))
    assert tell == Tell([Submit({}, (), False, call=1)])
    assert core.entries == {}
    assert core.handle(Calls({}, [])) == []


def test_what_is_needed_later_stays_when_what_needs_it_now_goes() -> None:
    core = ClientCore("me")
    core.handle(unwanted("x", more=True))
    core.handle(wanted(("y", "x"))._replace(graph=2))
    core.handle(Dropped([core.entries["y"]]))
    core.handle(wanted(("z", "x")))
    assert core.entries["z"].dependencies == (core.entries["x"],)


def test_a_new_scheduler_hears_that_there_is_more_to_come_and_when_all_has_come(env: Env) -> None:
    env.handle(wanted(("y", "x")))
    env.handle(unwanted("x", more=True))
    core = env.core
    *_, submit = env.told(Connected())
    assert submit.more
    assert env.told(wanted("y")) == [Submit({}, (), False, call=3)]
    assert core._unsettled == []


def test_parts_of_what_a_restart_has_called_off_are_called_off(env: Env) -> None:
    env.handle(unwanted("x", more=True))
    env.handle(Cleared("the cluster was restarted"))
    assert env.core.called_off == {None: "the cluster was restarted"}
    env.handle(Calls({}, []))
    assert env.core.called_off == {}


@given(st.integers(0, 2**32))
def test_of_a_graph_nothing_is_left_whatever_happens(seed: int) -> None:
    """Parts of several graphs, that share tasks; futures from elsewhere; and all that can happen."""
    random = Random(seed)
    core = ClientCore("me")
    futures: list[Entry] = []
    size = random.randint(1, 12)
    # Each key has one recipe.
    inputs = {n: random.sample(range(n), min(n, random.randint(0, 3))) for n in range(size)}
    for _ in range(random.randint(1, 5)):
        keys = sorted(random.sample(range(size), random.randint(1, size)))
        asked = set(random.sample(keys, random.randint(1, len(keys))))
        cuts = sorted(random.sample(range(len(keys)), random.randint(0, min(3, len(keys) - 1))))
        parts = [keys[a:b] for a, b in pairwise([0, *cuts, len(keys)])]
        for number, part in enumerate(parts):
            groups = [
                ("f", None, n in asked, [item(f"k{n}", *(f"k{i}" for i in inputs[n]))])
                for n in part
            ]
            core.handle(Calls({"f": b"blob"}, groups, more=number < len(parts) - 1))
            futures += [core.entries[f"k{n}"] for n in part if n in asked]
            happen(random, core, futures, size)
    core.handle(Dropped(futures))
    assert core.entries == {}
    assert core.inline_bytes == 0
    assert core._unsettled == []


def happen(random: Random, core: ClientCore, futures: list[Entry], size: int) -> None:
    """Something, maybe between the parts of a graph."""
    key = f"k{random.randrange(size)}"
    match random.choice(
        ["nothing", "adopt", "drop", "finish", "fail", "lose", "cancel", "connect", "clear"]
    ):
        case "adopt":
            core.handle(Adopt([key], announce=True))
            futures.append(core.entries[key])
        case "drop" if futures:
            core.handle(Dropped([futures.pop(random.randrange(len(futures)))]))
        case "finish":
            core.handle(Finished(ALICE, [(key, 28, random.choice([None, b"value"]), None)]))
        case "fail":
            core.handle(Failed([(key, b"e")]))
        case "lose":
            core.handle(Ended([(key, "lost", "")]))
        case "cancel" if futures:
            core.handle(CallOff([random.choice(futures)]))
        case "connect":
            core.handle(Connected())
        case "clear":
            core.handle(Cleared("restart"))


ACTIONS = ["submit", "call", "send", "drop", "finish", "fail", "lose", "cancel", "connect", "clear"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(ACTIONS),
        st.integers(0, 5),
        st.integers(0, 5),
    ),
    max_size=60,
)


@given(STEPS)
def test_nothing_is_left_once_every_future_is_gone(steps: list[tuple[str, int, int]]) -> None:
    """Whatever happens in whatever order; `Env.handle` checks the invariants each time."""
    env = Env()
    futures: list[Entry] = []
    for action, number, other in steps:
        key = f"k{number}"
        # Each key has one recipe: key n depends on some of those below it.
        inputs = [f"k{n}" for n in range(number) if n % 2 == number % 2]
        if action == "submit":
            futures += env.submit((key, *inputs))
        elif action == "call":
            futures.append(env.call(key, *inputs, function=f"f{number % 2}"))
        elif action == "send":
            env.handle(Sending())
        elif action == "drop" and futures:
            env.handle(Dropped([futures.pop(other % len(futures))]))
        elif action == "finish":
            env.finish(key, value=b"v" * other or None)
        elif action == "fail":
            env.handle(Failed([(key, b"e")]))
        elif action == "lose":
            env.handle(Unreachable([(key, ALICE)]))
        elif action == "cancel" and futures:
            env.handle(CallOff([futures[other % len(futures)]]))
        elif action == "connect":
            env.handle(Connected())
        elif action == "clear":
            env.handle(Cleared("restart"))
    env.handle(Dropped(futures))
    assert env.core.entries == {}
    assert env.core.inline_bytes == 0
    assert not env.core.singles


def test_force_also_means_what_was_called_off_before(env: Env) -> None:
    (first,) = env.submit("x")
    env.handle(CallOff([first]))
    effects = env.handle(CallOff([first], True))
    assert effects == [Tell([Cancel(("x",), True, 2)])]


def test_force_does_not_mean_a_key_that_was_submitted_anew(env: Env) -> None:
    (first,) = env.submit("x")
    env.handle(CallOff([first]))
    env.submit("x")
    assert env.handle(CallOff([first], True)) == []


def test_news_from_before_a_release_was_heard_is_not_about_what_came_after(env: Env) -> None:
    """The result of the old work was on its way when the same work was asked for anew."""
    (old,) = env.submit("x")
    env.handle(Dropped([old]))
    (new,) = env.submit("x")
    for news in (Failed([("x", b"e")]), Ended([("x", "killed", "")])):
        env.handle(news)
    env.finish("x", value=b"old")
    assert new.status == PENDING and new.inline is None
    env.handle(Heard(1))
    env.finish("x", value=b"new")
    assert new.status == FINISHED and new.inline == b"new"


def test_news_from_before_a_cancellation_was_heard_is_not_about_what_came_after(env: Env) -> None:
    (old,) = env.submit("x")
    env.handle(CallOff([old]))
    new = env.call("x")
    env.finish("x", value=b"old")
    assert new.status == PENDING
    env.handle(Heard(1))
    env.finish("x", value=b"new")
    assert new.inline == b"new"


def test_a_handle_that_is_new_on_what_is_still_known_hears_no_old_news(env: Env) -> None:
    """The recipe had stayed for what depends on it."""
    x, _ = env.submit("x", ("y", "x"))
    env.handle(Dropped([x]))
    env.submit("x")
    env.finish("x", value=b"old")
    assert x.status == PENDING
    env.handle(Heard(1))
    env.finish("x", value=b"new")
    assert x.inline == b"new"


def test_a_welcome_says_that_all_before_the_hello_was_heard(env: Env) -> None:
    (old,) = env.submit("x")
    env.handle(Dropped([old]))
    (new,) = env.submit("x")
    env.handle(Connected())
    env.finish("x", value=b"old")
    assert new.status == PENDING
    env.handle(Welcome("epoch", {}))
    env.finish("x", value=b"new")
    assert new.inline == b"new"
    env.handle(Dropped([new]))
    (newer,) = env.submit("x")
    env.handle(Heard(1))  # of the release before
    env.finish("x", value=b"new")
    assert newer.status == PENDING


def test_the_inputs_of_calls_are_those_that_they_do_not_bring() -> None:
    groups: Any = [("f", None, True, [item("y", "x"), item("z", "y", "w")])]
    assert Calls({}, groups).inputs() == {"x", "w"}


def test_what_was_let_go_of_unheard_is_wanted_anew_on_a_new_connection(env: Env) -> None:
    """The scheduler would take the hello for a wish to keep what it has."""
    (kept,) = env.submit("w")
    (old,) = env.submit("x")
    env.handle(Dropped([old]))
    env.submit("x")
    hello, again, anew = env.told(Connected())
    assert hello.wants == ("w",)
    assert [items for _, _, _, items in again.groups] == [[item("w")]] and again.again
    assert [items for _, _, _, items in anew.groups] == [[item("x")]] and not anew.again
    assert kept.status == PENDING


def test_data_that_was_lost_and_is_scattered_again_is_there_for_all_its_futures(env: Env) -> None:
    env.handle(Adopt(["x"], announce=False))
    entry = env.core.entries["x"]
    env.handle(Ended([("x", "lost", "its worker is gone")]))
    assert entry.status == LOST
    env.handle(Adopt(["x"], announce=False))
    assert entry.status == PENDING
    env.finish("x")
    assert entry.status == FINISHED


def test_data_that_was_lost_while_it_was_scattered_again_is_there_in_the_end(env: Env) -> None:
    """The news of the loss came after the question where to bring it."""
    env.handle(Adopt(["x"], announce=False))
    entry = env.core.entries["x"]
    env.handle(Ended([("x", "lost", "its worker is gone")]))
    env.finish("x")
    assert entry.status == FINISHED


def test_who_waits_for_several_waits_again_for_what_is_lost_meanwhile(env: Env) -> None:
    x, y = env.submit("x", "y")
    waiter = Waiter()
    env.handle(Await(waiter, [x, y]))
    env.finish("x")
    env.handle(Pending(["x"]))
    assert env.finish("y") == []
    assert env.finish("x") == [Wake([waiter])]
    assert sorted(entry.key for entry in waiter.done) == ["x", "y"]
    assert env.core._counting == {}


def test_what_had_ended_before_somebody_waited_is_waited_for_if_it_is_lost(env: Env) -> None:
    x, y = env.submit("x", "y")
    env.finish("x")
    waiter = Waiter()
    env.handle(Await(waiter, [x, y]))
    env.handle(Unreachable([("x", ALICE)]))
    assert env.finish("y") == []
    assert env.finish("x") == [Wake([waiter])]


def test_who_does_not_wait_any_more_is_not_woken_by_what_is_made_again(env: Env) -> None:
    x, y = env.submit("x", "y")
    waiter = Waiter()
    env.handle(Await(waiter, [x, y]))
    env.finish("x")
    env.handle(Desist(waiter, [x, y]))
    env.handle(Pending(["x"]))
    assert env.finish("x", "y") == []


def test_who_is_told_of_each_is_told_once(env: Env) -> None:
    x, y = env.submit("x", "y")
    waiter = Waiter(each=True)
    env.handle(Await(waiter, [x, y]))
    env.finish("x")
    env.handle(Pending(["x"]))
    assert env.finish("x") == []
    assert waiter.done == [x]


def test_what_is_fired_and_has_not_ended_is_fired_again_on_a_new_connection(env: Env) -> None:
    x, y, z = env.submit("x", "y", "z")
    assert env.told(Firing([x, y, z])) == [Fire(("x", "y", "z"))]
    env.finish("x")
    env.handle(CallOff([y], False))
    said = env.told(Connected())
    assert [type(message) for message in said] == [ClientHello, Submit, Fire]
    assert said[-1] == Fire(("z",))


def test_a_single_call_is_submitted_before_it_is_fired(env: Env) -> None:
    x = env.call("x")
    assert [type(message) for message in env.told(Firing([x]))] == [Submit, Fire]


def test_what_was_cancelled_is_not_fired(env: Env) -> None:
    (x,) = env.submit("x")
    env.handle(CallOff([x], False))
    assert env.told(Firing([x])) == []


def test_of_what_was_fired_little_is_remembered_that_has_ended(env: Env) -> None:
    for number in range(5 * MIN_FIRED):
        (entry,) = env.submit(f"x{number}")
        env.handle(Firing([entry]))
        env.finish(entry.key)
    assert len(env.core.fired) <= MIN_FIRED


def test_what_is_to_be_used_is_kept_after_a_reconnect_although_its_futures_go(env: Env) -> None:
    """It was submitted for what is to come, and once more with a future, which goes before that comes."""
    first = Calls({"f": b"blob"}, [("f", None, False, [item("x")])], more=True, graph="g")
    env.handle(first)
    (x,) = env.submit("x")
    said = [m for m in env.told(Connected()) if type(m) is Submit]
    assert [(m.groups[0][2], m.more) for m in said] == [(True, True), (False, True)]
    assert said[1].groups[0][3] == [x.item]
