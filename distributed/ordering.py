"""In which order to do many tasks, so that few results lie around at a time.

Depth first: what a task needs is done right before it, and of several inputs first the one for which the
most has to be held at a time. As soon as a task can run that is the last to use some result, it does, and
the result can go. On the graphs of arrays, bags and dataframes this holds no more results than `dask.order`
does, mostly fewer, and the time that it takes is proportional to the size of the graph, whatever its shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Inputs = Mapping[Any, Sequence[Any]]


class Cycle(Exception):
    """Each of the names needs the next one, and the last is the first again."""

    def __init__(self, names: list[Any]) -> None:
        super().__init__(names)
        self.names = names


def order(inputs: Inputs, wanted: Iterable[Any]) -> list[Any]:
    """All names, what is needed before what needs it. `inputs` are what each needs, names of others.

    Raises Cycle.

    >>> order({"sum": ["x", "y"], "y": ["x"], "x": []}, ["sum"])
    ['x', 'y', 'sum']
    """
    inputs = {name: _neighbours_first(needed) for name, needed in inputs.items()}
    users: dict[Any, list[Any]] = {name: [] for name in inputs}
    for name, needed in inputs.items():
        for other in needed:
            users[other].append(name)
    sequence = _topological(inputs, users)
    if len(sequence) < len(inputs):
        raise Cycle(_find_cycle(inputs, inputs.keys() - set(sequence)))
    return _Walk(inputs, users, _most_held(inputs, sequence), wanted).done_in_order


def _neighbours_first(names: Sequence[Any]) -> Sequence[Any]:
    """Sorted, if possible: keys that differ little, as ("x", 1) and ("x", 2), often need the same."""
    if len(names) < 2:
        return names
    try:
        return sorted(names)
    except TypeError:
        return sorted(names, key=str)


def _topological(inputs: Inputs, users: Inputs) -> list[Any]:
    """The names in any order that is possible, without those that are in a cycle or need one that is."""
    missing = {name: len(needed) for name, needed in inputs.items()}
    found = [name for name, count in missing.items() if not count]
    for name in found:  # which grows
        for user in users[name]:
            missing[user] -= 1
            if not missing[user]:
                found.append(user)
    return found


def _find_cycle(inputs: Inputs, names: set[Any]) -> list[Any]:
    """A cycle among names of which each needs another one of them."""
    name = min(names, key=str)
    path: dict[Any, None] = {}
    while name not in path:
        path[name] = None
        name = next(other for other in inputs[name] if other in names)
    found = list(path)
    return [*found[found.index(name) :], name]


def _most_held(inputs: Inputs, sequence: list[Any]) -> dict[Any, int]:
    """How many results have to be held at a time to compute each, if nothing were used twice."""
    most: dict[Any, int] = {}
    for name in sequence:
        needed = inputs[name]
        if len(needed) < 2:
            most[name] = most[needed[0]] if needed else 1
        else:
            counts = sorted([most[other] for other in needed], reverse=True)
            most[name] = max([count + before for before, count in enumerate(counts)])
    return most


class _Walk:
    def __init__(
        self, inputs: Inputs, users: Inputs, most_held: dict[Any, int], wanted: Iterable[Any]
    ) -> None:
        self.done_in_order: list[Any] = []
        self._inputs = inputs
        self._users = users
        self._most_held = most_held
        self._done: set[Any] = set()
        self._missing = {name: len(needed) for name, needed in inputs.items()}
        # How many still use each; what was asked for is kept, which counts as one more.
        self._uses = {name: len(found) for name, found in users.items()}
        names = [name for name in wanted if name in inputs]
        for name in names:
            self._uses[name] += 1
        for name in names:
            self._reach(name)

    def _reach(self, name: Any) -> None:
        stack = [name]
        while stack:
            name = stack[-1]
            if name in self._done:
                stack.pop()
            elif not self._missing[name]:
                stack.pop()
                self._do(name)
            else:
                needed = [other for other in self._inputs[name] if other not in self._done]
                if len(needed) > 1:
                    needed.reverse()  # the first comes to lie on top
                    needed.sort(key=self._most_held.__getitem__)
                stack += needed

    def _do(self, name: Any) -> None:
        """This one, and then whatever can run and is the last to use something."""
        done, missing, uses = self._done, self._missing, self._uses
        ready = [name]
        while ready:
            name = ready.pop()
            if name in done:
                continue
            done.add(name)
            self.done_in_order.append(name)
            for user in self._users[name]:
                missing[user] -= 1
                if not missing[user] and any([uses[other] == 1 for other in self._inputs[user]]):
                    ready.append(user)
            for other in self._inputs[name]:
                uses[other] -= 1
                if uses[other] == 1:
                    last = next((user for user in self._users[other] if user not in done), None)
                    if last is not None and not missing[last]:
                        ready.append(last)
