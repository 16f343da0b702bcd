"""Why a task is not done, what has happened to it, and the whole state."""

from __future__ import annotations

import json
from typing import Any

import pytest

from distributed.core import story
from distributed.core.dump import PAGE
from distributed.core.insight import WORKER_SECONDS
from distributed.messages import (
    Ask,
    Audit,
    Audited,
    Cancel,
    Goodbye,
    Holds,
    Reply,
    Scatter,
    Seceded,
    Unfetchable,
)
from tests.core.env import LATEST, Env


@pytest.fixture
def env() -> Env:
    env = Env()
    env.client()
    return env


def ask(env: Env, question: str, *keys: str) -> None:
    env.send("C", Ask(1, question, keys or None))


def reply(env: Env) -> Any:
    (answer,) = env.take("C", Reply)
    assert answer.ok, answer
    return answer.value


def why(env: Env, key: str, worker: str = "", **answer: Any) -> str:
    """The answer; `worker` is asked first, and this is what it says."""
    ask(env, "why", key)
    if worker:
        assert env.take("C", Reply) == []
        (question,) = env.take(worker, Audit)
        told: dict[str, Any] = {
            "jobs": (),
            "running": (),
            "fetching": (),
            "absent": (),
            "holds": (),
        }
        env.send(worker, Audited(number=question.number, **{**told, **answer}))
    text: str = reply(env)
    return text


def jobs(runs: dict[str, int]) -> list[Any]:
    return [(number, key, False, False) for key, number in runs.items()]


def test_what_the_scheduler_does_not_know(env: Env) -> None:
    assert why(env, "x").startswith("the scheduler does not know it")


def test_without_a_worker(env: Env) -> None:
    env.submit("C", "x", ("y", "x"))
    assert "there is work but no worker: start one" in why(env, "x")
    assert why(env, "y").startswith(
        "it waits for x, which cannot start: there is work but no worker"
    )


def test_without_the_right_worker(env: Env) -> None:
    env.worker()
    env.submit("C", "x", options={"workers": ("bob",)})
    assert why(env, "x").startswith("it cannot run anywhere: there is work for a worker named bob")


def test_what_needs_help_is_named_before_what_needs_patience(env: Env) -> None:
    env.worker()
    env.submit("C", "a", "b")
    env.submit("C", "c", options={"workers": ("bob",)})
    env.submit("C", ("d", "a", "b", "c"), ("e", "d"), ("f", "e"))
    assert why(env, "d").startswith(
        "it waits for c (and 2 more of its inputs), which cannot run anywhere"
    )
    assert why(env, "f").startswith("it waits for e, and that, through 1 more, for c, which cannot")


def test_what_runs(env: Env) -> None:
    env.worker()
    env.submit("C", "x", "y", ("z", "x"))
    runs = env.runs("W")
    told = {"jobs": jobs(runs), "running": [(runs["x"], 12_000)]}
    assert why(env, "x", "W", **told) == "it is running on worker W for 12 s"
    assert why(env, "z", "W", **told) == "it waits for x, which is running on worker W for 12 s"
    assert why(env, "y", "W", **told) == (
        "it was given to worker W, and waits there for a thread: x is running there for 12 s"
    )


def test_what_fetches_its_inputs(env: Env) -> None:
    env.worker("W")
    env.worker("V")
    env.submit("C", "x", "y")
    env.finish("W", *env.runs("W").values())
    env.finish("V", *env.runs("V").values())
    env.submit("C", ("z", "x", "y"), options={"workers": ("W",)})
    runs = env.runs("W")
    far = "y" if env.core.lifecycle.tasks["y"].holders[0].name == "V" else "x"
    for fetching in ([(far, "tcp://V:1")], []):
        text = why(env, "z", "W", jobs=jobs(runs), fetching=fetching)
        assert text == (
            "it was given to worker W, which is fetching its inputs: "
            f"{far} (28 bytes) from tcp://V:1"
        )


