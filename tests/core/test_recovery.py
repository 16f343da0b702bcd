"""A scheduler that takes the place of one that died: what its members bring, in whatever order."""

from __future__ import annotations

import pytest

from distributed.core.patience import SILENCE_SECONDS
from distributed.core.reasons import why
from distributed.core.recovery import MIN_SECONDS, PAUSE_SECONDS
from distributed.messages import (
    Abandoned,
    Done,
    Drop,
    Ended,
    Finished,
    Free,
    Goodbye,
    Holds,
    Pending,
    Reply,
    Run,
    Scatter,
    Want,
)
from tests.core.env import Env

OLD = "an earlier epoch"


@pytest.fixture
def env() -> Env:
    return Env(first_assignment=1000)


def over(env: Env) -> None:
    env.tick(SILENCE_SECONDS)


def test_a_result_that_a_worker_brings_is_not_computed_again(env: Env) -> None:
    env.worker("W", holds=(("x", 8),), epoch=OLD)
    env.client("C", "x", epoch=OLD)
    env.submit("C", "x", again=True)
    assert env.items("W", Free) == []
    assert env.finished("C") == ["x"]
    env.tick(PAUSE_SECONDS)
    assert env.runs("W") == {}
    env.release("C", "x")
    assert env.items("W", Free) == ["x"]
    env.assert_empty()


def test_nothing_is_given_out_before_others_have_had_time_to_come(env: Env) -> None:
    env.client("C", "x", epoch=OLD)
    env.submit("C", "x", again=True)
    env.worker("W1", epoch=OLD)
    assert env.runs("W1") == {}
    env.worker("W2", holds=(("x", 8),), epoch=OLD)
    assert env.finished("C") == ["x"]
    env.tick(PAUSE_SECONDS)
    assert env.runs("W1") == {}


def test_after_the_pause_work_is_given_out(env: Env) -> None:
    env.client("C", "x", epoch=OLD)
    env.submit("C", "x", again=True)
    env.worker("W", epoch=OLD)
    env.tick(PAUSE_SECONDS)
    assert list(env.runs("W")) == ["x"]


def test_a_cluster_without_an_earlier_life_makes_no_pause(env: Env) -> None:
    env.client("C")
    env.worker("W", holds=(("x", 8),))
    assert env.items("W", Free) == ["x"]
    env.submit("C", "x", again=True)
    assert list(env.runs("W")) == ["x"]


def test_data_that_is_released_before_it_could_be_scattered_is_not_asked_for(env: Env) -> None:
    env.worker("W", epoch=OLD)
    env.client("C", "data", epoch=OLD)
    env.send("C", Scatter(1, (("data", 8), ("other", 8)), None))
    env.release("C", "data")
    env.tick(PAUSE_SECONDS)
    (reply,) = env.take("C", Reply)
    assert [target[0] for target in reply.value] == ["other"]
    env.release("C", "other")
    env.assert_empty()


def test_late_comers_do_not_halt_a_cluster_that_works(env: Env) -> None:
    env.client("C")
    env.worker("W")
    env.submit("C", "x", again=True)
    assert list(env.runs("W")) == ["x"]
    env.worker("late", epoch=OLD)
    env.submit("C", "y", again=True)
    assert list(env.runs("late")) == ["y"]


def test_only_what_is_needed_of_a_graph_is_computed(env: Env) -> None:
    env.worker("W", holds=(("b", 8),), epoch=OLD)
    env.client("C", "d", epoch=OLD)
    env.submit("C", "a", ("b", "a"), ("c", "b"), wanted=False, more=True, again=True)
    env.submit("C", ("d", "c"), again=True)
    env.tick(PAUSE_SECONDS)
    assert list(env.runs("W")) == ["c"]
    assert env.state("a") == "released"
    assert env.state("b") == "memory"


def test_copies_are_all_counted(env: Env) -> None:
    env.worker("W1", holds=(("x", 8),), epoch=OLD)
    env.worker("W2", holds=(("x", 8),), epoch=OLD)
    env.client("C", "x", epoch=OLD)
    env.submit("C", "x", again=True)
    env.gone("W1")
    assert env.items("C", Pending) == []
    assert env.state("x") == "memory"


def test_what_nobody_asks_for_is_deleted_in_the_end(env: Env) -> None:
    env.worker("W", holds=(("x", 8),), epoch=OLD)
    env.client("C")
    env.tick(SILENCE_SECONDS / 2)
    assert env.items("W", Free) == []
    over(env)
    assert env.items("W", Free) == ["x"]


