"""Ready tasks in the order of their priorities."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from distributed.core.backlog import Backlog, is_live
from distributed.core.states import DEFAULT_OPTIONS, NO_OWNER, READY, RELEASED, Client, Task


def ready(number: int, order: int, owner: Client = NO_OWNER) -> Task:
    task = Task(f"t{number}", None, b"", (0, 0, order), DEFAULT_OPTIONS, owner)
    task.state = READY
    return task


def take(backlog: Backlog) -> Task | None:
    entry = backlog.head()
    if entry is None:
        return None
    assert is_live(entry)
    backlog.pop()
    return entry[1]


def test_an_empty_one_has_no_head() -> None:
    backlog = Backlog()
    assert backlog.head() is None
    assert not backlog
    assert list(backlog) == []


# What to do: push a task of this priority, take one (None), or have one that waits called off (a string).
STEPS = st.lists(st.integers(0, 9) | st.none() | st.just("call off"))


@given(STEPS, st.randoms(use_true_random=False))
def test_the_most_urgent_that_is_live_comes_first(
    steps: list[int | str | None], random: object
) -> None:
    backlog = Backlog()
    waiting: list[Task] = []
    for number, step in enumerate(steps):
        if isinstance(step, int):
            waiting.append(ready(number, step))
            backlog.push(waiting[-1])
        elif step is not None and waiting:
            waiting.pop(random.randrange(len(waiting))).state = RELEASED
        elif step is None:
            first = min(waiting, key=lambda task: (task.priority, task.key), default=None)
            assert take(backlog) is first
            waiting = [task for task in waiting if task is not first]
        assert {task for _, task in filter(is_live, backlog)} == set(waiting)
        assert len(backlog) >= len(waiting)


def test_one_with_another_recipe_stands_where_that_puts_it() -> None:
    backlog = Backlog()
    first, second = ready(1, 1), ready(2, 2)
    backlog.push(first)
    backlog.push(second)
    first.priority = (0, 0, 3)
    backlog.push(first)
    assert [take(backlog), take(backlog), take(backlog)] == [second, first, None]


def client(id: str) -> Client:
    return Client(id, id.encode(), 0.0)


OWNERS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)) | st.none())


@given(OWNERS)
def test_of_several_clients_the_one_served_least_is_next(
    steps: list[tuple[int, int] | None],
) -> None:
    clients = [client(name) for name in "CDE"]
    backlog = Backlog()
    waiting: list[Task] = []
    for number, step in enumerate(steps):
        if step is not None:
            waiting.append(ready(number, step[1], clients[step[0]]))
            backlog.push(waiting[-1])
            continue
        owners = {task.owner for task in waiting}
        least = min((owner.served for owner in owners), default=0.0)
        task = take(backlog)
        assert (task is None) == (not waiting)
        if task is not None:
            assert task.owner.served == least
            assert task == min(
                (t for t in waiting if t.owner is task.owner), key=lambda t: (t.priority, t.key)
            )
            waiting.remove(task)
            task.state = RELEASED
            task.owner.served += 1.0
        assert len(backlog) >= len(waiting)
    assert {task for _, task in filter(is_live, backlog)} == set(waiting)
