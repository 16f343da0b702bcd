"""Tasks that ask for resources: what is taken and returned, where they wait, who is not held up."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.core.pools import Pools
from distributed.core.resources import Stock
from distributed.core.states import ERRED, NO_WORKER, PROCESSING, READY, WAITING
from distributed.messages import (
    Abandoned,
    Ask,
    Cancel,
    Drop,
    Goodbye,
    Reply,
    Retract,
    Returned,
    Scatter,
    Seceded,
    Unfetchable,
    Warn,
)
from tests.core.env import Env, address

GPU = {"resources": {"GPU": 1}}


@pytest.fixture
def env() -> Env:
    """One client; W has a GPU, and P is plain."""
    env = Env()
    env.client()
    env.worker("W", nthreads=4, resources={"GPU": 1})
    env.worker("P")
    return env


def used(env: Env, worker: str = "W") -> dict[str, float]:
    return env.core.members.workers[worker].stock.used


# Amounts


def test_rounding_errors_neither_refuse_nor_pile_up() -> None:
    stock = Stock()
    stock.totals = {"MEM": 0.3}
    for assignment in range(3):
        assert stock.fits((("MEM", 0.1),))
        stock.take(assignment, (("MEM", 0.1),))
    assert not stock.fits((("MEM", 0.001),))
    stock.give_back([0, 2])
    assert stock.used == {"MEM": 0.1}
    stock.give_back([1])
    assert stock.used == {}


def test_all_of_what_is_asked_for_must_be_there() -> None:
    stock = Stock()
    stock.totals = {"GPU": 1.0, "MEM": 8.0}
    assert stock.suffices((("GPU", 1), ("MEM", 8)))
    assert not stock.suffices((("GPU", 1), ("MEM", 9)))
    assert not stock.suffices((("GPU", 1), ("TPU", 1)))
    stock.take(1, (("MEM", 5),))
    assert stock.fits((("GPU", 1), ("MEM", 3)))
    assert not stock.fits((("GPU", 1), ("MEM", 4)))


# Where tasks run


def test_it_runs_where_the_resource_is_and_not_two_at_once(env: Env) -> None:
    env.submit("C", "x", "y", options=GPU)
    assert env.runs("W") == {"x": 1}
    assert (env.runs("P"), env.state("y"), used(env)) == ({}, READY, {"GPU": 1})
    env.finish("W", 1)
    assert env.runs("W") == {"y": 2}
    env.finish("W", 2)
    assert (used(env), env.core.queues.pools.table) == ({}, {})


def test_as_many_at_once_as_there_is_for(env: Env) -> None:
    env.worker("V", nthreads=8, resources={"GPU": 1, "MEM": 0.3})
    env.submit("C", "a", "b", "c", "d", options={"resources": {"MEM": 0.1, "GPU": 0.25}})
    assert set(env.runs("V")) == {"a", "b", "c"}
    env.submit("C", "e", options=GPU)
    assert env.runs("W") == {"e": 4}


def test_no_more_than_there_are_threads_for(env: Env) -> None:
    """One is prefetched behind those that run, and takes its amount."""
    env.worker("V", nthreads=1, resources={"TPU": 10})
    env.submit("C", "a", "b", "c", options={"resources": {"TPU": 1}})
    assert set(env.runs("V")) == {"a", "b"}
    assert used(env, "V") == {"TPU": 2}


def test_the_most_urgent_goes_first_whatever_it_asks_for() -> None:
    env = Env()
    env.client()
    env.worker("W", resources={"GPU": 2})
    env.submit("C", "first", "prefetched")
    for priority, options in ((1, GPU), (3, {}), (2, {"resources": {"GPU": 2}}), (4, GPU)):
        env.submit("C", f"p{priority}", options={**options, "priority": priority})
    order = []
    while running := env.runs("W"):
        order += running
        env.finish("W", *running.values(), microseconds=10**6)
    assert order == ["first", "prefetched", "p4", "p3", "p2", "p1"]


def test_restrictions_hold_together_with_resources(env: Env) -> None:
    env.worker("V", nthreads=4, resources={"GPU": 1})
    env.submit("C", "x", "y", options={**GPU, "workers": ("V",)})
    assert (env.runs("V"), env.runs("W"), env.state("y")) == ({"x": 1}, {}, READY)
    env.submit("C", "z", options={**GPU, "workers": ("P",)})
    assert env.state("z") == NO_WORKER


def test_a_wish_for_a_worker_is_followed_if_that_is_free(env: Env) -> None:
    env.worker("V", nthreads=4, resources={"GPU": 1})
    wish = {**GPU, "workers": ("V",), "loose": True}
    env.submit("C", "x", "y", options=wish)
    assert (env.runs("V"), env.runs("W")) == ({"x": 1}, {"y": 2})
    env.submit("C", "z", options={**GPU, "workers": ("P",), "loose": True})
    env.finish("W", 2)
    assert env.runs("W") == {"z": 3}


@pytest.mark.parametrize("holder", ["V", "W"])
def test_it_runs_where_its_inputs_are_if_that_is_free(env: Env, holder: str) -> None:
    env.worker("V", nthreads=4, resources={"GPU": 1})
    env.submit("C", "x", options={"workers": (holder,)})
    env.finish(holder, 1)
    env.runs(holder)
    env.submit("C", ("y", "x"), ("z", "x"), options=GPU)
    assert set(env.runs(holder)) == {"y"}
    assert set(env.runs("V" if holder == "W" else "W")) == {"z"}


def test_inputs_on_a_worker_that_may_not_run_it_are_fetched(env: Env) -> None:
    env.submit("C", "x", options={"workers": ("P",)})
    env.finish("P", 1)
    env.submit("C", ("y", "x"), options=GPU)
    assert set(env.runs("W")) == {"y"}


# Nobody is held up


def test_plain_tasks_overtake_those_that_wait_for_a_resource(env: Env) -> None:
    env.submit("C", *(f"g{n}" for n in range(100)), options={**GPU, "priority": 9})
    env.submit("C", "a", "b", "c", "d", "e")
    assert set(env.runs("W")) | set(env.runs("P")) >= {"g0", "a", "b", "c", "d"}


def test_tasks_with_resources_overtake_plain_ones_that_wait_elsewhere(env: Env) -> None:
    env.submit("C", *(f"p{n}" for n in range(10)), options={"workers": ("P",)})
    env.submit("C", "g", options=GPU)
    assert "g" in env.runs("W")


def test_what_fits_overtakes_what_does_not(env: Env) -> None:
    env.worker("V", nthreads=4, resources={"GPU": 4})
    env.submit("C", "a", options={"resources": {"GPU": 2}})
    env.submit("C", "large", options={"resources": {"GPU": 4}})
    env.submit("C", "b", options={"resources": {"GPU": 2}})
    assert env.runs("V") == {"a": 1, "b": 2}
    env.finish("V", 1, 2)
    assert env.runs("V") == {"large": 3}


def test_many_that_wait_are_not_looked_at_again_and_again(
    env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    env.submit("C", *(f"g{n}" for n in range(1000)), options=GPU)
    looks = []
    fits = Stock.fits

    def count(stock: Stock, needs: Any) -> bool:
        looks.append(needs)
        return fits(stock, needs)

    monkeypatch.setattr(Stock, "fits", count)
    for assignment in range(1, 101):
        env.finish("W", assignment)
    checks = 2 * 100  # by the invariants
    assert len(looks) < 100 * 10 + checks


def test_pools_that_are_empty_go(env: Env) -> None:
    pools: Pools = env.core.queues.pools
    env.submit("C", "a", "b", "c", options=GPU)
    env.send("C", Cancel(("b", "c"), False))
    assert len(pools.table) == 1
    env.finish("W", 1)
    assert (pools.table, pools.seekers) == ({}, set())


# What is taken is returned


def test_a_failure_returns_it(env: Env) -> None:
    env.submit("C", "x", "y", options={**GPU, "retries": 1})
    env.fail("W", 1)
    assert env.runs("W") == {"x": 2}  # again, and y waits
    env.fail("W", 2)
    assert env.runs("W") == {"y": 3}


def test_a_cancelled_task_keeps_it_for_as_long_as_it_runs(env: Env) -> None:
    env.submit("C", "x", "y", options=GPU)
    env.send("C", Cancel(("x",), False))
    assert env.items("W", Drop) == [1]
    assert (used(env), env.state("y")) == ({"GPU": 1}, READY)
    env.send("W", Abandoned([1]))
    assert env.state("y") == PROCESSING


def test_the_result_of_a_cancelled_task_returns_it(env: Env) -> None:
    env.submit("C", "x", "y", options=GPU)
    env.send("C", Cancel(("x",), False))
    env.finish("W", 1)
    assert env.state("y") == PROCESSING


def test_a_task_that_waits_for_others_keeps_it(env: Env) -> None:
    env.submit("C", "x", "y", options=GPU)
    env.send("W", Seceded([1]))
    assert (used(env), env.state("y")) == ({"GPU": 1}, READY)
    env.finish("W", 1)
    assert env.state("y") == PROCESSING


def test_an_input_that_cannot_be_fetched_returns_it(env: Env) -> None:
    env.submit("C", "x", options={"workers": ("P",)})
    env.finish("P", 1)
    env.submit("C", ("y", "x"), options=GPU)
    env.submit("C", "z", options=GPU)
    env.send("W", Unfetchable([(2, [("x", address("P"))])]))
    assert (env.state("y"), env.state("z")) == (WAITING, PROCESSING)


def test_idle_workers_get_back_what_fits_there() -> None:
    env = Env()
    env.client()
    env.worker("W", resources={"GPU": 4})
    env.submit("C", "x")
    env.finish("W", 1, microseconds=6_000)
    env.submit("C", "a", "b", "c", options=GPU)
    assert set(env.runs("W")) == {"x", "a", "b", "c"}
    env.worker("P")
    assert env.take("W", Retract) == []
    env.worker("V", resources={"GPU": 1})
    (retract,) = env.take("W", Retract)
    env.send("W", Returned(list(retract.assignments)))
    assert len(env.runs("V")) == len(retract.assignments) == 1
    assert (used(env, "W"), used(env, "V")) == ({"GPU": 2}, {"GPU": 1})


def test_what_is_handed_back_waits_for_whoever_has_the_resource() -> None:
    """The worker that it was for may have taken something else."""
    env = Env()
    env.client()
    env.worker("W", resources={"GPU": 4})
    env.submit("C", "x")
    env.finish("W", 1, microseconds=6_000)
    env.submit("C", "a", "b", options=GPU)
    env.worker("V", nthreads=2, resources={"GPU": 1})
    (retract,) = env.take("W", Retract)
    env.submit("C", "c", options={**GPU, "workers": ("V",)})
    assert set(env.runs("V")) == {"c"}
    env.send("W", Returned(list(retract.assignments)))
    assert (set(env.runs("V")), used(env, "W")) == (set(), {"GPU": 2})


def test_a_lost_worker_takes_what_it_has_with_it(env: Env) -> None:
    env.submit("C", "x", "y", options=GPU)
    env.gone("W")
    assert (env.state("x"), env.state("y")) == (NO_WORKER, NO_WORKER)
    env.worker("V", resources={"GPU": 1})
    assert env.runs("V") == {"x": 2}
    assert (env.state("x"), env.state("y")) == (PROCESSING, READY)


def test_of_two_workers_one_may_go(env: Env) -> None:
    env.worker("V", nthreads=4, resources={"GPU": 1})
    env.submit("C", "x", "y", "z", options=GPU)
    env.send("V", Goodbye())
    assert {env.state(key) for key in "xyz"} == {PROCESSING, READY}
    for _ in range(3):
        env.finish("W", *env.runs("W").values())
    assert sorted(env.finished("C")) == ["x", "y", "z"]


def test_after_a_broken_connection_what_has_ended_is_returned(env: Env) -> None:
    env.submit("C", "x", "y", options=GPU)
    env.worker("W", nthreads=4, resources={"GPU": 1}, holds=(("x", 28),), peer="W2")
    assert env.finished("C") == ["x"]
    assert set(env.runs("W2")) == {"y"}


def test_after_a_broken_connection_what_still_runs_has_it(env: Env) -> None:
    env.submit("C", "x", "y", options=GPU)
    env.worker("W", nthreads=4, resources={"GPU": 1}, assigned=(1,), peer="W2")
    assert (env.state("x"), env.state("y"), used(env)) == (PROCESSING, READY, {"GPU": 1})


def test_a_worker_that_comes_back_may_still_be_using_what_it_has(env: Env) -> None:
    """It had been given up, and runs a task of which nothing is known any more."""
    env.submit("C", "x", options=GPU)
    env.send("W", Goodbye())
    env.worker("W", nthreads=4, resources={"GPU": 1}, assigned=(1,), peer="W2")
    env.submit("C", "plain", options={"workers": ("W",)})
    assert (env.items("W2", Drop), env.state("x")) == ([1], READY)
    assert set(env.runs("W2")) == {"plain"}
    env.send("W2", Abandoned([1]))
    assert set(env.runs("W2")) == {"x"}


# Nobody has it


def test_without_such_a_worker_it_waits_and_its_client_is_told(env: Env) -> None:
    env.submit("C", "x", options={"resources": {"GPU": 2}})
    env.submit("C", "y", options={**GPU, "workers": ("P",)})
    assert (env.state("x"), env.state("y")) == (NO_WORKER, NO_WORKER)
    env.tick()
    env.tick(3)
    env.tick(3)
    present = "there are only: W (GPU=1), P (no resources)"
    assert [warning.text for warning in env.take("C", Warn)] == [
        f"there is work that needs GPU=2, but no worker has GPU=2; {present}",
        f"there is work that needs GPU=1, but no worker named P has GPU=1; {present}",
    ]
    env.worker("V", resources={"GPU": 2})
    assert set(env.runs("V")) == {"x"}


def test_without_any_worker_the_complaint_says_what_to_start() -> None:
    env = Env()
    env.client()
    env.submit("C", "x", options=GPU)
    env.tick()
    env.tick(3)
    text = "there is work but no worker: start one with `dworker ADDRESS --resources 'GPU=1'`"
    assert [warning.text for warning in env.take("C", Warn)] == [text]


def test_when_the_only_such_worker_goes_those_that_waited_for_it_are_complained_of(
    env: Env,
) -> None:
    env.submit("C", "x", "y", options=GPU)
    env.send("W", Goodbye())
    env.tick()
    env.tick(3)
    (warning,) = env.take("C", Warn)
    assert "no worker has GPU=1; there are only: P (no resources)" in warning.text


# Questions, and recipes that change


def test_scheduler_info_has_the_resources(env: Env) -> None:
    env.send("C", Ask(1, "scheduler_info", None))
    (reply,) = env.take("C", Reply)
    workers = reply.value["workers"]
    assert workers[address("W")]["resources"] == {"GPU": 1}
    assert workers[address("P")]["resources"] == {}


@pytest.fixture
def lossy() -> Env:
    """As `env`, and a worker H whose death is the loss of the scattered `data`."""
    env = Env()
    env.client()
    env.worker("H")
    env.send("C", Scatter(1, (("data", 8),), None))
    (reply,) = env.take("C", Reply)
    env.finish("H", reply.value[0][2])
    env.worker("W", resources={"GPU": 1})
    env.worker("P")
    return env


def test_a_task_that_is_submitted_anew_is_not_in_its_old_queue(lossy: Env) -> None:
    lossy.submit("C", "a", "b", ("x", "data"), options={"workers": ("P",)})
    lossy.submit("C", "g", options=GPU)
    assert lossy.state("x") == READY
    lossy.gone("H")
    assert lossy.state("x") == ERRED
    lossy.submit("C", "x", options=GPU)
    lossy.finish("P", *lossy.runs("P").values())
    assert lossy.runs("P") == {}
    lossy.finish("W", lossy.runs("W")["g"])
    assert set(lossy.runs("W")) == {"x"}


def test_a_task_that_is_submitted_anew_is_not_in_its_old_pool(lossy: Env) -> None:
    lossy.submit("C", "a", "b", options={"resources": {"GPU": 0.3}})
    lossy.submit("C", ("x", "data"), options={"resources": {"GPU": 0.5}})
    assert lossy.state("x") == READY
    lossy.gone("H")
    assert lossy.state("x") == ERRED
    lossy.submit("C", "x", options={"resources": {"GPU": 0.75}})
    running = lossy.runs("W")
    lossy.finish("W", running["a"])
    assert lossy.runs("W") == {}
    lossy.finish("W", running["b"])
    assert set(lossy.runs("W")) == {"x"}
    assert used(lossy) == {"GPU": 0.75}