def test_what_lay_on_a_worker_that_dies_again_is_computed(env: Env) -> None:
    env.worker("W1", holds=(("x", 8),), epoch=OLD)
    env.worker("W2", epoch=OLD)
    env.gone("W1")
    env.client("C", "x", epoch=OLD)
    env.submit("C", "x", again=True)
    env.tick(PAUSE_SECONDS)
    assert list(env.runs("W2")) == ["x"]


# Data that nobody can compute


def test_scattered_data_survives(env: Env) -> None:
    env.worker("W", holds=(("data", 8),), epoch=OLD)
    env.client("C", "data", epoch=OLD)
    env.send("C", Want(("data",)))
    assert env.finished("C") == ["data"]


def test_who_wants_it_waits_for_the_worker_that_brings_it(env: Env) -> None:
    env.client("C", "data", "y", epoch=OLD)
    env.submit("C", ("y", "data"), again=True)
    env.send("C", Want(("data",)))
    assert env.state("data") == "no-worker"
    env.worker("W", holds=(("data", 8),), epoch=OLD)
    assert env.finished("C") == ["data"]
    env.tick(PAUSE_SECONDS)
    assert list(env.runs("W")) == ["y"]


def test_if_none_does_it_is_lost_and_what_needs_it_too(env: Env) -> None:
    env.client("C", "data", "y", epoch=OLD)
    env.submit("C", ("y", "data"), again=True)
    env.send("C", Want(("data",)))
    env.worker("W", epoch=OLD)
    assert env.items("C", Ended) == []
    assert why(env.core.lifecycle, {}, "y", env.core.now) == (
        "it waits for data, which is data that a worker may still bring: the scheduler was started again, "
        "and waits for that for 30 s more"
    )
    over(env)
    found = env.items("C", Ended)
    assert {item[:2] for item in found} == {("data", "lost"), ("y", "lost")}
    assert all("no worker has brought data" in item[2] for item in found)


def test_who_can_make_it_comes_after_it_has_been_of_use_and_was_deleted(env: Env) -> None:
    """Its user is still there, and nobody has said how it is made (seed 670320391023)."""
    env.client("C", "y", epoch=OLD)
    env.submit("C", ("y", "x"), again=True)
    env.worker("W", holds=(("x", 8), ("y", 8)), epoch=OLD)
    assert env.items("W", Free) == ["x"]
    env.client("D", "x", epoch=OLD)
    env.submit("D", "x", again=True)
    env.tick(PAUSE_SECONDS)
    env.finish("W", env.runs("W")["x"])
    assert env.finished("D") == ["x"]


def test_it_takes_as_long_as_somebody_may_be_away() -> None:
    for worker_timeout, client_timeout, seconds in ((7, 6, 7), (6, 8, 8), (1, 1, MIN_SECONDS)):
        env = Env(worker_timeout=worker_timeout, client_timeout=client_timeout)
        env.client("C", "data", epoch=OLD)
        env.send("C", Want(("data",)))
        env.tick(seconds - 0.1)
        assert env.items("C", Ended) == []
        env.tick(0.1)
        assert [item[:2] for item in env.items("C", Ended)] == [("data", "lost")]


def test_data_without_takers_that_was_expected_is_forgotten(env: Env) -> None:
    env.client("C", "data", epoch=OLD)
    env.send("C", Want(("data",)))
    env.release("C", "data")
    env.assert_empty()
    over(env)
    assert env.items("C", Ended) == []


def test_who_knows_how_it_is_made_may_come_later(env: Env) -> None:
    env.client("B", "x", epoch=OLD)
    env.send("B", Want(("x",)))
    env.worker("W", epoch=OLD)
    env.client("A", "x", epoch=OLD)
    env.submit("A", "x", again=True)
    env.tick(PAUSE_SECONDS)
    runs = env.runs("W")
    assert list(runs) == ["x"]
    env.finish("W", runs["x"])
    assert env.finished("A") == env.finished("B") == ["x"]


def test_what_is_there_and_was_made_by_somebody_can_be_made_again(env: Env) -> None:
    env.worker("W1", holds=(("x", 8),), epoch=OLD)
    env.worker("W2", epoch=OLD)
    env.client("B", "x", epoch=OLD)
    env.send("B", Want(("x",)))
    env.client("A", "x", epoch=OLD)
    env.submit("A", "x", again=True)
    env.tick(PAUSE_SECONDS)
    env.gone("W1")
    assert list(env.runs("W2")) == ["x"]