def test_what_is_queued(env: Env) -> None:
    env.worker()
    env.submit("C", *(f"x{n}" for n in range(9)))
    assert len(env.runs("W")) == 2
    assert why(env, "x2") == "it could start, but all workers are busy: it is the next"
    assert why(env, "x8") == "it could start, but all workers are busy: 6 tasks are before it"
    env.submit("C", "y", options={"workers": ("W",)})
    assert why(env, "y").startswith("it could start, but may only run on W, which is busy")


def test_what_is_queued_near_its_inputs(env: Env) -> None:
    env.worker()
    env.submit("C", "x")
    env.finish("W", *env.runs("W").values(), microseconds=1_000_000)
    env.submit("C", *((f"y{n}", "x") for n in range(4)))
    where = "it could start, and is to run on worker W, near its inputs, which is busy"
    assert why(env, "y3") == f"{where}: one task is before it"


def test_what_waits_for_resources(env: Env) -> None:
    env.worker(resources={"GPU": 1})
    env.submit("C", "x", "y", options={"resources": {"GPU": 1}})
    assert "needs GPU=1, and so much is not free on any worker" in why(env, "y")


def test_what_has_ended(env: Env) -> None:
    env.worker()
    env.submit("C", "x", "y")
    runs = env.runs("W")
    env.finish("W", runs["x"])
    env.fail("W", runs["y"])
    assert why(env, "x") == "it is done: its result, 28 bytes, lies on worker W"
    assert why(env, "y") == "it has failed: it, or what it needs, raised an exception"


def test_scattered_data_on_its_way(env: Env) -> None:
    env.worker()
    env.send("C", Scatter(2, (("s", 8),), None))
    env.take("C", Reply)
    assert why(env, "s", "W") == "it is data that a client is sending to worker W"


def test_a_worker_that_does_not_answer(env: Env) -> None:
    env.worker()
    env.submit("C", "x")
    ask(env, "why", "x")
    env.tick(WORKER_SECONDS / 2)
    assert env.take("C", Reply) == []
    env.tick(WORKER_SECONDS / 2)
    assert reply(env) == "it was given to worker W, which has not answered for 1 s"


def test_a_worker_whose_connection_is_broken(env: Env) -> None:
    env.nanny()
    env.worker(nanny="N")
    env.submit("C", "x")
    env.gone("W")
    env.now += 0.5
    assert why(env, "x").endswith("connection to that has been broken for 0.5 s")
    env.submit("C", "y")
    assert why(env, "y") == "it could start, but the connections to all workers are broken"


def test_a_worker_that_dies_while_it_is_asked(env: Env) -> None:
    env.worker()
    env.submit("C", "x")
    ask(env, "why", "x")
    env.gone("W")
    env.tick()
    assert "there is work but no worker" in reply(env)


def test_a_client_that_leaves_while_a_worker_is_asked(env: Env) -> None:
    env.worker()
    env.client("D")
    env.submit("D", "x")
    env.send("D", Ask(1, "why", ("x",)))
    env.send("D", Goodbye())
    env.tick(WORKER_SECONDS)
    assert env.take("D", Reply) == []


def test_a_question_about_several_keys_is_refused(env: Env) -> None:
    for keys in ((), ("x", "y")):
        env.send("C", Ask(1, "why", keys))
        (answer,) = env.take("C", Reply)
        assert not answer.ok and answer.value == "why is asked about one key"


# Stories


def lines(env: Env, key: str) -> list[str]:
    ask(env, "story", key)
    return [text for _, text in reply(env)]


