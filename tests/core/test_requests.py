"""Requests of clients whose answers, or the orders that they lead to, get lost on the way."""

from __future__ import annotations

import pytest

from distributed.core.states import Gone
from distributed.core.worker import NO_ASSIGNMENT
from distributed.messages import (
    PROTOCOL,
    PYTHON,
    Acquire,
    Ask,
    ClientHello,
    Free,
    Holds,
    Kill,
    NannyHello,
    PutFile,
    Replicate,
    Reply,
    Restart,
    StartAgain,
    Unfetchable,
    Upload,
    Welcome,
)
from tests.core.env import LATEST, Env, address, worker_hello


@pytest.fixture
def env() -> Env:
    """A client C, and workers W and V with a nanny N, so that a break is not taken for their death."""
    env = Env()
    env.client()
    env.nanny()
    env.worker(nanny="N")
    env.worker("V", nanny="N")
    return env


def break_connection(env: Env, worker: str) -> None:
    """It is back before its nanny could have said that it is dead."""
    env.gone(worker)
    env.worker(worker, nanny="N", peer=f"{worker} again")


def replicate(env: Env) -> None:
    """x is on V, and W is to have a copy."""
    env.submit("C", "x")
    env.finish("V", env.runs("V")["x"])
    env.send("C", Replicate(5, ("x",), None))
    assert env.items("W", Acquire) == [("x", 28, (address("V"),), 1)]


def test_a_file_for_a_worker_that_is_cut_off_waits_for_it(env: Env) -> None:
    env.gone("W")
    env.send("C", Upload(5, "m.py", b"x = 1"))
    env.worker("W", nanny="N", peer="W again")
    assert env.take("W again", PutFile)


def test_workers_that_join_get_files_in_the_order_of_their_last_uploads(env: Env) -> None:
    for number, name in enumerate(["package-1.egg", "package-2.egg", "package-1.egg"]):
        env.send("C", Upload(number, name, b"content"))
    env.send("U", worker_hello("U"))
    (welcome,) = env.take("U", Welcome)
    assert list(welcome.files) == ["package-2.egg", "package-1.egg"]


def test_a_copy_under_which_the_connection_breaks_is_made_again(env: Env) -> None:
    replicate(env)
    break_connection(env, "W")
    assert env.items("W again", Acquire) == [("x", 28, (address("V"),), 1)]
    env.send("W again", Holds([("x", 28, LATEST)]))
    assert env.take("C", Reply) == [Reply(5, True, None)]


def test_a_copy_is_looked_for_elsewhere(env: Env) -> None:
    replicate(env)
    env.worker("U", nanny="N")
    env.send("U", Holds([("x", 28, LATEST)]))
    env.send("W", Unfetchable([(NO_ASSIGNMENT, [("x", address("V"))])]))
    assert env.items("W", Acquire) == [("x", 28, (address("U"),), 1)]
    env.send("W", Holds([("x", 28, LATEST)]))
    assert env.take("C", Reply) == [Reply(5, True, None)]


def test_a_copy_of_what_turns_out_to_be_nowhere_is_not_waited_for(env: Env) -> None:
    replicate(env)
    env.send("W", Unfetchable([(NO_ASSIGNMENT, [("x", address("V"))])]))
    assert env.items("V", Free) == ["x"]
    assert env.runs("V") or env.runs("W")
    assert "was lost" in env.take("C", Reply)[0].value


def test_a_copy_of_what_nobody_wants_any_more_is_not_waited_for(env: Env) -> None:
    replicate(env)
    env.release("C", "x")
    assert "was lost" in env.take("C", Reply)[0].value


def test_a_client_that_says_hello_again_gets_the_answers_that_are_on_their_way(env: Env) -> None:
    hello = ClientHello("C", "epoch", PROTOCOL, PYTHON, (), (), "")
    env.send("C", Ask(5, "ncores", None), hello)
    assert env.take("C", Reply)[0].request == 5


def test_a_nanny_that_says_hello_again_still_hears_whom_to_kill(env: Env) -> None:
    reason = "the cluster was restarted"
    events = [(b"C", Restart(5)), (b"N", NannyHello("N", PROTOCOL, PYTHON))]
    sent = {e.peer: e.batch for e in env.core.handle(events, env.now)}  # type: ignore[union-attr]
    assert Kill(["W"], reason) in sent[b"N"] and Kill(["V"], reason) in sent[b"N"]


def test_a_worker_is_told_to_start_again_even_if_its_nanny_is(env: Env) -> None:
    env.send("N", Gone())
    env.send("C", Restart(5))
    assert env.take("W", StartAgain) and env.take("V", StartAgain)
