"""The order of work: what stands where, and that clients take turns."""

from __future__ import annotations

from collections import Counter

import pytest

from distributed.core.reasons import why
from distributed.core.states import READY
from distributed.messages import Scatter
from tests.core.env import Env

LONG = 10**6  # microseconds: nothing is prefetched behind such a task but the next one


@pytest.fixture
def env() -> Env:
    """A client, and a worker with one thread that holds one task more than it runs."""
    env = Env()
    env.client()
    env.worker()
    env.submit("C", "warm")
    step(env)
    return env


def step(env: Env) -> list[str]:
    """The oldest task of the worker ends; the keys that it is given next."""
    worker = env.core.members.workers["W"]
    before = list(worker.assigned)
    env.finish("W", before[0], microseconds=LONG)
    return [worker.assigned[number].key for number in worker.assigned if number not in before]


def order(env: Env) -> list[str]:
    """All that is left, in the order in which the worker gets it."""
    worker = env.core.members.workers["W"]
    found = [task.key for task in worker.assigned.values()]
    while worker.assigned:
        found += step(env)
    return found


def test_a_follow_up_comes_right_after_its_input(env: Env) -> None:
    env.submit("C", *"abcdef")
    env.submit("C", ("d+", "d"))
    env.submit("C", ("a+", "a"))
    found = order(env)
    assert found.index("a+") == found.index("a") + 2  # one had been given out before
    assert found.index("d+") == found.index("d") + 2


def test_maps_of_maps_run_depth_first(env: Env) -> None:
    env.submit("C", *(f"a{n}" for n in range(6)))
    env.submit("C", *((f"b{n}", f"a{n}") for n in range(6)))
    env.submit("C", *((f"c{n}", f"b{n}") for n in range(6)))
    found = order(env)
    held = 0
    for count, key in enumerate(found, 1):
        held = max(
            held, sum(k[0] == "a" for k in found[:count]) - sum(k[0] == "c" for k in found[:count])
        )
        assert key[0] != "a" or held <= 3
    assert found[-1] == "c5"


def test_it_stands_behind_the_last_of_its_inputs(env: Env) -> None:
    env.submit("C", *"abcd")
    env.submit("C", *"xyz")
    env.submit("C", ("sum", "a", "y"), ("none",))
    assert order(env)[-3:] == ["z", "sum", "none"] or order(env) == []


def test_a_follow_up_of_a_result_that_is_there_comes_at_once(env: Env) -> None:
    env.submit("C", *"abcdefgh")
    step(env)
    step(env)
    assert env.state("h") == READY
    env.submit("C", ("a+", "a"))
    assert step(env) == ["a+"]


def test_within_a_call_the_order_is_that_of_the_call(env: Env) -> None:
    env.submit("C", "a", "b", ("a+", "a"), "c", ("b+", "b"))
    assert order(env) == ["a", "b", "a+", "c", "b+"]


def test_parts_of_a_graph_are_one_call(env: Env) -> None:
    """The second part uses results of the first, and comes after it all the same."""
    env.submit("C", "a", "b", "c", "d", call=5)
    env.submit("C", ("e", "a"), ("f", "b"), call=5, first=4)
    assert order(env) == ["a", "b", "c", "d", "e", "f"]


def test_a_graph_on_results_goes_on_where_they_stand(env: Env) -> None:
    env.submit("C", "x0", "x1", "x2", "x3")
    env.submit("C", "other")
    env.submit("C", ("y0", "x0"), ("z0", "y0"), ("y3", "x3"), ("z3", "y3"))
    found = order(env)
    assert found.index("z0") < found.index("x3")
    assert found.index("z3") < found.index("other") or found[-1] == "z3"


def test_the_users_priority_is_above_all(env: Env) -> None:
    env.submit("C", *"abcd")
    env.submit("C", ("a+", "a"), options={"priority": -1})
    env.submit("C", "urgent", options={"priority": 1})
    found = order(env)
    assert found[-1] == "a+"
    assert found.index("urgent") == 2


def test_scattered_data_lends_no_place(env: Env) -> None:
    env.send("C", Scatter(1, (("data", 8),), None))
    env.finish("W", *env.core.members.workers["W"].incoming)
    env.submit("C", *"abcd")
    env.submit("C", ("late", "data"))
    assert order(env)[-1] == "late"