def test_a_story(env: Env) -> None:
    env.worker("W")
    env.submit("C", "x", ("y", "x"))
    x = env.runs("W")["x"]
    env.now += 1.0
    env.send("W", Seceded([x]))
    env.finish("W", x)
    y = env.runs("W")["y"]
    env.send("W", Unfetchable([(y, [("x", "tcp://W:1")])]))
    again = env.runs("W")["x"]
    env.fail("W", again)
    assert lines(env, "x") == [
        "submitted by client C",
        f"given to worker W (assignment {x})",
        f"waits for other tasks, and has given its thread on worker W back (assignment {x})",
        f"finished on worker W (assignment {x})",
        "its data is lost and is computed again: client C is told",
        f"given to worker W (assignment {again})",
        f"raised an exception on worker W (assignment {again})",
        "failed: client C is told",
    ]
    assert "worker W could not get its inputs: x from tcp://W:1" in lines(env, "y")
    ask(env, "story", "x")
    assert [round(ago) for ago, _ in reply(env)][:3] == [1, 1, 0]


def test_the_story_of_a_lost_worker_and_a_cancelled_task(env: Env) -> None:
    env.worker("W")
    env.submit("C", "x", "y")
    env.finish("W", env.runs("W")["x"])
    env.gone("W")
    env.worker("V", holds=(("x", 28),))
    env.send("V", Holds([("x", 28, LATEST)]))
    env.send("C", Cancel(("y",), False))
    assert "worker W, which held it, is lost: its connection closed" in lines(env, "x")
    assert "worker V holds it, 28 bytes" in lines(env, "x")
    found = lines(env, "y")
    assert "worker W, to which it was given, is lost: its connection closed" in found
    assert "cancelled by client C" in found


def test_what_is_long_ago_is_forgotten(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "CHUNK_WORDS", 50)
    monkeypatch.setattr(story, "MAX_WORDS", 400)
    env.worker()
    for number in range(300):
        env.submit("C", f"x{number}")
        env.finish("W", *env.runs("W").values())
        env.release("C", f"x{number}")
    assert lines(env, "x0") == []
    assert lines(env, "x299")[0] == "submitted by client C"
    assert sum(len(column) for *_, column, _ in env.core.story.records()) < 400


# The whole state


def dump(env: Env) -> dict[str, Any]:
    found: dict[str, Any] = {}
    ask(env, "dump")
    while (page := reply(env)) is not None:
        json.dumps(page)
        for section, part in page.items():
            assert len(part) <= PAGE
            found[section] = [*found.get(section, []), *part] if type(part) is not dict else part
        ask(env, "more")
    return found


def test_the_whole_state(env: Env) -> None:
    env.worker(resources={"GPU": 1})
    env.submit("C", "x", "y", ("z", "x"), options={"resources": {"GPU": 1}})
    env.submit("C", "a", options={"workers": ("bob",)})
    env.send("C", Scatter(2, (("s", 8),), None))
    env.take("C", Reply)
    runs = env.runs("W")
    found = dump(env)
    assert {task["key"]: task["state"] for task in found["tasks"]} == {
        "x": "processing", "y": "ready", "z": "waiting", "a": "no-worker", "s": "processing",
    }  # fmt: skip
    (worker,) = found["workers"]
    assert worker["assigned"] == {str(runs["x"]): "x"}
    assert list(worker["incoming"].values()) == ["s"]
    assert worker["resources_used"] == {"GPU": 1}
    assert found["scheduler"]["no_worker"] == ("a",)
    assert [client["id"] for client in found["clients"]] == ["C"]
    assert found["functions"][0]["tasks"] == 4
    assert {"Submit", "Run", "Scatter"} <= {record["what"] for record in found["story"]}


def test_a_dump_in_parts_while_tasks_come_and_go(env: Env) -> None:
    env.submit("C", *(f"x{n}" for n in range(PAGE + 1)), wanted=True)
    ask(env, "dump")
    first = [reply(env)]
    env.release("C", *(f"x{n}" for n in range(PAGE + 1)))
    env.assert_empty()
    while True:
        ask(env, "more")
        page = reply(env)
        if page is None:
            break
        first.append(page)
    assert first[0]["scheduler"]["epoch"] == "epoch"
    assert not any("tasks" in page for page in first), "they had gone when their part was made"


def test_more_of_nothing(env: Env) -> None:
    ask(env, "more")
    assert reply(env) is None
