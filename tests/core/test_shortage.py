"""Results that do not fit into the memory of the workers fail with a reason, and end no worker twice."""

from __future__ import annotations

import pytest

from distributed.core.shortage import MAX_LOSSES
from distributed.core.states import MEMORY, NO_WORKER, PROCESSING
from distributed.messages import Died, Done, Ended
from tests.core.env import Env, worker_hello

LIMIT = 1000


@pytest.fixture
def env() -> Env:
    """A client, a nanny, and two workers that may use 1,000 bytes each."""
    env = Env()
    env.client()
    env.nanny()
    for worker in "WV":
        start(env, worker)
    return env


def start(env: Env, worker: str) -> None:
    env.send(worker, worker_hello(worker)._replace(nanny="N", memory_limit=LIMIT))


def make(env: Env, worker: str, nbytes: int, *keys: str) -> None:
    env.submit("C", *keys, options={"workers": (worker,)})
    while runs := env.runs(worker):
        env.send(worker, Done([(a, nbytes, 10, None, None) for a in runs.values()]))


def die(env: Env, worker: str, used: int, *running: int) -> None:
    env.send("N", Died(worker, "memory: it used too much", "", running, "", used))


def failed(env: Env) -> dict[str, str]:
    """{key: how}"""
    return {key: how for key, how, _ in env.items("C", Ended)}


def test_what_a_full_cluster_loses_is_not_made_again(env: Env) -> None:
    make(env, "W", 300, "a", "b")
    make(env, "V", 300, "c", "d")
    env.submit("C", "e", options={"workers": ("W",)})
    running = env.runs("W")["e"]
    die(env, "W", 980, running)
    ((key, how, why), (other, *_)) = env.items("C", Ended)
    assert (key, other, how) == ("a", "b", "memory")
    assert why.startswith(
        "a (0.00 GB) is lost: memory is short. The results that are wanted so far take 0.00 GB; the 2 "
        "workers that we have may use 0.00 GB in all"
    )
    assert "Worker W at tcp://W:1 was ended when it used 0.00 GB of 0.00 GB" in why
    assert [line[:43] for line in env.logged] == ["2 results are lost, and not made again: mem"]
    assert env.state("e") == NO_WORKER  # and is not blamed
    assert env.core.lifecycle.tasks["e"].deaths == ()


def test_what_waits_for_it_fails_with_it(env: Env) -> None:
    make(env, "W", 600, "a")
    make(env, "V", 700, "b")
    env.submit("C", "x", ("c", "a", "x"), options={"workers": ("V",)})
    die(env, "W", 980)
    assert failed(env) == {"a": "memory", "c": "memory"}


def test_what_was_needed_by_nobody_else_is_free_and_can_be_asked_for_again(env: Env) -> None:
    make(env, "W", 700, "a")
    make(env, "V", 700, "b")
    die(env, "W", 980)
    env.release("C", "a", "b")
    env.assert_empty()
    env.submit("C", "a")
    assert env.state("a") == PROCESSING


@pytest.mark.parametrize(("here", "there"), [(400, 900), (600, 300)])
def test_results_that_fit_are_made_again(env: Env, here: int, there: int) -> None:
    """What ran used most of the memory, or there is room elsewhere."""
    make(env, "W", here, "a")
    make(env, "V", there, "b")
    env.submit("C", "c", options={"workers": ("W",)})
    running = env.runs("W")["c"]
    die(env, "W", 980, running)
    assert failed(env) == {} and env.state("a") == NO_WORKER
    assert len(env.core.lifecycle.tasks["c"].deaths) == 1


def test_copies_are_not_lost(env: Env) -> None:
    make(env, "W", 700, "a")
    make(env, "V", 700, "b")
    env.send("V", worker_hello("V")._replace(nanny="N"))
    env.core.reports.adopt(env.core.members.workers["V"], "a", 700, 1 << 40)
    die(env, "W", 980)
    assert failed(env) == {} and env.state("a") == MEMORY


def test_a_result_that_is_lost_so_again_and_again_is_larger_than_it_says(env: Env) -> None:
    make(env, "W", 1, "a")
    for _ in range(MAX_LOSSES - 1):
        die(env, "W", 980)
        assert failed(env) == {}
        start(env, "W")
        env.finish("W", *env.runs("W").values())
        assert env.state("a") == MEMORY
    die(env, "W", 980)
    assert failed(env) == {"a": "memory"}


def test_who_was_ended_for_another_reason_was_not_short_of_memory(env: Env) -> None:
    make(env, "W", 900, "a")
    make(env, "V", 900, "b")
    die(env, "W", 0)
    assert failed(env) == {}