def test_a_follow_up_of_anothers_work_has_its_own_place(env: Env) -> None:
    """The numbers of two clients have nothing to do with each other."""
    env.client("D")
    env.submit("D", "d", call=1000)
    env.submit("C", ("c", "d"), call=2)
    assert env.core.lifecycle.tasks["c"].priority == (0, 2, 0)


# Several clients


def shares(env: Env, rounds: int) -> Counter[str]:
    """How many tasks of each client the worker was given meanwhile."""
    return Counter(key[0] for _ in range(rounds) for key in step(env))


def test_clients_take_turns(env: Env) -> None:
    env.client("D")
    env.submit("C", *(f"c{n}" for n in range(100)))
    env.submit("D", *(f"d{n}" for n in range(100)))
    found = shares(env, 40)
    assert abs(found["c"] - found["d"]) <= 2


def test_a_chain_of_follow_ups_starves_nobody(env: Env) -> None:
    """C submits a follow-up of each result, for ever, in five chains. D comes later, with a map."""
    env.client("D")
    env.submit("C", *(f"c{n}.0" for n in range(5)))
    env.submit("D", *(f"d{n}" for n in range(20)))
    worker = env.core.members.workers["W"]
    finished: list[str] = []
    for turn in range(1, 60):
        key = next(iter(worker.assigned.values())).key
        step(env)
        finished.append(key)
        if key[0] == "c":
            env.submit("C", (f"{key.partition('.')[0]}.{turn}", key))
    assert sum(key[0] == "d" for key in finished) == 20
    assert sum(key[0] == "c" for key in finished) > 20


def test_who_had_nothing_to_do_does_not_make_up_for_it(env: Env) -> None:
    env.client("D")
    env.submit("C", *(f"c{n}" for n in range(50)))
    for _ in range(30):
        step(env)
    env.submit("D", *(f"d{n}" for n in range(50)))
    found = shares(env, 10)
    assert abs(found["c"] - found["d"]) <= 2


def test_turns_count_the_time_that_tasks_take(env: Env) -> None:
    env.client("D")
    env.submit("C", *(f"c{n}" for n in range(40)))
    env.submit("D", *(f"d{n}" for n in range(40)), function="short")
    worker = env.core.members.workers["W"]
    seconds = Counter[str]()
    for _ in range(30):
        number, task = next(iter(worker.assigned.items()))
        took = 4.0 if task.key[0] == "c" else 1.0
        seconds[task.key[0]] += took
        env.finish("W", number, microseconds=int(took * 1e6))
    assert 0.5 < seconds["c"] / seconds["d"] < 2.0


def test_a_priority_goes_before_the_turns(env: Env) -> None:
    env.client("D")
    env.submit("C", *(f"c{n}" for n in range(10)))
    env.submit("D", *(f"d{n}" for n in range(10)), options={"priority": 1})
    assert shares(env, 10)["d"] == 10


def test_why_says_what_is_before_a_task(env: Env) -> None:
    env.client("D")
    env.submit("C", *"abcdef")
    step(env)
    env.submit("C", ("a+", "a"))
    env.submit("C", "urgent", options={"priority": 1})
    env.submit("D", "other")
    assert why(env.core.lifecycle, {}, "f", env.now) == (
        "it could start, but all workers are busy: 4 tasks are before it (1 of a higher priority, "
        "1 submitted later, to go on with earlier work); it takes turns with the work of another client"
    )


@pytest.mark.parametrize("options", [{"workers": ("W",)}, {"resources": {"GPU": 1}}])
def test_who_had_nothing_to_do_does_not_make_up_for_it_in_another_queue(
    options: dict[str, object],
) -> None:
    env = Env()
    env.client()
    env.client("D")
    env.worker(resources={"GPU": 1})
    env.submit("C", *(f"c{n}" for n in range(60)))
    for _ in range(30):
        step(env)
    env.submit("D", *(f"d{n}" for n in range(60)), options=options)
    found = shares(env, 20)
    assert abs(found["c"] - found["d"]) <= 2


def test_why_counts_only_what_asks_for_the_same_resources() -> None:
    env = Env()
    env.client()
    env.worker(resources={"GPU": 1})
    env.submit("C", "first", "second", "third", options={"resources": {"GPU": 1}})
    env.submit("C", *(f"c{n}" for n in range(9)), options={"workers": ("W",), "priority": 1})
    assert "one task is before it" in why(env.core.lifecycle, {}, "third", env.now)
