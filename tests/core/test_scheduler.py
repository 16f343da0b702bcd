"""SchedulerCore: events in, effects out."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.core.endings import MAX_DEPARTURES
from distributed.core.lifecycle import MAX_DEATHS
from distributed.core.members import NAME_SECONDS
from distributed.core.patience import (
    CLIENT_GRACE_SECONDS,
    ON_OPEN_CONNECTION,
    SILENCE_SECONDS,
    WITHOUT_NANNY,
)
from distributed.core.requests import RESTART_SECONDS
from distributed.core.scheduler import DIED_SECONDS, END_SECONDS
from distributed.core.states import ERRED, MEMORY, NO_WORKER, PROCESSING, Nonsense
from distributed.messages import (
    PROTOCOL,
    PYTHON,
    Abandoned,
    Acquire,
    Alive,
    Answer,
    Ask,
    Broadcast,
    Call,
    Cancel,
    Cleared,
    ClientHello,
    Died,
    Done,
    Drop,
    Ended,
    Failed,
    Finished,
    Forget,
    Free,
    Goodbye,
    Heard,
    Heartbeat,
    HelloAgain,
    Holds,
    Kill,
    Missing,
    NannyHello,
    Pending,
    PutFile,
    Refused,
    Release,
    Replicate,
    Reply,
    Restart,
    Retract,
    Returned,
    Run,
    Scatter,
    Seceded,
    StartAgain,
    Stop,
    Submit,
    Unfetchable,
    Unknown,
    Unload,
    Upload,
    Want,
    Warn,
)
from tests.core.env import LATEST, Env, address, item, worker_hello


@pytest.fixture
def env() -> Env:
    """With one client and one worker of one thread."""
    env = Env()
    env.client()
    env.worker()
    return env


# Work


def test_a_task_runs_and_its_result_is_reported(env: Env) -> None:
    env.submit("C", "x")
    assert env.take("W", Run) == [Run("f", b"blob", False, ((1, "x", b"args", None, True),))]
    env.finish("W", 1)
    assert env.take("C", Finished) == [Finished(address("W"), (("x", 28, b"v", None),))]
    assert env.state("x") == MEMORY


def test_a_function_travels_once_to_each_worker(env: Env) -> None:
    env.submit("C", "x")
    env.finish("W", 1)
    env.submit("C", "y")
    first, second = env.take("W", Run)
    assert (first.blob, second.blob) == (b"blob", None)
    env.worker("V")
    env.submit("C", "z")
    assert [run.blob for run in env.take("V", Run)] == [b"blob"]


def test_with_one_task_at_the_workers_it_is_nearly_idle(env: Env) -> None:
    env.worker("V")
    assert env.core.nearly_idle
    env.submit("C", "x")
    assert env.core.nearly_idle
    env.submit("C", "y")
    assert not env.core.nearly_idle
    env.finish("W", *env.runs("W").values())
    assert env.core.nearly_idle


def test_inputs_are_named_with_where_they_are(env: Env) -> None:
    env.submit("C", "x", options={"workers": ("W",)})
    env.worker("V")
    env.finish("W", 1)
    env.submit("C", ("y", "x"), options={"workers": ("V",)})
    env.submit("C", ("z", "x"), options={"workers": ("W",)})
    (run,) = env.take("V", Run)
    assert run.items[0][3] == (("x", 28, (address("W"),), 1),)
    assert env.take("W", Run)[-1].items[0][3] == (("x", 28, (), 1),)


def test_what_nobody_wants_is_freed_as_soon_as_it_is_used(env: Env) -> None:
    groups = (("f", None, False, (item("x"),)), ("f", None, True, (item("y", "x"),)))
    env.send("C", Submit({"f": b"blob"}, groups, False))
    env.finish("W", env.runs("W")["x"])
    env.finish("W", env.runs("W")["y"])
    assert env.items("W", Free) == ["x"]
    assert env.finished("C") == ["y"]


def test_unwanted_work_without_dependents_never_starts(env: Env) -> None:
    env.submit("C", "x", wanted=False)
    assert env.inbox["W"] == []
    env.assert_empty()


def test_what_others_depend_on_may_come_first(env: Env) -> None:
    env.send("C", Submit({"f": b"blob"}, (("f", None, False, (item("x"),)),), True))
    assert env.inbox["W"] == []
    env.send("C", Submit({}, (("f", None, True, (item("y", "x"),)),), False))
    assert set(env.runs("W")) == {"x"}


def submit_ahead(env: Env, *tasks: Any, ahead: Any, complete: Any = ()) -> None:
    groups = (("f", None, False, tuple(item(*task) for task in tasks)),)
    env.send("C", Submit({"f": b"blob"}, groups, True, ahead, complete))


def test_what_others_surely_depend_on_runs_before_they_come(env: Env) -> None:
    submit_ahead(env, ("x",), ("y", "x"), ahead=("y",))
    env.finish("W", env.runs("W")["x"])
    env.finish("W", env.runs("W")["y"])
    assert env.items("W", Free) == ["x"]
    env.send("C", Submit({}, (("f", None, True, (item("z", "y"),)),), False))
    assert set(env.runs("W")) == {"z"}


def test_what_is_needed_by_what_comes_is_freed_once_all_of_that_has_come_and_is_done(
    env: Env,
) -> None:
    submit_ahead(env, ("x",), ahead=("x",))
    env.finish("W", env.runs("W")["x"])
    submit_ahead(env, ("y", "x"), ahead=("y",), complete=("x",))
    env.finish("W", env.runs("W")["y"])
    assert env.items("W", Free) == ["x"]
    env.send("C", Submit({}, (("f", None, True, (item("z", "y"),)),), False))
    assert set(env.runs("W")) == {"z"}


def test_what_was_done_ahead_for_nothing_is_given_up(env: Env) -> None:
    submit_ahead(env, ("x",), ("y", "x"), ahead=("x", "y"))
    env.finish("W", env.runs("W")["x"])
    running = env.runs("W")["y"]
    env.send("C", Submit({}, (), False))
    assert env.items("W", Drop) == [running]
    assert env.items("W", Free) == ["x"]
    env.send("W", Abandoned((running,)))
    env.assert_empty()


def test_what_fails_ahead_fails_what_comes(env: Env) -> None:
    submit_ahead(env, ("x",), ahead=("x",))
    env.fail("W", env.runs("W")["x"])
    env.send("C", Submit({}, (("f", None, True, (item("z", "x"),)),), False))
    assert env.items("C", Failed) == [("z", b"exception")]


@pytest.mark.parametrize("ahead", [(), ("x",)])
def test_what_others_are_to_depend_on_stays_when_what_does_is_released(
    env: Env, ahead: tuple[str, ...]
) -> None:
    env.client("D")
    env.submit("D", ("y", "x"))  # of which x has to come from C
    group = (("f", None, False, (item("x"),)),)
    env.send("C", Submit({"f": b"blob"}, group, True, ahead))
    env.release("D", "y")
    env.send("C", Submit({}, (("f", None, True, (item("z", "x"),)),), False))
    assert env.items("C", Ended) == []
    assert env.state("z") == "waiting"


def test_what_others_were_to_depend_on_goes_with_its_client(env: Env) -> None:
    env.send("C", Submit({"f": b"blob"}, (("f", None, False, (item("x"),)),), True))
    env.send("C", Goodbye())
    env.assert_empty()


def test_the_data_is_freed_with_the_last_wish_for_it(env: Env) -> None:
    env.client("D")
    env.submit("C", "x")
    env.submit("D", "x")
    env.finish("W", 1)
    assert (env.finished("C"), env.finished("D")) == (["x"], ["x"])
    env.release("C", "x")
    assert env.take("W", Free) == []
    env.release("D", "x")
    assert env.take("W", Free) == [Free(("x",), 1)]
    env.assert_empty()


def test_running_work_that_nobody_wants_any_more_is_dropped(env: Env) -> None:
    env.submit("C", "x")
    env.release("C", "x")
    assert env.items("W", Drop) == [1]
    env.assert_empty()
    env.submit("C", "y")
    assert env.runs("W") == {"x": 1, "y": 2}  # it may be prefetched: one is unknown
    env.send("W", Abandoned([1]))
    assert env.core.members.workers["W"].busy == 1


def test_a_result_that_was_given_up_meanwhile_is_freed(env: Env) -> None:
    env.submit("C", "x")
    env.release("C", "x")
    env.finish("W", 1)
    assert env.take("W", Free) == [Free(("x",), 1)]


def test_a_known_result_is_reported_to_a_second_client(env: Env) -> None:
    env.submit("C", "x")
    env.finish("W", 1)
    env.client("D")
    env.submit("D", "x")
    assert env.finished("D") == ["x"]
    assert env.runs("W") == {"x": 1}


def test_smaller_priorities_run_first(env: Env) -> None:
    env.submit("C", "first")  # keeps the worker busy: its duration is unknown
    env.submit("C", "prefetched")
    env.submit("C", "low", options={"priority": -1})
    env.submit("C", "normal")
    env.submit("C", "high", options={"priority": 1})
    order = list(env.runs("W"))
    while len(order) < 5:
        env.finish("W", len(order) - 1, microseconds=10**6)
        order += env.runs("W")
    assert order == ["first", "prefetched", "high", "normal", "low"]


def test_short_tasks_are_prefetched_deep_and_long_ones_not() -> None:
    for microseconds, depth in ((10, 50), (1_000_000, 2)):
        env = Env()
        env.client()
        env.worker()
        env.submit("C", "x")
        env.finish("W", 1, microseconds=microseconds)
        env.submit("C", *(f"y{n}" for n in range(50)))
        assert len(env.runs("W")) - 1 == depth


def test_an_unknown_function_means_that_we_are_new(env: Env) -> None:
    env.send("C", Submit({}, (("g", None, True, (item("x"),)),), False))
    assert env.take("C", HelloAgain)
    env.assert_empty()


def test_functions_are_unloaded_when_nothing_refers_to_them(env: Env) -> None:
    env.submit("C", "x")
    env.finish("W", 1)
    env.release("C", "x")
    assert env.take("W", Unload) == []
    env.send("C", Forget(("f",)))
    assert env.take("W", Unload) == [Unload(("f",))]
    assert env.core.lifecycle.functions == {}


def test_a_function_that_a_worker_turns_out_not_to_have_is_sent_again(env: Env) -> None:
    env.submit("C", "x")
    env.finish("W", 1)
    env.inbox["W"].clear()
    env.submit("C", "y")
    (run,) = env.take("W", Run)
    assert run.blob is None
    env.send("W", Unknown(["f"]), Abandoned([run.items[0][0]]))
    (again,) = env.take("W", Run)
    assert again.blob == b"blob"
    assert [item[1] for item in again.items] == ["y"]


# Failure of tasks


def test_an_error_reaches_all_that_depend_on_it(env: Env) -> None:
    env.submit("C", "x", ("y", "x"), ("z", "y"), "other")
    env.fail("W", 1)
    assert env.items("C", Failed) == [(key, b"exception") for key in "xyz"]
    assert env.state("other") == PROCESSING


def test_siblings_of_a_failed_input_are_released(env: Env) -> None:
    groups = (
        ("f", None, False, (item("x"), item("y"))),
        ("f", None, True, (item("z", "x", "y"),)),
    )
    env.send("C", Submit({"f": b"blob"}, groups, False))
    env.finish("W", 1)
    env.fail("W", 2)
    assert env.items("W", Free) == ["x"]
    assert env.items("C", Failed) == [("z", b"exception")]
    env.release("C", "z")
    env.assert_empty()


def test_what_is_submitted_on_a_failed_input_fails(env: Env) -> None:
    env.submit("C", "x")
    env.fail("W", 1)
    env.submit("C", ("y", "x"))
    assert env.items("C", Failed) == [("x", b"exception"), ("y", b"exception")]


def test_a_task_is_tried_again(env: Env) -> None:
    env.submit("C", "x", options={"retries": 1})
    env.fail("W", 1)
    assert env.runs("W") == {"x": 2}
    env.fail("W", 2)
    assert env.items("C", Failed) == [("x", b"exception")]


def test_an_input_that_nobody_knows_is_lost(env: Env) -> None:
    env.submit("C", ("y", "x"))
    ((key, how, why),) = env.items("C", Ended)
    assert (key, how) == ("y", "lost")
    assert "the input x is not known" in why


def test_lost_work_can_be_submitted_again(env: Env) -> None:
    env.submit("C", ("y", "x"))
    env.submit("C", "x", "y")
    assert set(env.runs("W")) == {"x", "y"}


# Calling off


def test_cancelling_ends_what_depends_on_it_too(env: Env) -> None:
    env.submit("C", "x", ("y", "x"))
    env.send("C", Cancel(("x",), False))
    assert env.items("C", Ended) == [("y", "cancelled", "")]
    assert env.items("W", Drop) == [1]
    env.assert_empty()


def test_what_another_client_wants_is_not_cancelled(env: Env) -> None:
    env.client("D")
    env.submit("C", "x")
    env.submit("D", ("y", "x"))
    env.send("C", Cancel(("x",), False))
    assert env.take("C", Ended) == env.take("D", Ended) == []
    assert env.state("x") == PROCESSING
    env.release("D", "y")
    env.assert_empty()


def test_a_client_is_not_told_of_what_it_called_off_itself(env: Env) -> None:
    """It may have submitted that anew, and would take it for the end of the new one."""
    env.submit("C", "x", ("y", "x"), ("z", "y"))
    env.send("C", Cancel(("x", "z"), False))
    assert env.items("C", Ended) == [("y", "cancelled", "")]


# Data from clients


def test_scattered_data_is_spread_by_threads_and_then_finished(env: Env) -> None:
    env.worker("V", nthreads=2)
    env.send("C", Scatter(7, (("a", 1), ("b", 1), ("c", 1)), None))
    (reply,) = env.take("C", Reply)
    assert [(key, where) for key, where, _ in reply.value] == [
        ("a", address("W")),
        ("b", address("V")),
        ("c", address("V")),
    ]
    for (_, where, assignment), worker in zip(reply.value, "WVV", strict=True):
        assert where == address(worker)
        env.send(worker, Done([(assignment, 8, 0, None, b"type")]))
    assert env.finished("C") == ["a", "b", "c"]


def test_data_that_is_there_is_not_sent_again(env: Env) -> None:
    env.send("C", Scatter(1, (("a", 1),), None))
    ((_, _, assignment),) = env.take("C", Reply)[0].value
    env.send("W", Done([(assignment, 8, 0, None, None)]))
    env.client("D")
    env.send("D", Scatter(1, (("a", 1),), None))
    assert env.take("D", Reply)[0].value == ()
    assert env.finished("D") == ["a"]


def test_scattered_data_that_dies_with_its_worker_is_lost(env: Env) -> None:
    env.send("C", Scatter(1, (("a", 1),), None))
    ((_, _, assignment),) = env.take("C", Reply)[0].value
    env.send("W", Done([(assignment, 8, 0, None, None)]))
    env.gone("W")
    ((key, how, why),) = env.items("C", Ended)
    assert (key, how) == ("a", "lost")
    assert "every worker that held it is gone" in why


def test_data_that_arrives_after_it_was_released_is_freed(env: Env) -> None:
    env.send("C", Scatter(1, (("a", 1),), None))
    ((_, _, assignment),) = env.take("C", Reply)[0].value
    env.release("C", "a")
    env.send("W", Done([(assignment, 8, 0, None, None)]), Holds([("a", 8, LATEST)]))
    assert env.items("W", Free) == ["a"]
    env.assert_empty()


def test_data_that_did_not_get_through_goes_to_another_worker(env: Env) -> None:
    env.send("C", Scatter(1, (("a", 1),), ("W",)))
    env.worker("V")
    env.send("C", Scatter(2, (("a", 1),), ("V",)))
    first, second = env.take("C", Reply)
    assert second.value[0][1] == address("V")
    env.send("V", Done([(second.value[0][2], 8, 0, None, None)]))
    assert env.finished("C") == ["a"]
    env.send("W", Done([(first.value[0][2], 8, 0, None, None)]), Holds([("a", 8, LATEST)]))
    assert env.core.lifecycle.tasks["a"].holders == (  # it came after all
        env.core.members.workers["V"],
        env.core.members.workers["W"],
    )


def test_scatter_without_workers_is_refused() -> None:
    env = Env()
    env.client()
    env.send("C", Scatter(1, (("a", 1),), None))
    assert env.take("C", Reply) == [Reply(1, False, "there are no workers")]


def test_copies_are_made_and_counted(env: Env) -> None:
    env.submit("C", "x")
    env.finish("W", 1)
    env.worker("V")
    env.send("C", Replicate(5, ("x",), None))
    assert env.items("V", Acquire) == [("x", 28, (address("W"),), 1)]
    assert env.take("C", Reply) == []
    env.send("V", Holds([("x", 28, LATEST)]))
    assert env.take("C", Reply) == [Reply(5, True, None)]
    env.send("C", Ask(6, "who_has", ("x",)))
    assert env.take("C", Reply)[0].value == {"x": (address("W"), address("V"))}
    env.gone("W")
    assert env.state("x") == MEMORY


# Workers come and go


def test_work_waits_for_the_first_worker() -> None:
    env = Env()
    env.client()
    env.submit("C", "x")
    env.worker()
    assert env.runs("W") == {"x": 1}


def test_a_dead_workers_tasks_run_elsewhere_and_its_results_are_computed_again(env: Env) -> None:
    env.submit("C", "x", "y")
    env.finish("W", 1)
    env.worker("V")
    env.gone("W")
    assert env.items("C", Pending) == ["x"]
    first = env.runs("V")
    assert set(first) == {"x"}  # y is suspected of having killed W, and runs alone
    env.finish("V", first["x"])
    assert set(env.runs("V")) == {"y"}


def test_a_result_that_is_lost_while_it_is_needed_is_computed_again(env: Env) -> None:
    groups = (("f", None, False, (item("x"),)), ("f", None, True, (item("y", "x"),)))
    env.send("C", Submit({"f": b"blob"}, groups, False))
    env.finish("W", 1)
    env.worker("V")
    env.gone("W")
    assert set(env.runs("V")) == {"x"}
    env.finish("V", 3)
    assert set(env.runs("V")) == {"y"}


def test_only_running_tasks_are_blamed_and_the_fourth_death_is_the_last(env: Env) -> None:
    env.gone("W")
    env.submit("C", "killer", "bystander")
    for number in range(MAX_DEATHS):
        worker = env.worker(f"W{number}")
        given = env.runs(worker)
        assert "killer" in given
        env.gone(worker)
    ((key, how, why),) = env.items("C", Ended)
    assert (key, how) == ("killer", "killed")
    lines = why.splitlines()
    assert lines[0] == (
        "4 workers died while killer ran there or its result was being pickled; it is not run again:"
    )
    assert lines[1:] == [
        f"  {n}. W{n - 1} at {address(f'W{n - 1}')} (process 1): its connection closed"
        for n in range(1, 5)
    ]
    worker = env.worker("W9")
    assert set(env.runs(worker)) == {"bystander"}


def test_a_suspect_runs_alone(env: Env) -> None:
    env.submit("C", "suspect", "other")
    env.gone("W")
    env.worker("V", nthreads=2)
    assert set(env.runs("V")) == {"suspect"}


def test_a_worker_that_leaves_is_not_blamed_on_its_tasks(env: Env) -> None:
    env.submit("C", "x")
    env.send("W", Goodbye())
    assert env.core.lifecycle.tasks["x"].deaths == ()


def deaths(env: Env) -> dict[str, int]:
    return {key: len(task.deaths) for key, task in env.core.lifecycle.tasks.items()}


def test_what_the_nanny_says_was_running_is_blamed_and_nothing_else(env: Env) -> None:
    env.gone("W")
    env.nanny()
    env.worker("V", nthreads=2, nanny="N")
    env.submit("C", "a", "b", "c", "d")
    given = env.runs("V")
    env.release("C", "b")  # runs on, but nobody wants it
    running = (given["c"], given["b"], 999)
    env.send("N", Died("V", "exit status 3", "", running, ""))
    assert deaths(env) == {"a": 0, "c": 1, "d": 0}


def test_after_four_deaths_their_reasons_are_told_and_the_last_words(env: Env) -> None:
    env.gone("W")
    env.nanny()
    env.submit("C", "killer")
    for number in range(MAX_DEATHS):
        env.worker(f"W{number}", nanny="N")
        running = tuple(env.runs(f"W{number}").values())
        env.gone(f"W{number}")
        env.send("N", Died(f"W{number}", f"exit status {number}", "alas\npoor Yorick", running, ""))
    ((key, how, why),) = env.items("C", Ended)
    assert (key, how) == ("killer", "killed")
    assert "W0 at tcp://W0:1 (process 1): exit status 0\n" in why
    assert why.endswith(
        "(process 1): exit status 3\nWhat the last of them said last:\n    alas\n    poor Yorick"
    )


def finish_all(env: Env, worker: str) -> None:
    """Whatever it is given, also then."""
    while given := env.runs(worker):
        env.finish(worker, *given.values())


@pytest.mark.parametrize("told_before", [False, True])
@pytest.mark.parametrize("user", [(), (("user", "trap"),)])
def test_a_result_that_ends_whoever_pickles_it_is_not_made_again_for_ever(
    env: Env, user: tuple[Any, ...], told_before: bool
) -> None:
    """It is done, so that it does not run where it is fetched from."""
    env.gone("W")
    env.nanny()
    env.submit("C", "innocent", "trap", *user)
    for number in range(MAX_DEATHS):
        worker = f"W{number}"
        env.worker(worker, nanny="N")
        while "trap" not in (given := env.runs(worker)):
            env.finish(worker, *given.values())
        env.finish(worker, given["trap"])
        if told_before:
            env.send("C", Missing((("trap", f"tcp://{worker}:1"),)))
        env.gone(worker)
        env.send("N", Died(worker, "signal 11 (SIGSEGV)", "", (), "trap"))
    ended = env.items("C", Ended)
    assert {item[:2] for item in ended} == {(key, "killed") for key in ("trap", *dict(user))}
    assert ended[0][2].startswith(
        "4 workers died while trap ran there or its result was being pickled"
    )
    assert deaths(env)["innocent"] == 0
    env.worker("V")
    finish_all(env, "V")
    assert env.state("innocent") == MEMORY


def test_nobody_is_blamed_if_the_nanny_is_there_and_does_not_say_that_the_worker_died(
    env: Env,
) -> None:
    env.nanny()
    env.worker("V", nanny="N")
    env.gone("W")
    env.submit("C", "x")
    env.gone("V")
    env.tick(DIED_SECONDS + 0.1)
    assert deaths(env) == {"x": 0}


def test_what_ran_is_guessed_if_the_nanny_is_gone_too(env: Env) -> None:
    env.nanny()
    env.worker("V", nanny="N")
    env.gone("W")
    env.submit("C", "x", "prefetched")
    env.gone("V")
    env.gone("N")
    env.tick(DIED_SECONDS + 0.1)
    assert deaths(env) == {"x": 1, "prefetched": 0}


def test_with_a_nanny_the_reason_is_waited_for(env: Env) -> None:
    env.nanny()
    env.worker("V", nanny="N")
    env.gone("W")
    env.submit("C", "x")
    env.gone("V")
    assert env.state("x") == PROCESSING
    env.send("N", Died("V", "exit status 3", "", (), ""))
    assert env.state("x") != PROCESSING


def test_without_word_of_the_nanny_the_worker_is_lost_after_a_second(env: Env) -> None:
    env.worker("V", nanny="N")
    env.gone("V")
    env.tick(DIED_SECONDS + 0.1)
    assert "V" not in env.core.members.workers


def test_a_result_that_was_given_up_is_deleted_and_no_newer_one(env: Env) -> None:
    """It came when the task had been asked for again there (seed 71111742078)."""
    second = env.made_anew("x")
    assert env.take("W", Free) == [Free(("x",), second - 1)]
    env.finish("W", second)
    assert env.take("W", Free) == []


def test_a_worker_that_falls_silent_is_given_up(env: Env) -> None:
    env.nanny()
    env.worker("V", nanny="N")
    env.tick(SILENCE_SECONDS - 1)
    env.send("N", Alive(["V"]))
    env.send("W", Heartbeat(1))
    env.tick(SILENCE_SECONDS - 1)
    assert set(env.core.members.workers) == {"V", "W"}
    env.tick(2)
    assert set(env.core.members.workers) == {"W"}
    env.tick(WITHOUT_NANNY * SILENCE_SECONDS)
    assert set(env.core.members.workers) == set()


def test_who_was_given_up_is_asked_to_say_hello(env: Env) -> None:
    env.tick(WITHOUT_NANNY * SILENCE_SECONDS + 1)
    env.finish("W", 1)
    assert env.take("W", HelloAgain)


def test_who_says_hello_twice_keeps_what_it_was_given_in_between(env: Env) -> None:
    env.tick(WITHOUT_NANNY * SILENCE_SECONDS + 1)
    env.send("W", Heartbeat(1))
    env.send("W", Heartbeat(1))
    assert len(env.take("W", HelloAgain)) == 2
    env.client()
    env.worker()
    env.submit("C", "x")
    assert env.runs("W") == {"x": 1}
    env.worker()  # it had not heard of the task yet
    assert env.runs("W") == {}
    env.finish("W", 1)
    assert env.finished("C") == ["x"]


def test_a_worker_on_a_new_connection_is_compared_with_what_is_known(env: Env) -> None:
    env.submit("C", "reported", "lost report", "running")
    env.finish("W", 1)
    assert set(env.runs("W")) == {"reported", "lost report", "running"}
    # Its report of assignment 2 was lost with the connection, and a job that we know nothing of came up.
    holds = (("reported", 28), ("lost report", 28), ("unknown", 28))
    env.worker("W", holds=holds, assigned=(3, 99), peer="W2")
    assert env.finished("C") == ["reported", "lost report"]
    assert env.items("W2", Free) == ["unknown"]
    assert env.items("W2", Drop) == [99]
    env.finish("W2", 3)
    assert env.finished("C") == ["running"]


def test_what_stands_in_the_queue_of_a_worker_that_was_cut_off_runs_when_it_is_back() -> None:
    env = Env()
    env.client()
    env.nanny()
    env.worker("V", nanny="N")
    env.submit("C", "x")
    env.finish("V", *env.runs("V").values(), microseconds=1_000_000)
    env.submit("C", *((f"y{number}", "x") for number in range(4)))
    given = env.runs("V")
    assert len(given) < 4
    env.gone("V")
    assigned = tuple(given.values())
    env.worker("V", nanny="N", holds=(("x", 28),), assigned=assigned, peer="V2")
    env.finish("V2", *assigned)
    assert given.keys() | env.runs("V2").keys() == {"y0", "y1", "y2", "y3"}


def test_an_assignment_of_an_earlier_life_is_not_taken_for_one_of_ours() -> None:
    env = Env(first_assignment=101)
    env.client()
    env.worker("W", assigned=(1,))  # it cannot be interrupted
    env.submit("C", "x")
    env.finish("W", 1)
    assert env.runs("W") == {"x": 101}
    env.finish("W", 1)
    assert env.finished("C") == []


def test_the_result_of_what_nobody_knows_of_is_freed(env: Env) -> None:
    """It ended before the worker heard that it should give it up."""
    env.worker("V", assigned=((7, "x"),))
    assert env.items("V", Drop) == [7]
    env.finish("V", 7)
    assert env.items("V", Free) == ["x"]


def test_a_result_that_a_worker_does_not_have_any_more_is_computed_again(env: Env) -> None:
    env.submit("C", "x")
    env.finish("W", 1)
    env.worker("W", peer="W2")
    assert env.items("C", Pending) == ["x"]
    assert env.runs("W2") == {"x": 2}


def test_an_input_that_cannot_be_fetched_is_computed_again(env: Env) -> None:
    env.submit("C", "x", options={"workers": ("W",), "loose": True})
    env.worker("V")
    env.finish("W", 1)
    env.submit("C", ("y", "x"), options={"workers": ("V",)})
    (assignment,) = env.runs("V").values()
    env.send("V", Unfetchable([(assignment, [("x", address("W"))])]))
    assert env.items("W", Free) == ["x"]
    assert env.state("y") == "waiting"
    assert env.state("x") == PROCESSING


def test_data_that_a_client_cannot_get_is_computed_again(env: Env) -> None:
    env.submit("C", "x")
    env.finish("W", 1)
    env.send("C", Missing((("x", address("W")),)))
    assert "x" in env.items("C", Pending)
    env.finish("W", 2)
    assert env.finished("C") == ["x", "x"]


def test_a_client_that_cannot_get_what_is_lost_is_told_so_again(env: Env) -> None:
    """It took the first report for one that its result had overtaken."""
    env.send("C", Scatter(1, (("a", 1),), None))
    ((_, _, assignment),) = env.take("C", Reply)[0].value
    env.send("W", Done([(assignment, 8, 0, None, None)]))
    env.gone("W")
    assert [item[:2] for item in env.items("C", Ended)] == [("a", "lost")]
    env.send("C", Missing((("a", address("W")),)))
    assert [item[:2] for item in env.items("C", Ended)] == [("a", "lost")]


def test_what_was_lost_is_computed_for_whoever_wants_it_once_somebody_submits_it(env: Env) -> None:
    env.client("D")
    env.send("D", Want(("x",)))
    env.submit("D", ("y", "x"))
    env.send("D", Want(("x",)))
    assert [item[1] for item in env.items("D", Ended)] == ["lost"] * 3
    env.send("C", Submit({"f": b"blob"}, (("f", None, False, (item("x"),)),), True))
    assert env.runs("W") == {"x": 1}


def test_nothing_is_computed_again_for_what_cannot_be(env: Env) -> None:
    env.send("C", Scatter(1, (("gone", 1),), None))
    ((_, _, assignment),) = env.take("C", Reply)[0].value
    env.send("W", Done([(assignment, 8, 0, None, None)]))
    group = (item("x"), item("y", "gone"))
    env.send("C", Submit({"f": b"blob"}, (("f", None, False, group),), True))
    env.submit("C", ("z", "x", "y"))
    env.finish("W", *env.runs("W").values())
    env.finish("W", *env.runs("W").values())
    env.release("C", "gone")
    env.gone("W")
    assert [key for key, how, _ in env.items("C", Ended)] == ["z"]
    assert env.state("x") == "released"


def test_idle_workers_get_work_back_from_busy_ones(env: Env) -> None:
    env.submit("C", "a")
    env.finish("W", 1, microseconds=5_000)
    env.submit("C", "b", "c", "d", "e")
    assert len(env.runs("W")) == 5
    env.worker("V")
    (retract,) = env.take("W", Retract)
    env.send("W", Returned(list(retract.assignments)))
    assert len(env.runs("V")) == len(retract.assignments) > 0


def test_short_tasks_do_not_stay_behind_a_long_one(env: Env) -> None:
    """However short tasks of their kind are."""
    env.submit("C", "a")
    env.finish("W", 1, microseconds=5)
    env.submit("C", "long", function="g")
    env.submit("C", "b", "c", "d")
    assert list(env.runs("W")) == ["a", "long", "b"]  # one ahead, as for any worker
    env.worker("V")
    rest = env.runs("V")
    assert list(rest) == ["c", "d"]
    env.finish("V", *rest.values())
    assert env.items("W", Retract) == [3]
    env.send("W", Returned([3]))
    assert list(env.runs("V")) == ["b"]


def test_a_worker_that_is_unexpectedly_slow_is_relieved(env: Env) -> None:
    env.submit("C", "a")
    env.finish("W", 1, microseconds=5)
    env.submit("C", "b", "c", "d")
    assert list(env.runs("W")) == ["a", "b", "c", "d"]
    env.worker("V")
    assert env.items("W", Retract) == []
    env.tick(0.1)
    assert env.items("W", Retract) != []


def test_what_a_worker_has_begun_it_is_not_asked_for_again(env: Env) -> None:
    """Its threads may be at tasks that were given later: the others wait for inputs."""
    env.submit("C", "a")
    env.finish("W", 1, microseconds=5)
    env.submit("C", "b", "c")
    env.worker("V")
    env.tick(0.1)
    assert env.items("W", Retract) == [3]
    env.send("W", Returned([]))
    env.tick(0.1)
    assert env.items("W", Retract) == []
    env.worker("W", peer="W2", assigned=((2, "b"), (3, "c")))
    assert not env.core.members.workers["W"].begun  # it may not have heard the question


def test_a_task_that_waits_for_others_gives_its_thread_back(env: Env) -> None:
    env.submit("C", "x")
    env.finish("W", 1, microseconds=10**6)
    env.submit("C", "outer", "prefetched", "inner")
    assert list(env.runs("W")) == ["x", "outer", "prefetched"]
    env.send("W", Seceded([2]))
    assert list(env.runs("W")) == ["inner"]
    env.finish("W", 2)
    assert env.core.members.workers["W"].seceded == set()


# Restrictions


def test_a_task_for_a_worker_that_is_not_there_waits_and_its_client_is_told_once(env: Env) -> None:
    env.submit("C", "x", options={"workers": ("V",)})
    assert env.state("x") == NO_WORKER
    env.tick()
    env.tick(3)
    env.tick(3)
    (warning,) = env.take("C", Warn)
    assert warning.text == "there is work for a worker named V, but there are only: W"
    env.worker("V")
    assert set(env.runs("V")) == {"x"}


def test_work_without_any_worker_is_complained_of() -> None:
    env = Env()
    env.client()
    env.submit("C", "x")
    env.tick()
    env.tick(3)
    assert "there is work but no worker" in env.take("C", Warn)[0].text


def test_a_wish_for_a_worker_is_not_a_condition(env: Env) -> None:
    env.submit("C", "x", options={"workers": ("V",), "loose": True})
    assert env.runs("W") == {"x": 1}


def test_workers_are_meant_by_name_address_or_host(env: Env) -> None:
    env.worker("V")
    for key, name in (("a", "V"), ("b", address("V"))):
        env.submit("C", key, options={"workers": (name,)})
    assert set(env.runs("V")) == {"a", "b"}


# Requests


def test_all_workers_answer_a_call(env: Env) -> None:
    env.worker("V")
    env.send("C", Broadcast(3, b"call", None))
    (call,) = env.take("W", Call)
    assert call == Call(call.request, b"call")
    env.send("W", Answer(call.request, True, b"one"))
    assert env.take("C", Reply) == []
    env.gone("V")
    (reply,) = env.take("C", Reply)
    assert reply.value[address("W")] == (True, b"one")
    assert reply.value[address("V")][0] is False


def test_a_call_may_be_for_some_workers(env: Env) -> None:
    env.worker("V")
    env.send("C", Broadcast(3, b"call", ("V",)))
    assert env.take("W", Call) == []
    assert env.take("V", Call)
    env.send("C", Broadcast(4, b"call", ("nobody",)))
    assert env.take("C", Reply)[-1].ok is False


def test_files_reach_workers_that_join_later(env: Env) -> None:
    env.send("C", Upload(3, "m.py", b"x = 1"))
    (put,) = env.take("W", PutFile)
    env.send("W", Answer(put.request, True, b""))
    assert env.take("C", Reply)[0].ok
    env.send("V", NannyHello("V", PROTOCOL, PYTHON))
    assert env.core.requests.files == {"m.py": b"x = 1"}


def test_what_was_asked_before_a_connection_broke_is_asked_again(env: Env) -> None:
    env.worker("V", nanny="N")
    env.send("C", Broadcast(3, b"call", None), Upload(4, "m.py", b"x = 1"))
    (call,), (put,) = env.take("V", Call), env.take("V", PutFile)
    for message in (call, put):
        env.send("W", Answer(message.request, True, b""))
    env.gone("V")
    env.worker("V", nanny="N", peer="V2")
    assert (env.take("V2", Call), env.take("V2", PutFile)) == ([call], [put])
    env.send("V2", Answer(call.request, True, b""))
    env.gone("V2")
    env.worker("V", nanny="N", peer="V3")
    assert (env.take("V3", Call), env.take("V3", PutFile)) == ([], [put])
    env.send("V3", Answer(put.request, True, b""))
    assert [reply.ok for reply in env.take("C", Reply)] == [True, True]


def test_what_is_said_between_two_hellos_on_one_connection_is_answered(env: Env) -> None:
    """A client that is asked more than once says hello more than once."""
    hello = ClientHello("C", "", PROTOCOL, PYTHON, ("x",), (), "")
    env.send("C", hello, Scatter(3, (("x", 8),), None), hello)
    assert [reply.request for reply in env.take("C", Reply)] == [3]


def test_copies_are_asked_for_again(env: Env) -> None:
    env.submit("C", "x")
    env.finish("W", 1)
    env.worker("V", nanny="N")
    env.send("C", Replicate(3, ("x",), None))
    asked = env.items("V", Acquire)
    env.gone("V")
    env.worker("V", nanny="N", peer="V2")
    assert env.items("V2", Acquire) == asked == [("x", 28, (address("W"),), 1)]
    env.send("V2", Holds((("x", 28, LATEST),)))
    assert env.take("C", Reply) == [Reply(3, True, None)]


def test_what_could_not_be_copied_from_one_is_copied_from_another(env: Env) -> None:
    env.submit("C", "x")
    env.finish("W", 1)
    env.worker("U", holds=(("x", 28),))
    env.worker("V", nanny="N")
    env.send("C", Replicate(3, ("x",), ("V",)))
    assert env.items("V", Acquire) == [("x", 28, (address("W"), address("U")), 1)]
    env.send("V", Unfetchable(((0, (("x", address("W")),)),)))
    assert env.items("V", Acquire) == [("x", 28, (address("U"),), 1)]
    env.send("V", Unfetchable(((0, (("x", address("U")),)),)))
    ((_, ok, why),) = env.take("C", Reply)
    assert (ok, why) == (False, "the data of x was lost while it was being copied")


def test_requests_to_workers_have_numbers_above_those_of_earlier_lives() -> None:
    env = Env(first_assignment=1000)
    env.client()
    env.worker()
    env.send("C", Broadcast(3, b"call", None))
    assert [call.request for call in env.take("W", Call)] == [1000]


def test_restart_clears_everything_and_waits_for_the_workers(env: Env) -> None:
    env.nanny()
    env.worker("V", nanny="N")
    env.client("D")
    env.submit("C", "x", "y")
    env.submit("D", "z")
    env.send("C", Restart(9))
    assert env.take("N", Kill) == [Kill(("V",), "the cluster was restarted")]
    assert env.take("W", StartAgain)
    assert env.take("C", Cleared) and env.take("D", Cleared)
    env.assert_empty()
    env.finish("W", 1)  # from a process that is about to end
    assert env.take("W", HelloAgain) == []
    env.worker("W2")
    assert env.take("C", Reply) == []
    env.worker("V2", nanny="N")
    assert env.take("C", Reply) == [Reply(9, True, None)]


def test_data_that_is_lost_on_its_way_takes_other_such_data_with_it(env: Env) -> None:
    """The second is needed only by what cannot be computed without the first (seed 191 of 2026-11-26)."""
    env.send("C", Scatter(1, (("x", 8), ("y", 8)), None))
    env.submit("C", ("z", "x", "y"))
    env.release("C", "y")
    env.gone("W")
    assert {item[:2] for item in env.items("C", Ended)} == {("x", "lost"), ("z", "lost")}
    env.release("C", "x", "z")
    env.assert_empty()


def test_what_was_submitted_before_a_restart_was_heard_of_is_cancelled(env: Env) -> None:
    """Its inputs are gone, and what is submitted in its place must not end for that (seed 282193331325)."""
    env.client("D")
    env.submit("D", "x")
    env.send("C", Restart(9))
    env.worker("V")
    env.submit("D", ("y", "x"))
    env.send("D", Want(("x",)), Missing((("x", "tcp://W:1"),)), Release(("y", "x")))
    assert env.items("D", Ended) == []
    env.send("D", Cleared(""))
    env.assert_empty()
    env.submit("D", "x", ("y", "x"))
    assert list(env.runs("V")) == ["x"]


def test_a_restart_that_does_not_succeed_is_reported(env: Env) -> None:
    env.send("C", Restart(9))
    env.tick(RESTART_SECONDS + 1)
    (reply,) = env.take("C", Reply)
    assert not reply.ok
    assert "only 0 of 1 workers" in reply.value


def test_questions(env: Env) -> None:
    env.submit("C", "x", "y")
    env.finish("W", 1)
    answers: dict[str, Any] = {}
    for number, question in enumerate(("ncores", "has_what", "nbytes", "processing", "who_has")):
        env.send("C", Ask(number, question, None))
        answers[question] = env.take("C", Reply)[0].value
    assert answers == {
        "ncores": {address("W"): 1},
        "has_what": {address("W"): ("x",)},
        "nbytes": {"x": 28},
        "processing": {address("W"): ("y",)},
        "who_has": {"x": (address("W"),)},
    }
    env.send("C", Ask(9, "scheduler_info", None))
    assert env.take("C", Reply)[0].value["tasks"] == {"memory": 1, "processing": 1}
    env.send("C", Ask(10, "nonsense", None))
    assert env.take("C", Reply)[0].ok is False


# Clients come and go


def test_a_future_from_elsewhere_is_wanted(env: Env) -> None:
    env.submit("C", "x")
    env.client("D")
    env.send("D", Want(("x", "unknown")))
    ((key, how, _),) = env.items("D", Ended)
    assert (key, how) == ("unknown", "lost")
    env.finish("W", 1)
    assert env.finished("D") == ["x"]


def test_a_client_that_leaves_takes_its_wishes_along(env: Env) -> None:
    env.submit("C", "x")
    env.send("C", Goodbye())
    env.assert_empty()


def test_a_client_that_was_cut_off_finds_its_results(env: Env) -> None:
    env.submit("C", "x", "y")
    env.finish("W", 1)
    env.gone("C")
    env.tick(CLIENT_GRACE_SECONDS - 1)
    env.send("C2", ClientHello("C", "", PROTOCOL, PYTHON, ("x",), (), ""))
    assert env.state("y") is None  # released meanwhile
    env.submit("C2", "x")
    assert env.finished("C2") == ["x"]


def test_a_client_that_does_not_come_back_is_forgotten(env: Env) -> None:
    env.submit("C", "x")
    env.gone("C")
    env.tick(CLIENT_GRACE_SECONDS + 1)
    env.assert_empty()
    assert env.core.members.clients == {}
    assert env.core.lifecycle.functions == {}


def test_a_client_that_falls_silent_is_forgotten_and_may_come_back(env: Env) -> None:
    env.submit("C", "x")
    env.tick(CLIENT_GRACE_SECONDS * ON_OPEN_CONNECTION - 1)
    env.send("C", Heartbeat(0))
    env.tick(CLIENT_GRACE_SECONDS * ON_OPEN_CONNECTION)
    assert env.core.members.clients
    env.tick(0.1)
    env.assert_empty()
    assert env.core.members.clients == {}
    env.send("C", Heartbeat(0))
    assert env.take("C", HelloAgain)
    env.client()
    env.submit("C", "x")
    assert env.state("x") is not None


def test_how_long_who_may_be_silent_can_be_set() -> None:
    env = Env(worker_timeout=4.0, client_timeout=2.0)
    env.client()
    env.nanny()
    env.worker()
    env.worker("V", nanny="N")
    env.client("D")
    env.gone("D")
    env.tick(2.1)
    assert set(env.core.members.clients) == {"C"}
    env.tick(2)
    assert set(env.core.members.workers) == {"W"}
    env.tick(6)
    assert env.core.members.clients == {}
    env.tick(30)
    assert set(env.core.members.workers) == set()


def test_the_schedulers_own_silence_is_held_against_nobody(env: Env) -> None:
    env.nanny()
    env.worker("V", nanny="N")
    env.tick(SILENCE_SECONDS - 2)
    env.client("D")
    env.gone("D")
    env.tick(1)
    env.stall(1000)
    assert set(env.core.members.workers) == {"V", "W"}
    assert set(env.core.members.clients) == {"C", "D"}
    env.tick(CLIENT_GRACE_SECONDS)  # what they had been silent for before still counts
    assert set(env.core.members.workers) == {"W"}
    assert set(env.core.members.clients) == {"C"}


def test_what_a_worker_says_that_was_stopped_and_given_up_changes_nothing(env: Env) -> None:
    env.nanny()
    env.worker("V", nanny="N")
    env.send("W", Goodbye())
    env.submit("C", "x", "y")
    stale = env.runs("V")
    env.tick(SILENCE_SECONDS + 1)
    assert "V" not in env.core.members.workers
    env.worker("U")
    fresh = env.runs("U")
    env.finish("V", stale["x"])
    env.fail("V", stale["y"])
    assert env.take("V", HelloAgain)
    assert env.finished("C") == []
    # It has the result of x now; the hello tells, and the copy counts.
    env.worker("V", nanny="N", holds=(("x", 28), ("old", 5)), peer="V")
    assert env.finished("C") == ["x"]
    assert env.items("V", Free) == ["old"]
    env.finish("U", fresh["y"])
    assert env.finished("C") == ["y"]
    assert deaths(env) == {"x": 0, "y": 0}


# Strangers


def test_a_stranger_is_asked_to_say_hello(env: Env) -> None:
    env.send("X", Release(("x",)))
    assert env.take("X", HelloAgain)


@pytest.mark.parametrize(
    "hello",
    [ClientHello("X", "", PROTOCOL + 1, PYTHON, (), (), ""), NannyHello("X", PROTOCOL, "2.7")],
)
def test_other_versions_are_refused(env: Env, hello: Any) -> None:
    env.send("X", hello)
    (refused,) = env.take("X", Refused)
    assert "use the same versions" in refused.reason


def test_ids_are_those_of_one_kind_of_member(env: Env) -> None:
    env.send("N", NannyHello("W", PROTOCOL, PYTHON))
    env.send("D", ClientHello("W", "", PROTOCOL, PYTHON, (), (), ""))
    env.send("N", Goodbye())
    env.send("D", Goodbye())
    env.submit("C", "x")
    assert env.runs("W")


def test_who_is_a_member_does_not_become_one_of_another_kind(env: Env) -> None:
    env.send("W", NannyHello("W", PROTOCOL, PYTHON))
    assert env.take("W", Refused)
    assert env.core.members.workers == env.core.members.nannies == {}


def test_strangers_are_asked_once_a_turn_to_say_hello(env: Env) -> None:
    env.send("S", Heartbeat(1), Heartbeat(1))
    env.send("S", Heartbeat(1))
    assert env.take("S", HelloAgain) == [HelloAgain()] * 2


def test_who_talks_nonsense_is_told_once_and_then_ignored(env: Env) -> None:
    env.submit("C", "x")
    env.send("C", Nonsense("noise"))
    assert len(env.take("C", Refused)) == 1
    env.assert_empty()
    env.submit("C", "y")
    env.send("C", Nonsense("noise"))
    assert env.inbox["C"] == []
    env.gone("C")
    assert set(env.core.members.peers) == {b"W"}


def test_messages_of_another_role_are_nonsense(env: Env) -> None:
    env.send("W", Submit({}, (), False))
    assert env.take("W", Refused)
    assert env.core.members.workers == {}


# The end


def test_a_client_may_end_the_cluster(env: Env) -> None:
    env.nanny()
    env.send("C", Stop())
    assert env.take("W", Goodbye) and env.take("N", Goodbye) and env.take("C", Refused)
    env.send("W", Goodbye())
    assert env.exit == ""
    env.send("N", Goodbye())
    assert env.exit == "a client asked for it"


def test_the_end_does_not_wait_for_ever(env: Env) -> None:
    env.send("C", Stop())
    env.worker("late")
    assert env.take("late", Goodbye)
    env.tick(END_SECONDS - 0.1)
    assert env.exit == ""
    env.tick(0.2)
    assert env.exit == "a client asked for it"


def test_an_idle_scheduler_ends() -> None:
    env = Env(idle_timeout=10)
    env.client()
    env.worker()
    env.tick()
    env.tick(20)
    assert env.exit == ""
    env.send("C", Goodbye())
    env.tick()
    env.tick(9)
    assert env.exit == ""
    env.tick(1)
    env.send("W", Goodbye())
    assert env.exit == "nothing to do for 10 s"


def test_release_of_unknown_keys_is_harmless(env: Env) -> None:
    env.send("C", Release(("x",)), Cancel(("y",), False), Missing((("z", address("W")),)))
    assert env.items("C", Ended) == [("z", "lost", "z is not known to the scheduler")]


def test_a_function_that_only_another_client_has_sent_is_asked_for() -> None:
    """It may be unloaded at any moment, also while the message is being read."""
    env = Env()
    env.client("C")
    env.client("D")
    env.submit("D", "y")
    env.send("C", Submit({}, (("f", None, True, (item("x"),)),), False))
    env.take("C", HelloAgain)


def test_what_lost_work_needed_before_is_forgotten_when_it_is_submitted_anew() -> None:
    env = Env()
    env.client("C")
    env.submit("C", ("a", "zz"))
    env.send("C", Forget(("f",)), Submit({"g": b""}, (("g", None, True, (item("a"),)),), False))
    assert set(env.core.lifecycle.tasks) == {"a"}
    env.release("C", "a")
    assert not env.core.lifecycle.tasks


def test_work_does_not_wait_behind_a_task_that_takes_long() -> None:
    """However short the tasks before it were: an idle worker that has to fetch the input comes first."""
    env = Env()
    env.client("C")
    one = env.worker("A")
    env.submit("C", "x")
    env.finish(one, *(i[0] for run in env.take(one, Run) for i in run.items))
    env.submit("C", "long", function="g")
    env.take(one, Run)
    two = env.worker("B")
    env.now += 1.0
    env.submit("C", ("y", "x"))
    (run,) = env.take(two, Run)
    assert run.items[0][1] == "y"


def test_work_that_waits_behind_a_task_that_turns_out_to_take_long_is_stolen() -> None:
    env = Env()
    env.client("C")
    one, two = env.worker("A"), env.worker("B")
    env.submit("C", "x", "w")
    for worker in (one, two):
        env.finish(worker, *(i[0] for run in env.take(worker, Run) for i in run.items))
    holder = env.core.lifecycle.tasks["x"].holders[0].id
    idle = "B" if holder == "A" else "A"
    env.submit("C", "long", function="g", options={"workers": [holder]})
    env.submit("C", ("y", "x"), ("z", "x"))
    env.tick(2.0)
    given = [i[1] for run in env.take(idle, Run) for i in run.items]
    assert "z" in given or "y" in given


# Scattered data that cannot be had


def scattered(env: Env) -> str:
    """On W; nobody can compute it."""
    env.send("C", Scatter(1, (("data", 8),), ("W",)))
    (reply,) = env.take("C", Reply)
    env.send("W", Done([(reply.value[0][2], 8, 0, None, None)]))
    env.inbox["C"].clear()
    return "data"


@pytest.mark.parametrize("message", [Release(("x",), 1), Cancel(("x",), False, 1), Goodbye()])
def test_what_needs_data_whose_client_lets_go_of_it_before_it_has_come_is_lost(
    env: Env, message: Any
) -> None:
    env.client("D")
    env.send("C", Scatter(1, (("x", 8),), None))
    env.submit("D", ("y", "x"))
    env.send("C", message)
    assert {item[:2] for item in env.items("D", Ended)} == {("y", "lost")}
    env.release("D", "y")
    env.assert_empty()


def test_the_only_copy_is_not_given_up_because_the_way_to_it_is_cut(env: Env) -> None:
    data = scattered(env)
    env.worker("V")
    env.submit("C", ("x", data), options={"workers": ["V"]})
    (assignment,) = env.runs("V").values()
    env.send("V", Unfetchable([(assignment, [(data, address("W"))])]))
    assert env.state(data) == "memory"
    assert list(env.runs("V")) == ["x"]
    env.send("C", Missing([(data, address("W"))]))
    assert env.finished("C") == [data]


def test_of_several_copies_that_cannot_be_had_none_is_given_up_that_may_be_there(env: Env) -> None:
    """One of the holders has died, and nobody knows that yet; only the way to the other is cut."""
    data = scattered(env)
    env.worker("D", nanny="N", holds=((data, 8),))
    env.worker("V")
    env.submit("C", ("x", data), options={"workers": ["V"]})
    (assignment,) = env.runs("V").values()
    missing = [(data, address("W")), (data, address("D"))]
    env.send("V", Unfetchable([(assignment, missing)]))
    assert env.state(data) == "memory" and env.items("W", Free) == env.items("D", Free) == []
    env.send("C", Missing([(data, address("W")), (data, address("D"))]))
    env.gone("D")
    env.send("C", Missing([(data, address("W")), (data, address("D"))]))
    assert env.items("D", Free) == [data] and env.state(data) == "memory"


def test_it_is_if_its_holder_is_cut_off_too_or_does_not_have_it(env: Env) -> None:
    for speak in (
        lambda assignment: env.send("W", Unfetchable([(assignment, [("data", address("W"))])])),
        lambda assignment: env.gone("W"),
    ):
        env.worker("W", nanny="N")
        data = scattered(env)
        env.submit("C", ("x", data))
        (assignment,) = env.runs("W").values()
        speak(assignment)
        env.send("C", Missing([(data, address("W"))]))
        assert {item[:2] for item in env.items("C", Ended)} >= {("data", "lost"), ("x", "lost")}
        env.release("C", "x", data)


# Workers that are cut off, and workers that are told to end


def test_a_worker_that_its_nanny_does_not_call_dead_may_come_back(env: Env) -> None:
    env.nanny()
    env.worker("V", nanny="N")
    env.send("C", Scatter(1, (("data", 8),), ("V",)))
    (reply,) = env.take("C", Reply)
    env.send("V", Done([(reply.value[0][2], 8, 0, None, None)]))
    env.gone("V")
    env.tick(5)
    assert env.items("C", Ended) == []
    env.worker("V", nanny="N", holds=(("data", 8),), peer="V2")
    assert env.items("V2", Free) == []
    assert env.state("data") == "memory"


def test_but_not_for_ever(env: Env) -> None:
    env.nanny()
    env.worker("V", nanny="N")
    env.submit("C", "x", options={"workers": ["V"], "loose": True})
    assert list(env.runs("V")) == ["x"]
    env.gone("V")
    for _ in range(31):
        env.send("N", Alive(["V"]))
        env.tick(1)
    assert list(env.runs("W")) == ["x"]


def test_a_task_that_always_ends_its_worker_in_an_orderly_way_is_not_run_for_ever(env: Env) -> None:
    env.submit("C", "x", "y")
    for number in range(MAX_DEPARTURES):
        assert env.items("C", Ended) == []
        env.send(f"W{number}" if number else "W", Goodbye())
        env.worker(f"W{number + 1}")
    ((key, how, why),) = env.items("C", Ended)
    assert (key, how) == ("x", "killed")
    assert "told to end" in why
    assert list(env.runs(f"W{MAX_DEPARTURES}"))[-1] == "y"
    env.release("C", "x", "y")
    env.assert_empty()
    assert env.core.lifecycle.departures == {}


def test_a_release_is_taken_in_before_the_same_key_is_submitted_anew(env: Env) -> None:
    env.submit("C", "x")
    env.finish("W", env.runs("W")["x"])
    assert env.finished("C") == ["x"]
    again = Submit({}, (("f", None, True, (item("x"),)),), False)
    env.send("C", Release(("x",), 1), again)
    assert [type(message) for message in env.inbox["C"]] == [Heard]
    assert env.take("W", Free) == [Free(("x",), 1)]
    env.finish("W", env.runs("W")["x"])
    assert env.finished("C") == ["x"]


def test_a_result_that_another_client_holds_is_shared(env: Env) -> None:
    env.client("D")
    env.submit("C", "x")
    env.submit("D", "x")
    env.finish("W", env.runs("W")["x"])
    env.release("C", "x")
    env.submit("C", "x")
    assert env.runs("W") == {}
    assert env.finished("C") == ["x", "x"]


def test_a_failed_task_that_nobody_holds_runs_again_when_asked(env: Env) -> None:
    """Its recipe had stayed for what depends on it, and has failed with it."""
    env.submit("C", "x", wanted=False, more=True)
    env.submit("C", ("y", "x"))
    env.fail("W", env.runs("W")["x"])
    assert [i[0] for i in env.items("C", Failed)] == ["y"]
    env.submit("C", ("z", "x"))
    env.finish("W", env.runs("W")["x"])
    env.finish("W", env.runs("W")["z"])
    assert env.finished("C") == ["z"]
    assert env.state("y") == ERRED


def test_a_failure_that_a_client_holds_is_shared(env: Env) -> None:
    env.submit("C", "x")
    env.fail("W", env.runs("W")["x"])
    env.submit("C", "x")
    assert env.runs("W") == {}
    assert len(env.items("C", Failed)) == 2


def test_retries_and_deaths_begin_anew_with_the_work(env: Env) -> None:
    env.submit("C", "x", ("y", "x"), options={"retries": 1})
    env.fail("W", env.runs("W")["x"])
    env.fail("W", env.runs("W")["x"])
    assert len(env.items("C", Failed)) == 2
    env.release("C", "x")
    env.submit("C", "x", options={"retries": 1})
    env.fail("W", env.runs("W")["x"])
    assert list(env.runs("W")) == ["x"]


def test_a_copy_from_before_the_work_was_asked_for_does_not_count(env: Env) -> None:
    """A worker had fetched it for a task, and word of that comes when all had been let go of."""
    env.submit("C", "x")
    first = env.runs("W")["x"]
    env.finish("W", first)
    env.worker("V")
    env.release("C", "x")
    env.submit("C", "x")
    env.send("V", Holds([("x", 28, first)]))
    assert env.take("V", Free) == [Free(("x",), first)]
    assert env.state("x") == PROCESSING


def test_a_worker_that_has_only_an_older_version_is_not_a_holder(env: Env) -> None:
    env.worker("V", nanny="N")
    env.nanny()
    env.submit("C", "x", options={"workers": ["V"]})
    first = env.runs("V")["x"]
    env.finish("V", first)
    env.release("C", "x")
    env.submit("C", "x", options={"workers": ["V"]})
    env.finish("V", env.runs("V")["x"])
    env.worker("V", nanny="N", holds=(("x", 28, first),), peer="V2")
    assert env.items("C", Pending) == ["x"]
    assert list(env.runs("V2")) == ["x"]


# Names of workers


def second_alice(env: Env, name: str = "W", nanny: str = "") -> list[Refused]:
    """What a new worker at another place hears that is called like the one that is here."""
    env.send("V", worker_hello("V")._replace(name=name, nanny=nanny))
    return env.take("V", Refused)


def test_a_second_worker_of_a_name_is_refused(env: Env) -> None:
    reason = f"the name W belongs to the worker at {address('W')}: give this one another --name"
    assert second_alice(env) == [Refused(reason)]
    assert list(env.core.members.workers) == ["W"]
    env.submit("C", "x")
    assert env.runs("W") == {"x": 1}


def test_a_worker_that_is_cut_off_has_no_right_to_its_name(env: Env) -> None:
    env.nanny()
    env.worker("U", nanny="N")
    env.gone("U")
    assert "U" in env.core.members.workers
    assert second_alice(env, "U") == []


def test_a_worker_that_is_silent_has_no_right_to_its_name(env: Env) -> None:
    env.tick(NAME_SECONDS - 0.5)
    assert second_alice(env) != []
    env.gone("V")
    env.tick(0.5)
    assert second_alice(env) == []


def test_the_successor_under_a_nanny_has_the_name(env: Env) -> None:
    """Its predecessor's connection may still seem to be open."""
    env.nanny()
    env.worker("U", nanny="N")
    assert second_alice(env, "U", nanny="N") == []


def test_addresses_are_no_names(env: Env) -> None:
    """A worker without a name may be on the port of one that has just died."""
    env.send("V", worker_hello("V")._replace(name=address("V")))
    env.send("U", worker_hello("U")._replace(name=address("V"), address=address("V")))
    assert env.take("U", Refused) == []
