"""The scheduler asks workers what they have, and mends its books."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.core.audit import AUDIT_SECONDS, LOST_SECONDS
from distributed.core.placement import UNKNOWN_SECONDS
from distributed.core.states import MEMORY, PROCESSING
from distributed.messages import (
    AUDIT_KEYS,
    Audit,
    Audited,
    Drop,
    Free,
    Retract,
    Scatter,
    Seceded,
)
from tests.core.env import LATEST, Env


@pytest.fixture
def env() -> Env:
    """A client and a worker of two threads."""
    env = Env()
    env.client()
    env.worker(nthreads=2)
    return env


def asked(env: Env, worker: str = "W") -> Audit:
    """The question, after time has passed."""
    env.tick()
    env.tick(AUDIT_SECONDS)
    (question,) = env.take(worker, Audit)
    return question


def answer(env: Env, question: Audit, worker: str = "W", jobs: Any = (), **fields: Any) -> None:
    """`jobs` are (assignment, key), or all four."""
    jobs = tuple(job if len(job) == 4 else (*job, False, False) for job in jobs)
    empty: dict[str, Any] = {"running": (), "fetching": (), "absent": (), "holds": ()}
    env.send(worker, Audited(number=question.number, jobs=jobs, **{**empty, **fields}))


def assert_mended(env: Env, text: str) -> None:
    assert env.core.lifecycle.repairs
    (line,) = env.logged
    assert line.startswith("the books were wrong: worker W ") and text in line, line


def test_an_answer_that_agrees_changes_nothing(env: Env) -> None:
    env.submit("C", "x", "y")
    runs = env.runs("W")
    env.finish("W", runs["x"])
    question = asked(env)
    assert question.keys == ("x",)
    answer(env, question, jobs=[(runs["y"], "y")], holds=[("x", 28, LATEST)])
    assert env.inbox["W"] == []
    assert env.logged == [] and env.core.lifecycle.repairs == 0
    assert env.state("x") is MEMORY and env.state("y") is PROCESSING


def test_each_worker_is_asked_again_and_again(env: Env) -> None:
    for _ in range(3):
        answer(env, asked(env))
        env.tick(AUDIT_SECONDS / 4)
        assert env.take("W", Audit) == []


def test_what_a_worker_does_not_have_runs_again(env: Env) -> None:
    env.submit("C", "x")
    first = env.runs("W")["x"]
    answer(env, asked(env))
    second = env.runs("W")["x"]
    assert second > first
    assert_mended(env, "does not have x, which runs again")
    env.finish("W", first)
    assert env.state("x") is PROCESSING
    env.finish("W", second)
    assert env.finished("C") == ["x"]


def test_what_was_sent_after_the_question_is_not_missed(env: Env) -> None:
    question = asked(env)
    env.submit("C", "x")
    answer(env, question)
    assert len(env.runs("W")) == 1 and env.logged == []


def test_an_input_that_failed_meanwhile_fails_what_is_run_again(env: Env) -> None:
    """Two are lost, and one of them uses what has been lost for good."""
    env.send("C", Scatter(1, (("s", 8),), None))
    env.finish("W", *env.core.members.workers["W"].incoming)
    env.submit("C", ("x", "s"), ("y", "s"))
    env.runs("W")
    answer(env, asked(env), absent=["s"])
    assert env.state("x") == env.state("y") == "erred"
    assert len(env.logged) == 2


def test_what_nobody_knows_to_be_there_is_given_up(env: Env) -> None:
    answer(env, asked(env), jobs=[(99, "x")])
    assert env.items("W", Drop) == [99]
    assert_mended(env, "has x, which nobody knows to be there")
    env.submit("C", "a", "b")
    assert list(env.runs("W")) == ["a", "b"]  # the second is prefetched: one thread is taken


def test_a_drop_that_was_lost_is_said_again(env: Env) -> None:
    env.submit("C", "x")
    number = env.runs("W")["x"]
    env.release("C", "x")
    assert env.items("W", Drop) == [number]
    question = asked(env)
    answer(env, question, jobs=[(number, "x", True, False)])
    assert env.inbox["W"] == [] and env.logged == []
    answer(env, asked(env), jobs=[(number, "x", False, False)])
    assert env.items("W", Drop) == [number]
    assert_mended(env, "has not heard that x was called off")


def test_a_drop_after_the_question_is_not_said_twice(env: Env) -> None:
    env.submit("C", "x")
    number = env.runs("W")["x"]
    question = asked(env)
    env.release("C", "x")
    answer(env, question, jobs=[(number, "x")])
    assert env.items("W", Drop) == [number] and env.logged == []


def test_what_was_given_up_without_a_word_is_struck_out(env: Env) -> None:
    env.submit("C", "x")
    env.release("C", "x")
    answer(env, asked(env))
    assert_mended(env, "has given x up long ago")
    assert env.core.members.workers["W"].assigned == {}


def test_a_result_that_is_not_there_is_computed_again(env: Env) -> None:
    env.submit("C", "x")
    env.finish("W", env.runs("W")["x"])
    question = asked(env)
    answer(env, question, absent=["x"])
    assert list(env.runs("W")) == ["x"]
    assert_mended(env, "does not hold x")


def test_only_what_was_asked_about_can_be_absent(env: Env) -> None:
    question = asked(env)
    env.submit("C", "x")
    env.finish("W", env.runs("W")["x"])
    answer(env, question, absent=["x"])
    assert env.state("x") is MEMORY and env.logged == []


def test_data_that_nobody_needs_is_freed(env: Env) -> None:
    answer(env, asked(env), holds=[("x", 28, LATEST)])
    assert env.items("W", Free) == ["x"]
    assert_mended(env, "holds x, which nobody knew")


def test_a_lost_report_is_made_good_by_the_data_that_lies_there(env: Env) -> None:
    env.submit("C", "x")
    env.runs("W")
    answer(env, asked(env), holds=[("x", 28, LATEST)])
    assert env.finished("C") == ["x"]
    assert env.runs("W") == {}
    assert len(env.logged) == 2


def test_scattered_data_whose_arrival_was_not_told_is_there(env: Env) -> None:
    env.send("C", Scatter(1, (("s", 8),), None))
    answer(env, asked(env), holds=[("s", 8, LATEST)])
    assert env.finished("C") == ["s"]
    assert env.core.members.workers["W"].incoming == {}


def test_what_is_freed_while_the_question_is_open_may_still_be_there(env: Env) -> None:
    env.submit("C", "x", "y")
    env.finish("W", *env.runs("W").values())
    question = asked(env)
    env.release("C", "x")
    assert env.items("W", Free) == ["x"]
    answer(env, question, holds=[("x", 28, LATEST), ("y", 28, LATEST)])
    assert env.inbox["W"] == [] and env.logged == []


def test_what_is_made_anew_there_may_lie_there_from_before(env: Env) -> None:
    """A result that came when it had been called off stays, if the same task runs there again."""
    second = env.made_anew("x")
    env.take("W", Free)
    answer(env, asked(env), jobs=[(second, "x")], holds=[("x", 28, second - 1)])
    assert env.take("W", Free) == [] and env.logged == []


def test_a_stale_answer_counts_for_nothing(env: Env) -> None:
    env.submit("C", "x")
    env.runs("W")
    question = asked(env)
    answer(env, question._replace(number=question.number + 1))
    assert env.runs("W") == {} and env.logged == []
    env.worker(nthreads=2, assigned=((env.core.queues.next_assignment - 1, "x"),), peer="W2")
    answer(env, question, worker="W2")
    assert env.runs("W2") == {} and env.logged == []


def test_a_question_without_an_answer_is_asked_again(env: Env) -> None:
    first = asked(env)
    env.tick(LOST_SECONDS)
    assert env.take("W", Audit) == []
    env.tick(0.1)
    (second,) = env.take("W", Audit)
    env.submit("C", "x")
    env.runs("W")
    answer(env, first)
    assert env.logged == [] and env.runs("W") == {}
    assert second.number > first.number


def test_a_worker_that_waits_for_others_is_known_to(env: Env) -> None:
    env.submit("C", "x", "y")
    runs = env.runs("W")
    number = runs["x"]
    env.send("W", Seceded([runs["y"]]))
    answer(env, asked(env), jobs=[(number, "x", False, True), (runs["y"], "y", False, True)])
    assert env.core.members.workers["W"].seceded == {*runs.values()}
    assert_mended(env, "has not said that x waits for others")


def test_a_worker_that_does_not_say_what_it_hands_back_is_asked_again(env: Env) -> None:
    keys = [f"x{n}" for n in range(3)]
    env.submit("C", *keys)
    runs = env.runs("W")
    jobs = [(number, key) for key, number in runs.items()]
    assert len(jobs) > 2, "something is prefetched"
    env.tick(UNKNOWN_SECONDS)
    env.worker("V")
    env.tick(1.0)
    assert env.take("W", Retract)
    answer(env, asked(env), jobs=jobs)
    assert_mended(env, "has not said what it hands back for worker V")
    assert env.take("W", Retract)


def test_what_is_asked_about_goes_in_parts(env: Env) -> None:
    keys = [f"x{n}" for n in range(AUDIT_KEYS + 5)]
    env.submit("C", *keys)
    while runs := env.runs("W"):
        env.finish("W", *runs.values())
    first = asked(env).keys
    assert len(first) == AUDIT_KEYS
    env.tick(LOST_SECONDS + AUDIT_SECONDS)
    (second,) = env.take("W", Audit)
    assert {*first, *second.keys} == set(keys) and len(second.keys) == 5


def test_nothing_is_compared_while_an_earlier_life_is_recovered(env: Env) -> None:
    env.core.queues.recovery.arrival(env.now, is_first_work=False)
    answer(env, asked(env), holds=[("x", 28, LATEST)])
    assert env.take("W", Free) == [] and env.logged == []