def test_data_may_be_scattered_again_meanwhile(env: Env) -> None:
    env.worker("W", epoch=OLD)
    env.client("C", "data", epoch=OLD)
    env.send("C", Want(("data",)))
    env.tick(PAUSE_SECONDS)
    env.send("C", Scatter(1, (("data", 8),), None))
    assert env.state("data") == "processing"
    over(env)
    assert env.items("C", Ended) == []


def test_data_that_is_lost_in_this_life_is_not_waited_for(env: Env) -> None:
    env.worker("W", holds=(("data", 8),), epoch=OLD)
    env.client("C", "data", epoch=OLD)
    env.send("C", Want(("data",)))
    env.gone("W")
    ((key, how, _),) = env.items("C", Ended)
    assert (key, how) == ("data", "lost")


def test_a_request_for_workers_waits_until_they_have_had_time_to_come(env: Env) -> None:
    env.client("C", epoch=OLD)
    env.client("B", epoch=OLD)
    env.send("C", Scatter(1, (("data", 8),), None))
    env.send("B", Scatter(1, (("other", 8),), None))
    env.send("B", Goodbye())
    env.worker("W", epoch=OLD)
    assert env.take("C", Reply) == []
    env.tick(PAUSE_SECONDS)
    (reply,) = env.take("C", Reply)
    assert reply.ok and reply.value[0][:2] == ("data", "tcp://W:1")
    assert env.state("other") is None


# Work that goes on


@pytest.mark.parametrize("client_first", [False, True])
def test_a_task_that_runs_goes_on(env: Env, client_first: bool) -> None:
    if not client_first:
        env.worker("W", assigned=((7, "x"),), epoch=OLD)
    env.client("C", "x", epoch=OLD)
    env.submit("C", "x", again=True)
    if client_first:
        env.worker("W", assigned=((7, "x"),), epoch=OLD)
    env.tick(PAUSE_SECONDS)
    assert env.state("x") == "processing"
    assert env.take("W", Run) == env.take("W", Drop) == []
    env.finish("W", 7)
    assert [m.items[0][2] for m in env.take("C", Finished)] == [b"v"]


def test_it_may_end_before_anybody_asks_for_it(env: Env) -> None:
    env.worker("W", assigned=((7, "x"),), epoch=OLD)
    env.finish("W", 7)
    assert env.items("W", Free) == []
    env.client("C", "x", epoch=OLD)
    env.submit("C", "x", again=True)
    assert env.finished("C") == ["x"]


def test_it_goes_on_once_its_inputs_are_known_to_be_there(env: Env) -> None:
    env.client("C", "y", epoch=OLD)
    env.submit("C", "x", wanted=False, more=True, again=True)
    env.submit("C", ("y", "x"), again=True)
    env.worker("W1", assigned=((7, "y"),), epoch=OLD)
    assert env.state("y") == "waiting"
    env.worker("W2", holds=(("x", 8),), epoch=OLD)
    assert env.state("y") == "processing"
    env.finish("W1", 7)
    assert env.finished("C") == ["y"]


def test_one_of_two_that_run_the_same_is_given_up(env: Env) -> None:
    env.client("C", "x", epoch=OLD)
    env.submit("C", "x", again=True)
    env.worker("W1", assigned=((7, "x"),), epoch=OLD)
    env.worker("W2", assigned=((8, "x"),), epoch=OLD)
    assert env.items("W1", Drop) == []
    assert env.items("W2", Drop) == [8]


@pytest.mark.parametrize("later_first", [False, True])
def test_of_two_that_are_at_what_nobody_has_asked_for_the_later_assignment_counts(
    env: Env, later_first: bool
) -> None:
    hellos = [("W1", (7, "x")), ("W2", (8, "x"))]
    for worker, assigned in reversed(hellos) if later_first else hellos:
        env.worker(worker, assigned=(assigned,), epoch=OLD)
    assert env.items("W1", Drop) == [7]
    env.client("C", "x", epoch=OLD)
    env.submit("C", "x", again=True)
    assert env.state("x") == "processing"
    over(env)
    assert env.items("W2", Drop) == []
    env.finish("W2", 8)
    assert env.finished("C") == ["x"]


def test_work_that_nobody_asks_for_is_given_up_in_the_end(env: Env) -> None:
    env.worker("W", assigned=((7, "x"),), epoch=OLD)
    assert env.items("W", Drop) == []
    over(env)
    assert env.items("W", Drop) == [7]


