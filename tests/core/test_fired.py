"""Fired work: done without a future and without its client, and kept for the next scheduler."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.core import fired
from distributed.core.entrusted import Entrusted
from distributed.core.fired import MAX_BYTES, as_sent
from distributed.core.lifecycle import _options
from distributed.core.recovery import PAUSE_SECONDS
from distributed.core.states import MEMORY, PROCESSING
from distributed.messages import (
    Cancel,
    Discharge,
    Entrust,
    Errors,
    Fire,
    Goodbye,
    Heard,
    Release,
    Restart,
    Submit,
    Warn,
)
from tests.core.env import Env, item


@pytest.fixture
def env() -> Env:
    """With one client and two workers."""
    env = Env()
    env.client()
    env.worker("W")
    env.worker("V")
    return env


def fire(env: Env, *tasks: Any, **options: Any) -> None:
    env.submit("C", *tasks, **options)
    env.send("C", Fire(tuple(t if isinstance(t, str) else t[0] for t in tasks)))


def work(env: Env) -> None:
    """The workers do what they have been given, and what follows from that."""
    while runs := [(worker, env.runs(worker)) for worker in "WV"]:
        for worker, given in runs:
            env.finish(worker, *given.values())
        if not any(given for _, given in runs):
            return


def kept(env: Env, *workers: str) -> dict[str, int]:
    """How many of these workers have been given the recipe of each key to keep."""
    found: dict[str, int] = {}
    for worker in workers:
        for message in env.take(worker, Entrust):
            for key in message.keys:
                found[key] = found.get(key, 0) + 1
    return found


def test_fired_work_goes_on_when_its_client_has_left(env: Env) -> None:
    fire(env, "x", "y", "z")
    env.send("C", Goodbye())
    assert env.core.members.clients == {}
    work(env)
    env.assert_empty()
    assert env.logged == []


def test_its_result_stays_as_long_as_a_future_does(env: Env) -> None:
    fire(env, "x")
    work(env)
    assert env.finished("C") == ["x"] and env.state("x") == MEMORY
    env.release("C", "x")
    env.assert_empty()


def test_what_has_ended_when_it_is_fired_is_not_kept(env: Env) -> None:
    env.submit("C", "x")
    work(env)
    env.send("C", Fire(("x",)))
    assert env.core.fired.trustees == {}
    env.release("C", "x")
    env.assert_empty()


def test_how_it_fails_is_logged(env: Env) -> None:
    fire(env, "x", ("y", "x"), options={"workers": ("W",)})
    env.send("C", Goodbye())
    env.send("W", Errors([(env.runs("W")["x"], b"ValueError: no such thing\nand a pickle")]))
    assert env.logged == [
        "fired work x has failed: ValueError: no such thing",
        "fired work y has failed: ValueError: no such thing",
    ]
    env.assert_empty()


def test_what_is_not_known_any_more_is_logged(env: Env) -> None:
    env.send("C", Fire(("x",)))
    (line,) = env.logged
    assert (
        line == "fired work x has failed: lost: x had been forgotten when its future arrived here"
    )


def test_why_it_waits_is_logged(env: Env) -> None:
    fire(env, "x", options={"workers": ("nobody",)})
    env.send("C", Goodbye())
    env.tick(5)
    (line,) = env.logged
    assert (
        line
        == "fired work waits: there is work for a worker named nobody, but there are only: W, V"
    )


def test_it_is_called_off_by_cancel_and_by_restart(env: Env) -> None:
    fire(env, "x", "y")
    runs = env.runs("W") | env.runs("V")
    env.send("C", Cancel(("x",), False, 1))
    assert env.take("C", Heard) == [Heard(1)]
    assert env.state("x") is None and env.state("y") == PROCESSING
    assert env.items("W", Discharge) == env.items("V", Discharge) == ["x"]
    env.send("C", Restart(1))
    assert env.core.fired.trustees == {} and env.state("y") is None
    assert sorted(runs) == ["x", "y"]


def test_a_dependent_that_was_fired_keeps_what_it_needs_from_being_cancelled(env: Env) -> None:
    env.submit("C", "x")
    fire(env, ("y", "x"))
    env.send("C", Cancel(("x",), False, 1))
    assert env.state("x") == PROCESSING


def test_what_is_fired_after_a_restart_was_said_is_cancelled_too(env: Env) -> None:
    env.client("B")
    env.submit("C", "x")
    env.send("B", Restart(1))
    env.send("C", Fire(("x",)))
    assert env.core.fired.trustees == {} and env.logged == []


def test_a_cluster_does_not_end_for_idleness_before_it_is_done() -> None:
    env = Env(idle_timeout=10.0)
    env.client()
    env.worker("W")
    fire(env, "x")
    env.send("C", Goodbye())
    env.tick(30)
    assert not env.exit
    env.finish("W", *env.runs("W").values())
    env.send("W", Goodbye())
    env.tick(30)
    assert env.exit


# Workers keep the recipes


def test_two_workers_keep_the_recipes_of_all_that_it_needs(env: Env) -> None:
    env.worker("U")
    env.submit("C", "a", "b", wanted=False, more=True)
    options = {"retries": 2, "resources": {"GPU": 1.0}, "time_limit": 5, "workers": ("W", "V")}
    fire(env, ("x", "a", "b"), function="g", options=options)
    given = [message for worker in "WVU" for message in env.take(worker, Entrust)]
    assert len(given) == 2
    assert given[0] == given[1]
    _, functions, groups, keys = given[0]
    assert keys == ("x",) and functions == {"f": b"blob", "g": b"blob"}
    inputs, (function, said, wanted, items) = groups
    assert {found[0] for found in inputs[3]} == {"a", "b"} and inputs[:3] == ("f", None, False)
    assert (function, wanted) == ("g", False)
    assert items[0][:3] == ("x", b"args", ("a", "b"))
    assert _options(said) == _options(options)


def test_a_worker_that_is_lost_is_replaced_as_keeper(env: Env) -> None:
    fire(env, "x", options={"workers": ("W",)})
    assert kept(env, "W", "V") == {"x": 2}
    env.worker("U")
    assert kept(env, "U") == {}
    env.send("V", Goodbye())
    assert kept(env, "U") == {"x": 1}


def test_with_one_worker_the_next_keeps_it_too() -> None:
    env = Env()
    env.client()
    fire(env, "x", "y")
    env.worker("W")
    assert kept(env, "W") == {"x": 1, "y": 1}
    env.worker("V")
    assert kept(env, "V") == {"x": 1, "y": 1}


def test_what_a_worker_keeps_in_vain_is_discharged_when_it_comes_back(env: Env) -> None:
    fire(env, "x", "y", options={"workers": ("W",)})
    (message,) = env.take("V", Entrust)
    env.finish("W", env.runs("W")["x"])
    env.worker("V", peer="V2", epoch="epoch")
    env.send("V2", message)
    assert env.items("V2", Discharge) == ["x"]
    assert [w.id for w in env.core.fired.trustees["y"]] == ["W", "V"]


def test_large_recipes_go_in_several_messages(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fired, "BATCH_TASKS", 3)
    fire(env, *"abcdefgh")
    assert [len(message.keys) for message in env.take("W", Entrust)] == [3, 3, 2]


def test_what_is_too_large_to_be_kept_is_said(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fired, "MAX_BYTES", 3)
    fire(env, "x")
    assert kept(env, "W", "V") == {}
    assert all("workers keep 3 at most" in line for line in env.logged) and env.logged
    assert MAX_BYTES < 1 << 30


# The next scheduler


@pytest.fixture
def heir() -> Env:
    return Env(first_assignment=1000)


OLD = "an earlier epoch"
KEPT = Entrust(
    OLD, {"f": b"blob"}, (("f", None, False, (item("a"), item("x", "a"), item("y"))),), ("x",)
)


def test_a_new_scheduler_takes_up_what_has_not_ended(heir: Env) -> None:
    heir.worker("W", epoch=OLD)
    heir.send("W", KEPT)
    heir.tick(PAUSE_SECONDS)
    for key in ("a", "x"):
        runs = heir.runs("W")
        assert list(runs) == [key]
        heir.finish("W", *runs.values())
    assert heir.items("W", Discharge) == ["x"]
    heir.assert_empty()
    assert heir.core.lifecycle.functions == {}


def test_what_two_workers_bring_is_done_once(heir: Env) -> None:
    heir.worker("W", epoch=OLD)
    heir.send("W", KEPT)
    heir.worker("V", epoch=OLD)
    heir.send("V", KEPT)
    heir.tick(PAUSE_SECONDS)
    work(heir)
    assert heir.items("W", Discharge) == heir.items("V", Discharge) == ["x"]
    heir.worker("U", epoch=OLD)
    heir.send("U", KEPT)
    assert heir.items("U", Discharge) == ["x"]
    heir.assert_empty()


def test_what_has_been_done_before_the_new_scheduler_came_is_not_done_again(heir: Env) -> None:
    heir.worker("W", holds=(("x", 8),), epoch=OLD)
    heir.send("W", KEPT)
    heir.tick(PAUSE_SECONDS)
    assert heir.runs("W") == {} and heir.items("W", Discharge) == ["x"]


def test_it_goes_together_with_what_its_client_submits_again(heir: Env) -> None:
    heir.worker("W", epoch=OLD)
    heir.send("W", KEPT)
    heir.client("C", "x", epoch=OLD)
    heir.submit("C", "a", ("x", "a"), again=True)
    heir.send("C", Fire(("x",)))
    heir.tick(PAUSE_SECONDS)
    heir.finish("W", *heir.runs("W").values())
    heir.finish("W", *heir.runs("W").values())
    assert heir.finished("C") == ["a", "x"]


def test_recipes_without_their_functions_are_refused(heir: Env) -> None:
    heir.worker("W", epoch=OLD)
    heir.send("W", KEPT._replace(functions={}))
    assert heir.core.fired.trustees == {}
    assert heir.logged == ["worker W at tcp://W:1 has kept fired work without its functions"]


def test_options_come_back_as_they_were_sent() -> None:
    options = {"priority": 2, "retries": 1, "workers": ["a"], "loose": True, "time_limit": 3}
    assert _options(as_sent(_options(options))) == _options(options)
    assert as_sent(_options(None)) is None


# What a worker keeps


def test_a_worker_says_what_has_not_ended() -> None:
    entrusted = Entrusted()
    message = KEPT._replace(keys=("x", "y"))
    entrusted.take(message)
    entrusted.discharge(["x", "unknown"])
    assert entrusted.said() == [message._replace(keys=("y",))]
    entrusted.discharge(["y"])
    assert entrusted.said() == [] and not entrusted


def test_what_comes_anew_replaces_what_it_kept() -> None:
    entrusted = Entrusted()
    entrusted.take(KEPT._replace(keys=("x", "y")))
    newer = KEPT._replace(epoch="newer")
    entrusted.take(newer)
    assert entrusted.said() == [KEPT._replace(keys=("y",)), newer]


def test_nobody_is_warned_twice(env: Env) -> None:
    """The client that waits for it is told as well."""
    fire(env, "x", options={"workers": ("nobody",)})
    env.tick(5)
    assert len(env.take("C", Warn)) == 1 and len(env.logged) == 1


def test_a_submission_in_the_same_batch_is_fired(env: Env) -> None:
    submission = Submit({"f": b"blob"}, (("f", None, True, (item("x"),)),), False)
    env.send("C", submission, Fire(("x",)), Goodbye())
    assert env.state("x") == PROCESSING


def test_what_was_fired_and_has_ended_does_not_serve_the_same_work_asked_for_anew(env: Env) -> None:
    env.submit("C", "x")
    work(env)
    submission = Submit({"f": b"blob"}, (("f", None, True, (item("x"),)),), False, call=9)
    env.send("C", Fire(("x",)), Release(("x",), 1), submission)
    assert env.state("x") == PROCESSING
