"""Results that cannot leave their worker: where what uses them runs, and when it cannot."""

from __future__ import annotations

import pytest

from distributed.core.states import ERRED, MEMORY, NO_WORKER, PROCESSING, READY, WAITING
from distributed.core.stuck import MAX_REASON
from distributed.messages import (
    Abandoned,
    Acquire,
    Ask,
    Died,
    Drop,
    Ended,
    Free,
    Holds,
    Missing,
    Pending,
    Release,
    Replicate,
    Reply,
    Retract,
    Returned,
    Run,
    Stuck,
    Unfetchable,
)
from tests.core.env import LATEST, Env, address

GPU = {"resources": {"GPU": 1}}


@pytest.fixture
def env() -> Env:
    """One client; W and V have one thread each, and x lies on W."""
    env = Env()
    env.client()
    env.worker("W")
    env.worker("V")
    make(env, "x", "W")
    return env


def make(env: Env, key: str, worker: str, *others: str) -> None:
    """A result that only this worker has. Its future is kept. The others may make it as well."""
    env.submit("C", key, options={"workers": (worker, *others)}, function="make")
    (assignment,) = env.runs(worker).values()
    env.finish(worker, assignment, microseconds=10**6)
    assert env.finished("C") == [key]


def occupy(env: Env, worker: str) -> int:
    """The worker runs something long; returns its assignment."""
    env.submit("C", f"busy {worker}", options={"workers": (worker,)}, function="long")
    (assignment,) = env.runs(worker).values()
    return assignment


def refuse(env: Env, worker: str, assignment: int, *keys: str) -> None:
    """What the worker says when these inputs cannot be sent to it."""
    env.send(worker, Stuck([(key, "why") for key in keys]), Unfetchable([(assignment, [])]))


def stick(env: Env, key: str, worker: str) -> None:
    """It becomes known that the key cannot come to this worker."""
    env.submit("C", (f"user of {key}", key), options={"workers": (worker,)}, function="use")
    (assignment,) = env.runs(worker).values()
    refuse(env, worker, assignment, key)
    env.release("C", f"user of {key}")
    assert set(env.core.queues.stuck.reasons) >= {env.core.lifecycle.tasks[key]}
    env.take("C", Ended)


def failure(env: Env, key: str) -> str:
    """Why it could not run."""
    ((failed, how, why),) = env.items("C", Ended)
    assert (failed, how, env.state(key)) == (key, "stuck", ERRED)
    return str(why)


def test_what_it_is_for_runs_where_it_lies_and_it_is_not_computed_again(env: Env) -> None:
    long = occupy(env, "W")
    env.submit("C", ("y", "x"))
    assert env.runs("V") == {"y": 3}
    refuse(env, "V", 3, "x")
    assert (env.state("x"), env.state("y")) == (MEMORY, PROCESSING)
    assert env.items("W", Free) == []
    (run,) = env.take("W", Run)
    assert run.items == ((4, "y", b"args", (("x", 28, (), 1),), True),)
    assert env.runs("V") == {}
    env.finish("W", long)
    env.finish("W", 4)
    assert env.finished("C") == ["busy W", "y"]


def test_once_it_is_known_nobody_tries_it_elsewhere(env: Env) -> None:
    stick(env, "x", "V")
    occupy(env, "W")
    env.submit("C", ("y", "x"), ("z", "x"))
    env.tick(1)
    assert (env.runs("V"), env.take("W", Retract)) == ({}, [])
    assert (env.state("y"), env.state("z")) == (PROCESSING, READY)
    env.worker("U")
    env.tick(1)
    assert (env.runs("U"), env.take("W", Retract)) == ({}, [])


def test_a_worker_with_the_port_of_one_that_died_does_not_count_for_it(env: Env) -> None:
    """The nanny has started it before the scheduler knows of the death."""
    env.nanny()
    env.worker("A", nanny="N", at="host")
    make(env, "z", "A")
    stick(env, "z", "V")
    occupy(env, "A")
    env.worker("B", nanny="N", at="host")
    env.submit("C", ("y", "z"))
    assert env.runs("B") == {}
    env.send("N", Died("A", "killed", "", (), ""))
    assert env.state("y") != ERRED


def queued_at(env: Env, worker: str) -> str | None:
    entry = env.core.queues.workers[worker].queue.head()
    return None if entry is None else entry[1].key


def test_what_waited_in_another_queue_moves(env: Env) -> None:
    """y waits for V, where its larger input lies."""
    make(env, "large", "V")
    env.core.lifecycle.tasks["large"].nbytes = 10**9
    occupy(env, "V")
    occupy(env, "W")
    env.submit("C", "prefetched V", options={"workers": ("V",)})
    env.submit("C", "prefetched W", options={"workers": ("W",)})
    env.submit("C", ("y", "x", "large"))
    assert queued_at(env, "V") == "y"
    env.send("V", Stuck([("x", "why")]))
    assert queued_at(env, "W") == "y"


