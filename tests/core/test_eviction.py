"""Running tasks are ended with their workers' processes: by force, or when they are over their time."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.core.eviction import FORCE_SECONDS, LATE_SECONDS
from distributed.core.states import MEMORY, PROCESSING
from distributed.messages import (
    Abandoned,
    Cancel,
    Died,
    Drop,
    Ended,
    Failed,
    HelloAgain,
    Kill,
    Run,
    Seceded,
    StartAgain,
    Started,
    Submit,
)
from tests.core.env import Env, item

TICK = 0.25


@pytest.fixture
def env() -> Env:
    """With a client, and a worker of one thread under a nanny."""
    env = Env()
    env.client()
    env.nanny()
    env.worker("W", nanny="N")
    return env


def cancel(env: Env, *keys: str, client: str = "C", force: bool = True) -> None:
    env.send(client, Cancel(keys, force))


def let_pass(env: Env, seconds: float) -> None:
    """Time passes as it does, tick by tick."""
    end = env.now + seconds
    while env.now < end:
        env.tick(min(TICK, end - env.now))


def kills(env: Env) -> list[str]:
    return [id for message in env.take("N", Kill) for id in message.workers]


def limit(seconds: float, **others: Any) -> dict[str, Any]:
    return {"time_limit": seconds, **others}


def submit_pair(env: Env, options: dict[str, Any] | None = None) -> None:
    """A wanted y with these options, which needs x, which is not wanted itself."""
    groups = (("f", None, False, (item("x"),)), ("f", options, True, (item("y", "x"),)))
    env.send("C", Submit({"f": b"blob"}, groups, False))


# By force


def test_what_runs_is_ended_with_its_worker(env: Env) -> None:
    env.submit("C", "x")
    cancel(env, "x")
    assert env.items("W", Drop) == [1]
    assert kills(env) == []  # it may not have started
    let_pass(env, FORCE_SECONDS)
    assert env.take("N", Kill) == [Kill(("W",), "x was cancelled by force while it ran there")]
    env.worker("V", nanny="N")
    let_pass(env, 1)
    assert kills(env) == []
    env.assert_empty()


def test_what_had_not_started_costs_no_worker(env: Env) -> None:
    env.submit("C", "x")
    cancel(env, "x")
    env.send("W", Abandoned((1,)))
    let_pass(env, 1)
    assert kills(env) == []


def test_what_ends_by_itself_costs_no_worker(env: Env) -> None:
    env.submit("C", "x")
    cancel(env, "x")
    env.finish("W", 1)
    let_pass(env, 1)
    assert kills(env) == []


def test_without_force_nothing_is_killed(env: Env) -> None:
    env.submit("C", "x")
    cancel(env, "x", force=False)
    let_pass(env, 1)
    assert kills(env) == []


def test_what_another_client_wants_is_not_ended(env: Env) -> None:
    env.client("D")
    env.submit("C", "x")
    env.submit("D", "x")
    cancel(env, "x")
    let_pass(env, 1)
    assert kills(env) == []
    assert env.state("x") == PROCESSING


def test_the_others_there_run_elsewhere_and_are_not_blamed(env: Env) -> None:
    env.submit("C", "done")
    env.finish("W", 1)
    env.submit("C", "x", "y", ("z", "done"))
    assert set(env.runs("W")) >= {"x", "y"}
    env.worker("V")
    cancel(env, "x")
    let_pass(env, FORCE_SECONDS)
    again = env.runs("V")
    assert "done" in again or "y" in again
    env.finish("V", *again.values())
    while more := env.runs("V"):
        env.finish("V", *more.values())
    assert {env.state(key) for key in ("done", "y", "z")} == {MEMORY}
    tasks = env.core.lifecycle.tasks.values()
    assert {task.deaths for task in tasks} == {()}


def test_what_waits_for_it_and_what_it_only_needed_are_ended_too(env: Env) -> None:
    """An input that nobody else wants, and a task that uses it."""
    submit_pair(env)
    assert set(env.runs("W")) == {"x"}
    cancel(env, "y")
    let_pass(env, FORCE_SECONDS)
    assert kills(env) == ["W"]


def test_a_task_that_uses_what_is_cancelled_is_ended_while_it_runs(env: Env) -> None:
    env.submit("C", "x")
    env.finish("W", 1)
    env.submit("C", ("y", "x"))
    cancel(env, "x")
    let_pass(env, FORCE_SECONDS)
    assert kills(env) == ["W"]


def test_what_was_cancelled_before_can_be_ended_later(env: Env) -> None:
    env.submit("C", "x")
    cancel(env, "x", force=False)
    let_pass(env, 5)
    cancel(env, "x")
    let_pass(env, FORCE_SECONDS + TICK)
    assert kills(env) == ["W"]


def test_one_worker_is_ended_once_for_several(env: Env) -> None:
    env.worker("V", nthreads=2, nanny="N")
    env.submit("C", "a", "b", "c", options={"workers": ("V",)})
    cancel(env, "a", "b", "c")
    let_pass(env, FORCE_SECONDS)
    assert kills(env) == ["V"]


def test_a_worker_without_a_nanny_is_told_itself() -> None:
    env = Env()
    env.client()
    env.worker("W")
    env.submit("C", "x", "y")
    cancel(env, "x")
    let_pass(env, FORCE_SECONDS)
    assert env.take("W", StartAgain)
    env.finish("W", 2)  # its last words count for nothing
    assert env.state("y") != MEMORY
    assert env.take("W", HelloAgain) == []


def test_a_worker_whose_connection_is_broken_is_asked_first_what_it_runs(env: Env) -> None:
    env.submit("C", "x")
    cancel(env, "x")
    env.gone("W")
    let_pass(env, 0.75)
    assert kills(env) == []
    env.worker("W", nanny="N", peer="W2", assigned=((1, "x"),))
    assert env.items("W2", Drop) == [1]
    let_pass(env, TICK)
    assert kills(env) == ["W"]


def test_an_order_that_was_lost_is_given_again(env: Env) -> None:
    env.submit("C", "x")
    cancel(env, "x")
    let_pass(env, FORCE_SECONDS)
    env.take("N", Kill)  # and it never gets there
    env.gone("N")
    env.tick(TICK)
    env.nanny()
    assert kills(env) == ["W"]
    env.send("N", Died("W", "as ordered", "", (), ""))
    env.gone("N")
    env.tick(TICK)
    env.nanny()
    assert kills(env) == []


def test_a_worker_that_should_have_ended_is_not_let_in(env: Env) -> None:
    env.submit("C", "x")
    cancel(env, "x")
    let_pass(env, FORCE_SECONDS)
    env.take("N", Kill)
    env.gone("N")
    env.gone("W")
    env.tick(TICK)
    env.worker("W", nanny="N", peer="W2", assigned=((1, "x"),))
    assert env.take("W2", StartAgain)
    assert "W" not in env.core.members.workers


# Time limits


def test_who_is_over_its_time_fails_and_its_worker_ends(env: Env) -> None:
    env.submit("C", "x", options=limit(2.0))
    (run,) = env.take("W", Run)
    assert run.timed
    env.send("W", Started((1,)))
    let_pass(env, 1.75)
    assert kills(env) == []
    let_pass(env, TICK)
    assert env.take("N", Kill) == [Kill(("W",), "x was over its time there")]
    ((key, how, why),) = env.items("C", Ended)
    assert (key, how) == ("x", "timeout")
    assert "x ran for longer than its time limit of 2 s on W at tcp://W:1" in why


def test_waiting_does_not_count(env: Env) -> None:
    env.submit("C", "x", "y", options=limit(2.0))
    env.send("W", Started((1,)))
    let_pass(env, 1.5)
    env.finish("W", 1)
    let_pass(env, 10)  # before the second starts
    env.send("W", Started((2,)))
    let_pass(env, 1.5)
    env.finish("W", 2)
    let_pass(env, 10)
    assert kills(env) == []
    assert set(env.finished("C")) == {"x", "y"}


def test_others_of_the_same_function_have_no_limit(env: Env) -> None:
    env.worker("V", nthreads=2)
    env.submit("C", "x", options=limit(2.0, workers=["V"]))
    env.submit("C", "y", options={"workers": ["V"]})
    assert [run.timed for run in env.take("V", Run)] == [True, False]


def test_with_retries_it_runs_again(env: Env) -> None:
    env.submit("C", "x", options=limit(1.0, retries=1))
    env.send("W", Started((1,)))
    let_pass(env, 1)
    assert kills(env) == ["W"]
    assert env.items("C", Ended) == []
    env.worker("V", nanny="N")
    (assignment,) = env.runs("V").values()
    env.send("V", Started((assignment,)))
    let_pass(env, 1)
    assert kills(env) == ["V"]
    assert [item[1] for item in env.items("C", Ended)] == ["timeout"]
    env.release("C", "x")
    env.assert_empty()


def test_the_others_there_are_not_blamed_for_the_time(env: Env) -> None:
    env.worker("V", nthreads=2, nanny="N")
    env.submit("C", "x", options=limit(1.0, workers=["V"]))
    env.submit("C", "y", options={"workers": ["V", "V2"]})
    env.send("V", Started((env.runs("V")["x"],)))
    let_pass(env, 1)
    assert kills(env) == ["V"]
    env.worker("V2", nanny="N")
    assert set(env.runs("V2")) == {"y"}
    assert env.core.lifecycle.tasks["y"].deaths == ()


def test_two_that_are_over_their_time_end_together(env: Env) -> None:
    env.worker("V", nthreads=2, nanny="N")
    env.submit("C", "a", "b", options=limit(1.0, workers=["V"]))
    env.send("V", Started(tuple(env.runs("V").values())))
    let_pass(env, 1)
    assert kills(env) == ["V"]
    assert {item[0] for item in env.items("C", Ended)} == {"a", "b"}


def test_a_task_that_waits_for_others_is_not_spared(env: Env) -> None:
    env.submit("C", "x", options=limit(1.0))
    env.send("W", Started((1,)), Seceded((1,)))
    let_pass(env, 1)
    assert kills(env) == ["W"]


def test_the_time_goes_on_while_the_connection_is_broken(env: Env) -> None:
    env.submit("C", "x", options=limit(2.0))
    env.send("W", Started((1,)))
    let_pass(env, 1)
    env.gone("W")
    let_pass(env, 0.5)
    env.worker("W", nanny="N", peer="W2", assigned=((1, "x"),))
    env.send("W2", Started((1,)))  # it says so again
    let_pass(env, 0.25)
    assert kills(env) == []
    let_pass(env, 0.25)
    assert kills(env) == ["W"]


def test_a_result_that_came_in_time_counts_although_the_scheduler_was_held_up(env: Env) -> None:
    env.submit("C", "x", options=limit(2.0))
    env.send("W", Started((1,)))
    let_pass(env, 1)
    env.stall(LATE_SECONDS + 5)  # it has not read anything for so long
    assert kills(env) == []
    env.finish("W", 1)
    let_pass(env, 1)
    assert kills(env) == []
    assert env.finished("C") == ["x"]


def test_an_exception_in_time_is_just_that(env: Env) -> None:
    env.submit("C", "x", options=limit(2.0))
    env.send("W", Started((1,)))
    env.fail("W", 1)
    let_pass(env, 5)
    assert kills(env) == []
    assert env.items("C", Failed) == [("x", b"exception")]


def test_what_was_cancelled_has_no_limit_any_more(env: Env) -> None:
    env.submit("C", "x", options=limit(2.0))
    env.send("W", Started((1,)))
    cancel(env, "x", force=False)
    let_pass(env, 5)
    assert kills(env) == []


def test_an_input_that_ends_with_its_worker_is_computed_again(env: Env) -> None:
    submit_pair(env, limit(1.0, retries=1))
    env.finish("W", 1)
    env.send("W", Started((2,)))
    let_pass(env, 1)
    env.worker("V", nanny="N")
    env.finish("V", env.runs("V")["x"])
    env.finish("V", env.runs("V")["y"])
    assert env.finished("C") == ["y"]


# After a restart of the scheduler


@pytest.fixture
def heir() -> Env:
    """With a worker that is at x since an earlier life of the scheduler."""
    env = Env(first_assignment=1000)
    env.nanny()
    env.worker("W", nanny="N", assigned=((7, "x"),), epoch="an earlier epoch")
    return env


def test_a_limit_holds_for_what_goes_on_after_a_restart(heir: Env) -> None:
    heir.send("W", Started((7,)))
    let_pass(heir, 0.5)
    heir.client("C", "x", epoch="an earlier epoch")
    heir.submit("C", "x", options=limit(2.0), again=True)
    let_pass(heir, 1.25)
    assert kills(heir) == []
    let_pass(heir, 0.25)
    assert kills(heir) == ["W"]
    assert [item[1] for item in heir.items("C", Ended)] == ["timeout"]


def test_what_another_client_may_be_about_to_want_is_not_ended(heir: Env) -> None:
    heir.client("C", epoch="an earlier epoch")
    cancel(heir, "x")
    let_pass(heir, 1)
    assert kills(heir) == []
    heir.client("D", "x", epoch="an earlier epoch")
    heir.submit("D", "x", again=True)
    cancel(heir, "x", client="D")
    let_pass(heir, FORCE_SECONDS)
    assert kills(heir) == ["W"]
