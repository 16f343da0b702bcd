"""Where a task stands in the order of work.

A priority is a tuple, and the smaller one goes first. That of an ordinary task is

    (-the user's priority, call, order)

A client numbers its calls: a `map`, a graph, the submits of a loop. `order` counts the tasks within a call,
so everything runs as it was submitted.

A *follow-up* uses results of earlier calls. It does not stand behind everything else: it inherits the
place, `(call, order)`, of the last of these inputs, and its own numbers only say who comes first among
the follow-ups of one task:

    (-the user's priority, inherited call, inherited order, call, order)

So a task that uses `fs[0]` runs before `fs[1]`, maps of maps run depth first, and a corner of a persisted
array comes at once. Follow-ups inherit what their inputs have inherited. Within a call nothing is
inherited: there `ordering.py` has decided.

Numbers of two clients have nothing to do with each other, so nothing is inherited from the work of another
client, and `backlog.py` compares only tasks of one client by them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed.core.states import Task

Priority = tuple[float, ...]


def follow_up(priority: Priority, owner: object, inputs: Iterable[Task]) -> Priority:
    """The priority of a task with these inputs that would have this one without them."""
    urgency, call, order = priority
    place: Priority = ()
    for task in inputs:
        other = task.priority
        if task.owner is owner and task.function is not None:
            if other[1] >= call:
                return priority
            if other[1:3] > place:
                place = other[1:3]
    return (urgency, *place, call, order) if place else priority
