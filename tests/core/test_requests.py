"""Requests of clients whose answers, or the orders that they lead to, get lost on the way."""

from __future__ import annotations

import pytest

from distributed.core import requests
from distributed.core.answers import data_in
from distributed.core.states import MEMORY, Gone
from distributed.core.worker import NO_ASSIGNMENT
from distributed.messages import (
    PROTOCOL,
    PYTHON,
    Acquire,
    Answer,
    Ask,
    Broadcast,
    Call,
    ClientHello,
    Ended,
    Files,
    Free,
    Goodbye,
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
    Want,
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


# Answers that are large stay on their workers as data


def call(env: Env) -> int:
    env.send("C", Broadcast(5, b"call", None))
    ((number, _),) = env.take("W", Call)
    env.take("V", Call)
    return number


def test_a_large_answer_is_data_that_the_client_wants(env: Env) -> None:
    number = call(env)
    env.send("W", Answer(number, True, ("answer-1", 100)))
    assert env.take("C", Reply) == []
    env.send("V", Answer(number, True, b"small"))
    (reply,) = env.take("C", Reply)
    assert reply.value == {address("W"): (True, ("answer-1", 100)), address("V"): (True, b"small")}
    env.send("C", Want(("answer-1",)))
    assert env.finished("C") == ["answer-1", "answer-1"]
    env.send("W", Answer(number, True, ("answer-1", 100)))  # once more, as after a break
    assert env.state("answer-1") == MEMORY
    env.release("C", "answer-1")
    assert env.items("W", Free) == ["answer-1"]
    env.assert_empty()


def test_a_large_answer_that_nobody_waits_for_is_deleted(env: Env) -> None:
    number = call(env)
    env.send("C", Goodbye())
    env.send("W", Answer(number, True, ("answer-1", 100)))
    assert env.take("W", Free) == [Free(("answer-1",), number)]
    env.assert_empty()


def test_a_large_answer_goes_with_its_client(env: Env) -> None:
    number = call(env)
    env.send("W", Answer(number, True, ("answer-1", 100)))
    env.send("C", Goodbye())
    assert env.items("W", Free) == ["answer-1"]
    env.assert_empty()


def test_a_worker_that_comes_back_has_its_large_answer(env: Env) -> None:
    number = call(env)
    env.send("W", Answer(number, True, ("answer-1", 100)))
    env.gone("W")
    env.worker("W", nanny="N", peer="W2", holds=(("answer-1", 100, number),))
    assert env.state("answer-1") == MEMORY


def test_a_large_answer_is_lost_with_its_worker(env: Env) -> None:
    number = call(env)
    env.send("W", Answer(number, True, ("answer-1", 100)))
    env.send("W", Goodbye())
    env.send("V", Answer(number, True, b"small"))
    assert len(env.take("C", Reply)) == 1
    env.send("C", Want(("answer-1",)))
    assert {item[1] for item in env.items("C", Ended)} == {"lost"}


def test_uploads_that_do_not_fit_are_refused(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_FILES_BYTES", 10)
    env.send("C", Upload(1, "a", bytes(6)), Upload(2, "b", bytes(5)), Upload(3, "a", bytes(10)))
    assert list(env.core.requests.files) == ["a"]
    (reply,) = env.take("C", Reply)
    assert (reply.request, reply.ok) == (2, False)
    assert reply.value.startswith(
        "b does not fit: uploads may take 10 bytes in all; put large files"
    )
    env.send("W", Files({"c": b"1"}))
    assert list(env.core.requests.files) == ["a"]


def test_answers_to_a_call_whose_connection_broke_are_deleted(env: Env) -> None:
    number = call(env)
    env.send("W", Answer(number, True, ("answer-1", 100)))
    env.gone("C")
    env.client("C", peer="C again")
    assert env.items("W", Free) == ["answer-1"]
    env.send("V", Answer(number, True, ("answer-2", 100)))
    assert env.items("V", Free) == ["answer-2"]
    env.assert_empty()


def test_data_is_found_in_replies_to_calls_and_in_no_others() -> None:
    answers = {"a": (True, ("x", 8)), "b": (False, "it died"), "c": (True, b"result")}
    assert data_in(answers) == ["x"]
    for reply in (None, "text", [("x", "tcp://a:1", 3)], {"x": ("tcp://a:1",)}, {"tcp://a:1": 4}):
        assert data_in(reply) == []