def test_what_has_been_assigned_is_not_retracted(env: Env) -> None:
    occupy(env, "W")
    occupy(env, "V")
    env.submit("C", ("y", "x"), options={"workers": ("W",), "loose": True})
    assert "y" in env.runs("W")
    env.send("V", Stuck([("x", "why")]))
    env.finish("V", *env.core.members.workers["V"].assigned)
    env.tick(1)
    assert env.take("W", Retract) == []


def test_what_has_been_retracted_comes_back_to_it(env: Env) -> None:
    occupy(env, "W")
    busy = occupy(env, "V")
    env.submit("C", ("y", "x"), options={"workers": ("W",), "loose": True})
    (assignment,) = env.runs("W").values()
    env.finish("V", busy)
    env.tick(1)
    assert env.items("W", Retract) == [assignment]
    env.send("V", Stuck([("x", "why")]))
    env.send("W", Returned([assignment]))
    assert (env.runs("V"), set(env.runs("W"))) == ({}, {"y"})


def test_two_on_different_workers_cannot_be_brought_together(env: Env) -> None:
    make(env, "u", "V")
    env.submit("C", ("y", "x", "u"), ("z", "y"))
    refuse(env, "V", env.runs("V")["y"], "x")
    assert env.take("C", Ended) == []  # u may come to W
    refuse(env, "W", env.runs("W")["y"], "u")
    assert [item[:2] for item in env.items("C", Ended)] == [("y", "stuck"), ("z", "stuck")]
    assert (env.state("x"), env.state("u")) == (MEMORY, MEMORY)


@pytest.mark.parametrize("restricted", [False, True])
def test_it_fails_at_once_if_no_worker_has_all(env: Env, restricted: bool) -> None:
    make(env, "u", "V")
    stick(env, "x", "V")
    stick(env, "u", "W")
    env.release("C", "busy W")
    env.submit("C", ("y", "x", "u"), options={"workers": ("W",)} if restricted else None)
    why = failure(env, "y")
    assert "x, on W at tcp://W:1 (why); u, on V at tcp://V:1 (why)" in why
    assert ("no worker among W has" if restricted else "no worker has") in why
    assert (env.state("x"), env.state("u")) == (MEMORY, MEMORY)
    env.release("C", "x", "u", "y")
    env.assert_empty()
    assert env.core.queues.stuck.reasons == {}


def test_it_fails_if_it_may_not_run_where_its_input_is(env: Env) -> None:
    env.submit("C", ("y", "x"), ("z", "y"), options={"workers": ("V",)})
    refuse(env, "V", env.runs("V")["y"], "x")
    (y, z) = env.items("C", Ended)
    assert (y[:2], z[:2]) == (("y", "stuck"), ("z", "stuck"))
    assert "no worker among V has" in y[2] and y[2] == z[2]


def test_it_does_not_wait_for_a_worker_that_could_not_help(env: Env) -> None:
    env.submit("C", ("y", "x"), options={"workers": ("nobody",)})
    assert env.state("y") == NO_WORKER
    env.send("V", Stuck([("x", "why")]))
    assert "no worker among nobody has" in failure(env, "y")


def test_a_wish_for_a_worker_is_followed_among_those_that_have_it(env: Env) -> None:
    stick(env, "x", "V")
    env.send("V", Holds([("x", 28, LATEST)]))  # it came there after all
    for wish in "VW":
        options = {"workers": (wish,), "loose": True}
        env.submit("C", (f"at {wish}", "x"), options=options)
        assert set(env.runs(wish)) == {f"at {wish}"}
    env.submit("C", ("z", "x"), options={"workers": ("nobody",), "loose": True})
    assert env.state("z") == PROCESSING


def test_several_fail_at_once(env: Env) -> None:
    """While their input is in the middle of being finished."""
    stick(env, "x", "V")
    env.submit("C", "v", options={"workers": ("V",)})
    options = {"workers": ("V",)}
    env.submit("C", ("a", "x", "v"), ("b", "x", "v"), ("c", "v"), options=options)
    env.finish("V", env.runs("V")["v"])
    assert [item[0] for item in env.items("C", Ended)] == ["a", "b"]
    assert set(env.runs("V")) == {"c"}


def test_a_copy_that_is_lost_moves_what_waits_there(env: Env) -> None:
    make(env, "other", "V")
    stick(env, "x", "V")
    env.send("V", Holds([("x", 28, LATEST)]))
    for worker in "WV":
        occupy(env, worker)
    env.submit("C", *((f"y{n}", "x") for n in range(4)))
    queues = env.core.queues.workers
    assert queues["W"].queue and queues["V"].queue
    env.send("C", Missing((("x", address("V")),)))
    assert env.state("x") == MEMORY
    waiting = {task.key for _, task in queues["W"].queue if task.state is READY}
    assert {f"y{n}" for n in range(4)} - set(env.runs("W")) - set(env.runs("V")) == waiting


