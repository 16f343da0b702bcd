"""Ready tasks in the order of their priorities."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from distributed.core.backlog import Backlog, is_live
from distributed.core.states import DEFAULT_OPTIONS, READY, RELEASED, Task


def ready(number: int, order: int) -> Task:
    task = Task(f"t{number}", None, b"", (0, 0, order), DEFAULT_OPTIONS)
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