def test_work_that_was_given_up_before_runs_again(env: Env) -> None:
    env.worker("W", assigned=((7, "x"),), epoch=OLD)
    env.client("C", "x", epoch=OLD)
    env.submit("C", "x", again=True)
    env.send("W", Abandoned([7]))
    env.tick(PAUSE_SECONDS)
    assert list(env.runs("W")) == ["x"]


def test_it_has_its_resources_once(env: Env) -> None:
    """It was called off, and is asked for again before its worker has heard of that."""
    gpu = {"resources": {"GPU": 1}}
    env.nanny()
    env.worker("W", nthreads=2, nanny="N", resources={"GPU": 2}, epoch=OLD)
    env.client("C", epoch=OLD)
    env.tick(PAUSE_SECONDS)
    env.submit("C", "x", options=gpu, again=True)
    assignment = env.runs("W")["x"]
    env.release("C", "x")
    env.gone("W")
    env.worker("W", nanny="N", assigned=((assignment, "x"),), peer="W again")
    env.submit("C", "x", "y", options=gpu, again=True)
    assert set(env.runs("W again")) == {"y"}


def test_it_keeps_its_resources(env: Env) -> None:
    env.worker("W", nthreads=2, assigned=((7, "x"),), resources={"GPU": 1}, epoch=OLD)
    env.client("C", "x", "y", epoch=OLD)
    env.submit("C", "x", "y", options={"resources": {"GPU": 1}}, again=True)
    env.tick(PAUSE_SECONDS)
    assert env.runs("W") == {}
    env.finish("W", 7)
    assert list(env.runs("W")) == ["y"]


def test_a_connection_that_breaks_meanwhile_changes_nothing(env: Env) -> None:
    env.worker("W", assigned=((7, "x"),), holds=(("z", 8),), nanny="N", epoch=OLD)
    env.gone("W")
    env.worker("W", assigned=((7, "x"),), holds=(("z", 8),), nanny="N", epoch="epoch", peer="W2")
    assert env.items("W2", Drop) == env.items("W2", Free) == []
    env.client("C", "x", "z", epoch=OLD)
    env.submit("C", "x", "z", again=True)
    assert env.finished("C") == ["z"]
    assert env.state("x") == "processing"


def test_what_is_asked_for_anew_is_not_taken_from_an_earlier_life(env: Env) -> None:
    """Its client had let go of what the worker brings, and word of that was lost."""
    env.worker("W", holds=(("x", 8, 5),), epoch=OLD)
    env.client("C", epoch=OLD)
    env.submit("C", "x")
    assert env.take("W", Free) == [Free(("x",), 999)]
    env.tick(PAUSE_SECONDS)
    env.finish("W", env.runs("W")["x"])
    assert env.finished("C") == ["x"]


def test_what_is_asked_for_anew_begins_anew(env: Env) -> None:
    env.worker("W", nthreads=2, assigned=((7, "x"),), epoch=OLD)
    env.client("C", epoch=OLD)
    env.submit("C", "x")
    env.tick(PAUSE_SECONDS)
    assert env.items("W", Drop) == [7]
    assert env.runs("W")["x"] == 1000
    env.finish("W", 7)
    assert env.take("W", Free) == [Free(("x",), 7)]
    assert env.finished("C") == []


def test_data_that_is_scattered_anew_is_not_taken_from_an_earlier_life(env: Env) -> None:
    """What is there from before goes, and what comes now stays."""
    env.worker("W", holds=(("x", 8, 5),), epoch=OLD)
    env.client("C", epoch=OLD)
    env.tick(PAUSE_SECONDS)
    env.send("C", Scatter(1, (("x", 8),), None))
    assert env.take("W", Free) == [Free(("x",), 999)]
    env.send("W", Done([(1000, 8, 0, None, None)]), Holds([("x", 8, 1000)]))
    over(env)
    assert env.finished("C") == ["x"]
    assert env.take("W", Free) == []


def test_what_another_client_only_knows_how_to_make_is_made_anew(env: Env) -> None:
    """C has the recipe of x, and is in the middle of sending a graph. D had let go of x, and asks again."""
    env.worker("W", holds=(("x", 8),), epoch=OLD)
    env.client("C", epoch=OLD)
    env.submit("C", "x", wanted=False, more=True, again=True)
    env.client("D", epoch=OLD)
    env.submit("D", "x")
    assert env.finished("D") == []
    assert env.items("W", Free) == ["x"]
    env.tick(PAUSE_SECONDS)
    assert list(env.runs("W")) == ["x"]
