"""WorkerCore: events in, effects out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.codec import decode, encode
from distributed.core.answers import MAX_ANSWER_BYTES, MAX_ANSWERS
from distributed.core.worker import (
    MAX_REQUESTS,
    REQUEST_BYTES,
    REQUEST_KEYS,
    UNDER_WAY_BYTES,
    WorkerCore,
)
from distributed.core.worker_events import (
    Answered,
    Asked,
    Completed,
    Delete,
    Execute,
    Fetch,
    Fetched,
    FetchEnded,
    Keep,
    Learn,
    Raised,
    Received,
    Seceding,
    Serve,
    Starting,
    Tell,
    Unsendable,
)
from distributed.messages import (
    AUDIT_KEYS,
    Abandoned,
    Acquire,
    Answer,
    Audit,
    Audited,
    Call,
    Discharge,
    Done,
    Drop,
    Entrust,
    Errors,
    Free,
    Holds,
    PutFile,
    Retract,
    Returned,
    Run,
    Seceded,
    Started,
    Stuck,
    Unfetchable,
    Unknown,
    Unload,
)

# The version of data that nobody has let go of.
LATEST = 1 << 40
ME, BOB, EVE = "tcp://me:1", "tcp://bob:1", "tcp://eve:1"


class Env:
    """A core, the threads it believes in, and checks after each event."""

    def __init__(self) -> None:
        self.waiting: list[int] = []  # given to the threads, not started
        self.core = WorkerCore(ME, self.claim)
        self.executed: list[int] = []
        self.stored: set[str] = set()
        self.fetching: dict[int, Fetch] = {}  # requests that are open, by number
        assert self.handle(Run("f", b"code", False, [])) == [Learn("f", b"code")]

    def claim(self, assignment: int) -> bool:
        if assignment in self.waiting:
            self.waiting.remove(assignment)
            return True
        return False

    def start(self, assignment: int) -> None:
        """A thread takes it."""
        assert self.claim(assignment)

    def handle(self, *events: Any) -> list[Any]:
        effects = self.core.handle(events)
        for effect in effects:
            if isinstance(effect, Tell):
                decode(encode(effect.batch))
            elif isinstance(effect, Execute):
                self.waiting += [job.assignment for job in effect.jobs]
                self.executed += [job.assignment for job in effect.jobs]
                for job in effect.jobs:
                    assert self.stored.issuperset(job.inputs), "it starts without its inputs"
            elif isinstance(effect, Keep):
                self.stored |= {key for _, key in effect.items}
            elif isinstance(effect, Delete):
                assert self.stored.issuperset(effect.keys)
                self.stored -= set(effect.keys)
            elif isinstance(effect, Fetch):
                assert effect.request not in self.fetching
                self.fetching[effect.request] = effect
                assert len(self.open(effect.address)) <= MAX_REQUESTS
        self.check()
        return effects

    def told(self, *events: Any) -> list[Any]:
        """What the events made the core say to the scheduler."""
        effects = self.handle(*events)
        return [message for e in effects if isinstance(e, Tell) for message in e.batch]

    def run(self, assignment: int, key: str = "", *inputs: Any) -> list[Any]:
        items = [(assignment, key or f"k{assignment}", b"args", inputs or None, True)]
        return self.handle(Run("f", None, False, items))

    def open(self, address: str) -> list[int]:
        """The requests that are open to the peer, the oldest first."""
        return [number for number, fetch in self.fetching.items() if fetch.address == address]

    def fetched(self, address: str, *keys: str) -> list[Any]:
        """These come from the peer, and then the oldest request to it is over."""
        number = self.open(address)[0]
        return self.handle(
            Fetched(number, [(key, 8, LATEST) for key in keys]), *self.ended(address)
        )

    def ended(self, address: str) -> list[Any]:
        """The oldest request to the peer is over, with nothing more."""
        number = self.open(address)[0]
        del self.fetching[number]
        return [FetchEnded(number)]

    def asked_first(self) -> tuple[str, str]:
        """Of BOB and EVE the one that is asked for something, and the other."""
        (fetch,) = self.fetching.values()
        return (BOB, EVE) if fetch.address == BOB else (EVE, BOB)

    def check(self) -> None:
        core = self.core
        assert set(core.held) == self.stored
        users: dict[str, int] = {}
        for job in core.jobs.values():
            waits = [i for i in core.inputs.values() if job in i.jobs]
            assert job.missing == len(waits), "missing counts the inputs that are on their way"
            for key in job.inputs:
                users[key] = users.get(key, 0) + 1
        assert core._users == users
        assert core._freed <= set(core.held) & set(users)
        for key, wanted in core.inputs.items():
            assert wanted.key == key
            assert wanted.peer is not None
            places = [wanted.peer.queue, *(r.inputs for r in wanted.peer.requests)]
            assert sum(place.get(key) is wanted for place in places) == 1
            assert core.peers[wanted.peer.address] is wanted.peer
            assert all(core.jobs.get(job.assignment) is job for job in wanted.jobs)
        for address, peer in core.peers.items():
            assert peer.address == address
            assert peer.requests, "otherwise it is forgotten"
            places = [peer.queue, *(request.inputs for request in peer.requests)]
            assert peer.nbytes == sum(w.nbytes for place in places for w in place.values())
            assert [request.number for request in peer.requests] == self.open(address)
            for request in peer.requests:
                assert core.requests[request.number] is request
                assert request.inputs.keys() <= set(self.fetching[request.number].keys)
        assert core.requests.keys() == self.fetching.keys()


@pytest.fixture
def env() -> Iterator[Env]:
    yield Env()


def done(assignment: int) -> Completed:
    return Completed([(assignment, 28, 5, b"v", None)])


def test_a_task_without_inputs_goes_to_the_threads_at_once(env: Env) -> None:
    (learn, execute) = env.handle(Run("f", b"blob", False, [(1, "x", b"args", None, True)]))
    assert learn == Learn("f", b"blob")
    (job,) = execute.jobs
    assert (job.assignment, job.key, job.function, job.arguments) == (1, "x", "f", b"args")


def test_a_result_is_kept_and_reported(env: Env) -> None:
    env.run(1, "x")
    env.start(1)
    keep, tell = env.handle(done(1))
    assert keep == Keep([(1, "x")])
    assert tell == Tell([Done([(1, 28, 5, b"v", None)])])
    assert env.core.holds() == [("x", 28, 1)]
    assert env.core.assigned() == []


def test_reports_of_one_batch_go_in_one_message(env: Env) -> None:
    env.handle(Run("f", None, False, [(n, f"k{n}", b"", None, False) for n in (1, 2, 3)]))
    for n in (1, 2, 3):
        env.start(n)
    (message,) = env.told(done(1), Completed([(2, 1, 1, None, None), (3, 1, 1, None, None)]))
    assert [item[0] for item in message.items] == [1, 2, 3]


def test_an_exception_is_reported(env: Env) -> None:
    env.run(1)
    env.start(1)
    assert env.told(Raised(1, b"exception")) == [Errors([(1, b"exception")])]


def test_inputs_are_fetched_first_several_in_one_request(env: Env) -> None:
    effects = env.run(1, "z", ("x", 8, (BOB,), 0), ("y", 8, (BOB,), 0))
    assert effects == [Fetch(1, BOB, ["x", "y"])]
    effects = env.fetched(BOB, "x", "y")
    assert effects[-1] == Tell([Holds([("x", 8, LATEST), ("y", 8, LATEST)])])
    assert env.executed == [1]


def test_two_requests_are_open_and_what_is_wanted_meanwhile_goes_with_the_next(env: Env) -> None:
    assert env.run(1, "a", ("w", 8, (BOB,), 0)) == [Fetch(1, BOB, ["w"])]
    assert env.run(2, "b", ("x", 8, (BOB,), 0)) == [Fetch(2, BOB, ["x"])]
    assert env.run(3, "c", ("y", 8, (BOB,), 0)) == []
    assert env.run(4, "d", ("z", 8, (BOB,), 0)) == []
    assert Fetch(3, BOB, ["y", "z"]) in env.fetched(BOB, "w")


def test_many_inputs_are_asked_for_in_parts_with_the_next_under_way(env: Env) -> None:
    keys = [f"x{n}" for n in range(2 * REQUEST_KEYS + 3)]
    parts = [keys[:REQUEST_KEYS], keys[REQUEST_KEYS:-3], keys[-3:]]
    effects = env.run(1, "a", *((key, 8, (BOB,), 0) for key in keys))
    assert effects == [Fetch(1, BOB, parts[0]), Fetch(2, BOB, parts[1])]
    assert Fetch(3, BOB, parts[2]) in env.fetched(BOB, *parts[0])
    env.fetched(BOB, *parts[1])
    assert env.executed == []
    env.fetched(BOB, *parts[2])
    assert env.executed == [1]


def test_what_is_under_way_from_a_peer_is_limited_whatever_the_number_of_requests(env: Env) -> None:
    sizes = {"u": REQUEST_BYTES - 8, "v": 8, "w": REQUEST_BYTES, "x": 8}
    effects = env.run(1, "a", *((key, size, (BOB,), 0) for key, size in sizes.items()))
    assert effects == [Fetch(1, BOB, ["u", "v"]), Fetch(2, BOB, ["w"])]
    # A request counts until it has ended: its values are here, and being taken in.
    assert all(type(e) is not Fetch for e in env.handle(Fetched(1, [("u", 8, 1), ("v", 8, 1)])))
    assert Fetch(3, BOB, ["x"]) in env.handle(*env.ended(BOB))


def test_what_is_over_the_limit_is_asked_for_alone(env: Env) -> None:
    inputs = [(key, UNDER_WAY_BYTES, (BOB,), 0) for key in "xy"]
    assert env.run(1, "a", *inputs) == [Fetch(1, BOB, ["x"])]
    assert Fetch(2, BOB, ["y"]) in env.fetched(BOB, "x")


def test_what_is_left_of_the_limit_is_for_the_second_request(env: Env) -> None:
    sizes = {"w": UNDER_WAY_BYTES - 8, "x": 8, "y": 8}
    effects = env.run(1, "a", *((key, size, (BOB,), 0) for key, size in sizes.items()))
    assert effects == [Fetch(1, BOB, ["w"]), Fetch(2, BOB, ["x"])]


def test_what_has_not_come_is_missing_only_once_its_own_request_has_ended(env: Env) -> None:
    env.run(1, "a", ("x", 8, (BOB,), 0))
    env.run(2, "b", ("y", 8, (BOB,), 0))
    first = env.open(BOB)[0]
    assert env.told(*env.ended(BOB)) == [Unfetchable([(1, [("x", BOB)])])]
    assert env.handle(FetchEnded(first), Fetched(first, [("y", 8, 1)])) == []
    env.fetched(BOB, "y")
    assert env.executed == [2]


def test_requests_of_one_peer_may_end_in_any_order(env: Env) -> None:
    env.run(1, "a", ("x", 8, (BOB,), 0))
    env.run(2, "b", ("y", 8, (BOB,), 0))
    second = env.open(BOB)[1]
    del env.fetching[second]
    env.handle(Fetched(second, [("y", 8, 1)]), FetchEnded(second))
    assert env.executed == [2]
    env.fetched(BOB, "x")
    assert env.executed == [2, 1]


def test_an_input_is_fetched_once_for_all_who_need_it(env: Env) -> None:
    env.run(1, "a", ("x", 8, (BOB,), 0))
    assert env.run(2, "b", ("x", 8, (EVE,), 0)) == []
    env.fetched(BOB, "x")
    assert env.executed == [1, 2]
    env.run(3, "c", ("x", 8, (BOB,), 0))
    assert env.executed == [1, 2, 3]


def test_the_peer_with_less_to_do_is_asked(env: Env) -> None:
    env.run(1, "a", ("x", 1000, (BOB,), 0))
    assert env.run(2, "b", ("y", 8, (BOB, EVE), 0)) == [Fetch(2, EVE, ["y"])]


def test_when_a_peer_fails_another_is_asked(env: Env) -> None:
    env.run(1, "a", ("x", 8, (BOB, EVE), 0))
    first, second = env.asked_first()
    assert env.fetched(first) == [Fetch(2, second, ["x"])]
    env.fetched(second, "x")
    assert env.executed == [1]


def test_a_task_whose_input_cannot_be_had_is_given_back(env: Env) -> None:
    env.run(1, "a", ("x", 8, (BOB,), 0), ("y", 8, (EVE,), 0))
    env.run(2, "b", ("x", 8, (BOB,), 0))
    (message,) = [m for e in env.fetched(BOB) if isinstance(e, Tell) for m in e.batch]
    assert message == Unfetchable([(1, [("x", BOB)]), (2, [("x", BOB)])])
    assert env.core.jobs == {}


def test_an_input_that_cannot_be_sent_is_told_and_not_called_missing(env: Env) -> None:
    env.run(1, "a", ("x", 8, (BOB,), 0), ("y", 8, (EVE,), 0))
    assert env.handle(Unsendable(1, "x", "why")) == []
    told = env.told(*env.ended(BOB))
    assert told == [Stuck([("x", "why")]), Unfetchable([(1, [])])]
    assert env.core.jobs == {}


def test_who_cannot_send_it_is_not_the_last_to_be_asked(env: Env) -> None:
    env.run(1, "a", ("x", 8, (BOB, EVE), 0))
    first, second = env.asked_first()
    assert env.handle(Unsendable(1, "x", "")) == []
    assert env.handle(*env.ended(first)) == [Fetch(2, second, ["x"])]
    told = env.told(*env.ended(second))
    assert told == [Stuck([("x", "")]), Unfetchable([(1, [("x", second)])])]


def test_a_copy_that_cannot_be_made_is_told(env: Env) -> None:
    env.handle(Acquire([("x", 8, (BOB,), 0)]))
    assert env.told(Unsendable(1, "x", "why"), *env.ended(BOB)) == [Stuck([("x", "why")])]


def test_word_of_what_was_not_asked_for_is_ignored(env: Env) -> None:
    assert env.handle(Unsendable(1, "x", "why")) == []
    env.run(1, "a", ("x", 8, (BOB,), 0))
    assert env.handle(Unsendable(1, "y", "why"), Unsendable(2, "x", "why")) == []
    assert env.told(*env.ended(BOB)) == [Unfetchable([(1, [("x", BOB)])])]


def test_an_input_that_should_be_here_and_is_not_is_told(env: Env) -> None:
    assert env.run(1, "a", ("x", 8, (), 0)) == [Tell([Unfetchable([(1, [("x", ME)])])])]


def test_fetched_data_that_nobody_waits_for_any_more_is_not_kept(env: Env) -> None:
    env.run(1, "a", ("x", 8, (BOB,), 0))
    assert env.told(Drop([1])) == [Abandoned([1])]
    assert env.fetched(BOB, "x") == []
    assert env.stored == set()


def test_data_that_nobody_waits_for_is_not_asked_for(env: Env) -> None:
    for number, key in enumerate("xyz", 1):
        env.run(number, f"k{number}", (key, 8, (BOB,), 0))
    env.handle(Drop([3]))
    env.fetched(BOB, "x")
    env.fetched(BOB, "y")
    assert env.fetching == {}


def test_what_has_not_started_is_dropped_at_once(env: Env) -> None:
    env.run(1)
    assert env.told(Drop([1])) == [Abandoned([1])]
    assert env.waiting == []


def test_the_result_of_a_dropped_task_counts_for_nothing(env: Env) -> None:
    for number, end in ((1, done(1)), (2, Raised(2, b"e"))):
        env.run(number)
        env.start(number)
        assert env.told(Drop([number])) == []
        assert env.told(end) == [Abandoned([number])]
    assert env.stored == set()


def test_only_what_has_not_started_is_handed_back(env: Env) -> None:
    for number in (1, 2):
        env.run(number)
    env.run(3, "c", ("x", 8, (BOB,), 0))
    env.start(1)
    assert env.told(Retract([1, 2, 3, 99])) == [Returned([2, 3])]
    assert env.told(Retract([1])) == [Returned([])]


def test_freed_data_is_deleted(env: Env) -> None:
    env.run(1, "x")
    env.start(1)
    env.handle(done(1))
    assert env.handle(Free(["x", "unknown"], 9)) == [Delete(["x"])]


def test_data_in_use_is_deleted_after_its_use(env: Env) -> None:
    env.run(1, "x")
    env.start(1)
    env.handle(done(1))
    env.run(2, "y", ("x", 28, (), 1))
    env.start(2)
    assert env.handle(Free(["x"], 9)) == []
    assert env.core.holds() == []
    effects = env.handle(done(2))
    assert Delete(["x"]) in effects


def test_copies_are_made_when_asked_for(env: Env) -> None:
    assert env.handle(Acquire([("x", 8, (BOB,), 0)])) == [Fetch(1, BOB, ["x"])]
    assert env.fetched(BOB, "x")[-1] == Tell([Holds([("x", 8, LATEST)])])
    assert env.told(Acquire([("x", 8, (BOB,), 0)])) == [Holds([("x", 8, LATEST)])]


def test_what_crosses_word_to_delete_it_is_taken_back(env: Env) -> None:
    """It was here before it was asked for, so that the scheduler may have deleted it before it heard that
    it is here (seed 879235872669)."""
    env.run(1, "x")
    env.handle(done(1))
    assert env.told(Acquire([("x", 8, (BOB,), 0)])) == [Holds([("x", 28, 1)])]
    assert env.told(Free(["x"], 9)) == [Unfetchable([(0, [("x", ME)])])]
    assert env.core.held == {}
    assert env.told(Free(["x"], 9)) == []


def test_data_that_comes_twice_at_once_is_kept_by_the_numbers_it_came_under(env: Env) -> None:
    keep, _ = env.handle(Received("x", 7, 8, b"type"), Received("x", 9, 8, b"type"))
    assert [source for source, _ in keep.items] == [7, 9]


def test_data_from_a_client_is_kept_and_reported(env: Env) -> None:
    keep, tell = env.handle(Received("x", 7, 8, b"type"))
    assert keep == Keep([(7, "x")])
    assert tell == Tell([Done([(7, 8, 0, None, b"type")]), Holds([("x", 8, 7)])])


@pytest.mark.parametrize(("give_up", "answer"), [(Drop, Abandoned), (Retract, Returned)])
def test_what_is_given_up_in_the_same_breath_does_not_start(give_up: Any, answer: Any) -> None:
    core = WorkerCore(ME, lambda assignment: False)
    learn, execute, tell = core.handle(
        [Run("f", b"blob", False, [(n, f"k{n}", b"", None, False) for n in (1, 2)]), give_up([1])]
    )
    assert learn == Learn("f", b"blob")
    assert [job.assignment for job in execute.jobs] == [2]
    assert tell == Tell([answer([1])])


def test_seceding_is_told_while_the_task_runs(env: Env) -> None:
    env.run(1)
    env.start(1)
    assert env.told(Seceding(1)) == [Seceded([1])]
    env.handle(done(1))
    assert env.told(Seceding(1)) == []


def test_unload_is_passed_on(env: Env) -> None:
    assert env.handle(Unload(["f"])) == [Unload(["f"])]


def test_a_function_that_a_task_here_still_needs_is_not_forgotten(env: Env) -> None:
    env.run(1)
    assert env.handle(Unload(["f"])) == []
    env.start(1)
    effects = env.handle(Completed([(1, 28, 10, None, None)]))
    assert Unload(["f"]) in effects


def test_a_function_that_comes_again_before_it_was_forgotten_stays(env: Env) -> None:
    env.run(1)
    env.handle(Unload(["f"]))
    env.handle(Run("f", b"code", False, []))
    env.start(1)
    effects = env.handle(Completed([(1, 28, 10, None, None)]))
    assert not any(isinstance(effect, Unload) for effect in effects)


def test_work_of_a_function_that_is_not_here_is_given_up(env: Env) -> None:
    item = (1, "x", b"args", None, True)
    assert env.told(Run("g", None, False, [item])) == [Unknown(["g"]), Abandoned([1])]
    assert env.core.jobs == {}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["run", "run", "start", "end", "raise", "drop", "retract", "free", "acquire", "fetch",
             "fail", "refuse", "put"]
        ),
        st.integers(0, 7),
        st.integers(0, 7),
    ),
    max_size=60,
)  # fmt: skip


@given(STEPS)
def test_random_histories_end_with_nothing_left(steps: list[tuple[str, int, int]]) -> None:
    """Whatever comes in whatever order; `Env` checks the tables after each event."""
    env = Env()
    running: list[int] = []
    last = 0

    def start(choice: int) -> None:
        if env.waiting:
            running.append(env.waiting.pop(choice % len(env.waiting)))

    for action, choice, other in steps:
        key = f"d{choice}"
        addresses = (BOB, EVE)[: 1 + other % 2]
        if action == "run":
            last += 1
            since = other * (last % 2)
            inputs = [(f"d{n}", n, addresses, since) for n in {choice, other} if n > 2]
            env.run(last, f"k{last}", *inputs)
        elif action == "start":
            start(choice)
        elif action in ("end", "raise") and running:
            assignment = running.pop(choice % len(running))
            env.handle(done(assignment) if action == "end" else Raised(assignment, b"e"))
        elif action == "drop":
            env.handle(Drop([choice, other]))
        elif action == "retract":
            env.handle(Retract([choice, other]))
        elif action == "free":
            env.handle(Free([key, f"k{other}"], last - other))
        elif action == "acquire":
            env.handle(Acquire([(key, choice, addresses, other)]))
        elif action in ("fetch", "fail") and env.fetching:
            fetch = env.fetching.pop(sorted(env.fetching)[choice % len(env.fetching)])
            items = [(key, 8, other) for key in fetch.keys] if action == "fetch" else []
            env.handle(Fetched(fetch.request, items), FetchEnded(fetch.request))
        elif action == "refuse" and env.fetching:
            fetch = env.fetching[sorted(env.fetching)[choice % len(env.fetching)]]
            env.handle(Unsendable(fetch.request, fetch.keys[other % len(fetch.keys)], "why"))
        elif action == "put":
            env.handle(Received(key, 1000 + choice, 8, None))
    while env.fetching:
        fetch = next(iter(env.fetching.values()))
        env.fetched(fetch.address, *fetch.keys)
    while env.waiting:
        start(0)
    env.handle(*(done(assignment) for assignment in running))
    assert env.core.jobs == {} and env.core.inputs == {} and env.core.peers == {}
    env.handle(Free(list(env.core.held), LATEST))
    assert env.stored == set()


def asked(env: Env, *keys: str, running: Any = ()) -> Audited:
    """The answer to an audit that asks about these keys."""
    (answer,) = env.told(Asked(Audit(7, keys), list(running)))
    assert isinstance(answer, Audited) and answer.number == 7
    return answer


def test_an_audit_is_told_what_is_here(env: Env) -> None:
    env.run(1, "x")
    env.start(1)
    env.handle(done(1))
    env.run(2)
    env.start(2)
    env.run(3, "z", ("far", 8, (BOB,), 0))
    env.handle(Drop([2]), Seceding(2))
    assert asked(env, "x", "y", running=[(2, 1500), (1, 3)]) == Audited(
        number=7,
        jobs=[(2, "k2", True, True), (3, "z", False, False)],
        running=[(2, 1500)],
        fetching=[("far", BOB)],
        absent=["y"],
        holds=[("x", 28, 1)],
    )


def test_what_is_freed_and_still_in_use_counts_as_absent(env: Env) -> None:
    env.run(1, "x")
    env.start(1)
    env.handle(done(1))
    env.run(2, "y", ("x", 28, (), 1))
    env.handle(Free(["x"], 9))
    answer = asked(env, "x")
    assert (answer.absent, answer.holds) == (["x"], [])


def test_an_answer_comes_after_what_was_reported_before(env: Env) -> None:
    env.run(1)
    env.start(1)
    first, second = env.told(done(1), Asked(Audit(7, ()), []))
    assert isinstance(first, Done)
    assert isinstance(second, Audited) and second.jobs == []


def test_what_is_held_is_told_in_parts(env: Env) -> None:
    for number in range(AUDIT_KEYS + 3):
        env.run(number)
        env.start(number)
        env.handle(done(number))
    parts = [asked(env).holds for _ in range(3)]
    assert [len(part) for part in parts] == [AUDIT_KEYS, 3, AUDIT_KEYS]
    assert len({*parts[0], *parts[1]}) == AUDIT_KEYS + 3


# Time limits


def timed(env: Env, *assignments: int) -> None:
    items = [(n, f"k{n}", b"args", None, True) for n in assignments]
    env.handle(Run("f", None, True, items))
    for n in assignments:
        env.start(n)


def test_a_task_with_a_time_limit_says_when_it_starts(env: Env) -> None:
    timed(env, 1, 2)
    assert all(job.timed for job in env.core.jobs.values())
    assert env.told(Starting(1), Starting(2)) == [Started([1, 2])]
    assert env.told(done(1)) == [Done([(1, 28, 5, b"v", None)])]


def test_that_it_has_started_is_said_again_on_a_new_connection(env: Env) -> None:
    timed(env, 1, 2, 3)
    env.run(4)
    env.start(4)
    env.handle(Starting(1), Starting(2))
    env.handle(done(2))
    assert env.core.reminders() == [Started([1])]


def test_the_recipes_that_it_keeps_are_said_on_a_new_connection(env: Env) -> None:
    kept = Entrust("epoch", {"f": b"blob"}, (), ("x", "y"))
    assert env.handle(kept) == []
    env.handle(Discharge(["y"]))
    assert env.core.reminders() == [kept._replace(keys=("x",))]


def test_a_start_of_what_has_been_given_up_is_no_news(env: Env) -> None:
    assert env.told(Starting(1)) == []


# Beside the tasks


def test_a_call_is_run_once_and_answered_each_time(env: Env) -> None:
    call = Call(7, b"call")
    assert env.handle(call) == [Serve(call)]
    assert env.handle(call) == []  # it is at it
    answer = Answer(7, True, b"result")
    assert env.told(Answered(answer)) == [answer]
    assert env.told(call) == [answer]
    assert env.handle(Call(8, b"call")) == [Serve(Call(8, b"call"))]


def test_a_file_is_installed_once(env: Env) -> None:
    put = PutFile(7, "m.py", b"x = 1")
    assert env.handle(put) == [Serve(put)]
    env.handle(Answered(Answer(7, True, b"")))
    assert env.told(put) == [Answer(7, True, b"")]


def test_a_file_that_nobody_asks_about_is_installed_and_not_remembered(env: Env) -> None:
    put = PutFile(0, "m.py", b"x = 1")
    for _ in range(2):
        assert env.handle(put) == [Serve(put)]
        assert env.handle(Answered(Answer(0, True, b""))) == []
    assert not (env.core.answers.kept or env.core.answers.at_work)


def test_what_was_answered_long_ago_is_not_run_again(env: Env) -> None:
    for number in range(1, MAX_ANSWERS + 3):
        env.handle(Call(number, b"call"), Answered(Answer(number, True, b"result")))
    assert len(env.core.answers.kept) == MAX_ANSWERS
    assert env.told(Call(3, b"call")) == [Answer(3, True, b"result")]
    (answer,) = env.told(Call(2, b"call"))
    assert (answer.request, answer.ok) == (2, False)
    assert "lost with the connection" in answer.value


def test_an_answer_that_is_data_is_held_and_told_by_its_key(env: Env) -> None:
    answer = Answer(7, True, ("answer-1", 100))
    env.handle(Call(7, b"call"))
    effects = env.handle(Answered(answer))
    assert effects == [Keep([(("answer-1", 7), "answer-1")]), Tell([answer])]
    assert env.core.holds() == [("answer-1", 100, 7)]
    assert env.told(Call(7, b"call")) == [answer]
    env.handle(Free(["answer-1"], 7))
    (again,) = env.told(Call(7, b"call"))
    assert not again.ok and "lost with the connection" in again.value


def test_a_large_answer_is_not_kept(env: Env) -> None:
    large = Answer(1, True, bytes(MAX_ANSWER_BYTES + 1))
    env.handle(Call(1, b"call"))
    assert env.told(Answered(large)) == [large]
    (answer,) = env.told(Call(1, b"call"))
    assert not answer.ok


def test_what_cannot_be_copied_from_anywhere_is_reported(env: Env) -> None:
    env.handle(Acquire([("x", 8, (BOB, EVE), 0)]))
    env.handle(*env.ended(BOB))
    (event,) = env.ended(EVE)
    assert env.told(event) == [Unfetchable([(0, [("x", BOB), ("x", EVE)])])]


def test_word_to_delete_a_version_does_not_touch_a_newer_one(env: Env) -> None:
    """Data came by a connection of its own, before the word to delete what was there until then."""
    env.handle(Received("x", 3, 8, None))
    env.handle(Received("x", 7, 8, None))
    assert env.handle(Free(["x"], 3)) == []
    assert env.core.holds() == [("x", 8, 7)]
    assert env.handle(Free(["x"], 7)) == [Delete(["x"])]


def test_an_older_version_does_not_take_the_place_of_a_newer_one(env: Env) -> None:
    env.handle(Received("x", 7, 8, None))
    assert not any(isinstance(effect, Keep) for effect in env.handle(Received("x", 3, 9, None)))
    assert env.core.holds() == [("x", 8, 7)]


def test_a_task_takes_no_data_from_before_its_time(env: Env) -> None:
    """Everybody had let go of what lies here, and the word to delete it is on its way."""
    env.handle(Received("x", 3, 8, None))
    assert env.run(9, "y", ("x", 8, (BOB,), 4)) == [Fetch(1, BOB, ["x"])]
    assert env.executed == []
    env.handle(Fetched(1, [("x", 8, 5)]), *env.ended(BOB))
    assert env.executed == [9]
    assert env.handle(Free(["x"], 4)) == []


def test_what_a_peer_sends_from_before_the_time_of_a_task_does_not_count(env: Env) -> None:
    env.run(9, "y", ("x", 8, (BOB,), 4))
    told = env.told(Fetched(1, [("x", 8, 3)]), *env.ended(BOB))
    assert told == [Unfetchable([(9, [("x", BOB)])])]


def test_data_under_way_that_has_become_too_old_is_asked_for_again(env: Env) -> None:
    env.run(1, "y", ("x", 8, (BOB,), 0))
    assert env.run(9, "z", ("x", 8, (EVE,), 4)) == [Fetch(2, EVE, ["x"])]
    env.handle(Fetched(1, [("x", 8, 3)]), *env.ended(BOB))
    assert env.executed == []
    env.handle(Fetched(2, [("x", 8, 5)]), *env.ended(EVE))
    assert sorted(env.executed) == [1, 9]


def test_a_copy_from_before_its_time_is_not_what_is_asked_for(env: Env) -> None:
    env.handle(Received("x", 3, 8, None))
    assert env.handle(Acquire([("x", 8, (BOB,), 4)])) == [Fetch(1, BOB, ["x"])]