def test_what_is_lost_with_its_worker_is_computed_elsewhere_and_still_stuck(env: Env) -> None:
    make(env, "s", "V", "U")
    stick(env, "s", "W")
    env.submit("C", ("y", "s"), ("z", "s"), ("t", "s"))
    env.worker("U")
    env.gone("V")
    assert set(env.items("C", Pending)) == {"s"}
    assert [env.state(key) for key in "yzt"] == [WAITING] * 3
    env.finish("U", env.runs("U")["s"])
    env.tick(1)
    assert (env.runs("W"), env.take("U", Retract), env.take("C", Ended)) == ({}, [], [])
    while given := env.runs("U"):
        env.finish("U", *given.values())
    assert set(env.finished("C")) == {"s", "y", "z", "t"}


def test_it_is_forgotten_with_its_task(env: Env) -> None:
    stick(env, "x", "V")
    env.send("C", Release(("x",)))
    assert env.core.queues.stuck.reasons == {}
    env.send("V", Stuck([("x", "why"), ("unknown", "why")]))
    assert env.core.queues.stuck.reasons == {}


def test_a_long_reason_is_cut(env: Env) -> None:
    env.send("V", Stuck([("x", "why" * MAX_REASON)]))
    assert list(map(len, env.core.queues.stuck.reasons.values())) == [MAX_REASON]


def test_a_copy_that_cannot_be_made_is_reported(env: Env) -> None:
    env.send("C", Replicate(5, ("x",), None))
    assert env.items("V", Acquire) != []
    env.send("V", Stuck([("x", "why")]))
    assert env.take("C", Reply) == [Reply(5, False, "x cannot be copied: why")]


def test_a_worker_that_does_not_have_it_is_still_distrusted(env: Env) -> None:
    """V could not get x from W, which does not have it, nor from U, which has it."""
    env.worker("U")
    env.send("U", Holds([("x", 28, LATEST)]))
    env.submit("C", ("y", "x"), options={"workers": ("V",)})
    (assignment,) = env.runs("V").values()
    env.send("V", Stuck([("x", "why")]), Unfetchable([(assignment, [("x", address("W"))])]))
    assert env.items("W", Free) == ["x"]
    env.send("C", Ask(6, "who_has", ("x",)))
    assert env.take("C", Reply)[0].value == {"x": (address("U"),)}
    failure(env, "y")


# With resources


def test_pools_are_apart_for_what_may_run_only_there(env: Env) -> None:
    env.worker("G", nthreads=2, resources={"GPU": 1})
    env.worker("H", nthreads=2, resources={"GPU": 1})
    make(env, "g", "G")
    env.submit("C", "first", options={**GPU, "workers": ("G",)})
    (first,) = env.runs("G").values()
    env.send("H", Stuck([("g", "why")]))
    env.submit("C", ("y", "g"), "free", options=GPU)
    assert (env.state("y"), set(env.runs("H"))) == (READY, {"free"})
    env.finish("G", first)
    assert set(env.runs("G")) == {"y"}


def test_what_waits_in_a_pool_is_bound_as_well(env: Env) -> None:
    env.worker("G", nthreads=2, resources={"GPU": 1})
    make(env, "g", "G")
    env.submit("C", "first", options=GPU)
    (first,) = env.runs("G").values()
    env.submit("C", ("y", "g"), ("z", "x"), options=GPU)
    env.send("W", Stuck([("g", "why")]))
    env.send("G", Stuck([("x", "why")]))
    assert "no worker with GPU=1 has" in failure(env, "z")
    env.worker("H", resources={"GPU": 1})
    assert env.runs("H") == {}
    env.finish("G", first)
    assert set(env.runs("G")) == {"y"}


def test_it_fails_when_the_last_that_has_all_and_may_run_it_leaves(env: Env) -> None:
    env.worker("G", nthreads=2, resources={"GPU": 1})
    env.send("G", Holds([("x", 28, LATEST)]))
    env.send("V", Stuck([("x", "why")]))
    env.submit("C", "first", options=GPU)
    env.submit("C", ("y", "x"), options=GPU)
    assert env.state("y") == READY
    env.gone("G")
    assert env.state("x") == MEMORY
    assert "no worker with GPU=1 has" in failure(env, "y")


def test_what_was_dropped_meanwhile_does_not_matter(env: Env) -> None:
    env.submit("C", ("y", "x"), options={"workers": ("V",)})
    (assignment,) = env.runs("V").values()
    env.release("C", "y")
    assert env.items("V", Drop) == [assignment]
    refuse(env, "V", assignment, "x")
    env.send("V", Abandoned([assignment]))
    assert (env.take("C", Ended), env.state("x")) == ([], MEMORY)
