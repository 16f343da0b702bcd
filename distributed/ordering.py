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
# What each needs, or what uses each, by number. In here tasks are numbers, not names: the names of dask are
# tuples, whose hashes Python works out again whenever a dict is asked for one.
Links = list[list[int]]


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
    names = list(inputs)
    number = {name: place for place, name in enumerate(names)}
    ordered = [
        _neighbours_first(needed) if len(needed) > 1 else needed for needed in inputs.values()
    ]
    needs = [[number[other] for other in needed] for needed in ordered]
    users: Links = [[] for _ in names]
    for place, needed in enumerate(needs):
        for other in needed:
            users[other].append(place)
    sequence = _topological(needs, users)
    if len(sequence) < len(names):
        left = set(range(len(names))).difference(sequence)
        start = min(left, key=lambda place: str(names[place]))
        raise Cycle([names[place] for place in _find_cycle(needs, left, start)])
    targets = [number[name] for name in wanted if name in number]
    walk = _Walk(needs, users, _most_held(needs, sequence), targets)
    return [names[place] for place in walk.done_in_order]


def _neighbours_first(names: Sequence[Any]) -> Sequence[Any]:
    """Sorted, if possible: keys that differ little, as ("x", 1) and ("x", 2), often need the same."""
    try:
        return sorted(names)
    except TypeError:
        return sorted(names, key=str)


def _topological(needs: Links, users: Links) -> list[int]:
    """In any order that is possible, without those that are in a cycle or need one that is."""
    missing = list(map(len, needs))
    found = [place for place, count in enumerate(missing) if not count]
    for place in found:  # which grows
        for user in users[place]:
            missing[user] -= 1
            if not missing[user]:
                found.append(user)
    return found


def _find_cycle(needs: Links, left: set[int], place: int) -> list[int]:
    """A cycle among those left, of which each needs another one of them."""
    path: dict[int, None] = {}
    while place not in path:
        path[place] = None
        place = next(other for other in needs[place] if other in left)
    found = list(path)
    return [*found[found.index(place) :], place]


def _most_held(needs: Links, sequence: list[int]) -> list[int]:
    """How many results have to be held at a time to compute each, if nothing were used twice."""
    most = [1] * len(needs)
    for place in sequence:
        needed = needs[place]
        if len(needed) == 1:
            most[place] = most[needed[0]]
        elif needed:
            counts = sorted([most[other] for other in needed], reverse=True)
            most[place] = max([count + before for before, count in enumerate(counts)])
    return most


class _Walk:
    def __init__(
        self, needs: Links, users: Links, most_held: list[int], wanted: Sequence[int]
    ) -> None:
        self.done_in_order: list[int] = []
        self._needs = needs
        self._users = users
        self._most_held = most_held
        self._done = [False] * len(needs)
        self._missing = list(map(len, needs))
        # How many still use each; what was asked for is kept, which counts as one more.
        self._uses = list(map(len, users))
        for place in wanted:
            self._uses[place] += 1
        for place in wanted:
            self._reach(place)

    def _reach(self, place: int) -> None:
        done = self._done
        stack = [place]
        while stack:
            place = stack[-1]
            if done[place]:
                stack.pop()
            elif not self._missing[place]:
                stack.pop()
                self._do(place)
            else:
                needed = [other for other in self._needs[place] if not done[other]]
                if len(needed) > 1:
                    needed.reverse()  # the first comes to lie on top
                    needed.sort(key=self._most_held.__getitem__)
                stack += needed

    def _do(self, place: int) -> None:
        """This one, and then whatever can run and is the last to use something."""
        done, missing, uses = self._done, self._missing, self._uses
        ready = [place]
        while ready:
            place = ready.pop()
            if done[place]:
                continue
            done[place] = True
            self.done_in_order.append(place)
            for user in self._users[place]:
                missing[user] -= 1
                if not missing[user] and any([uses[other] == 1 for other in self._needs[user]]):
                    ready.append(user)
            for other in self._needs[place]:
                uses[other] -= 1
                if uses[other] == 1:
                    last = next((user for user in self._users[other] if not done[user]), None)
                    if last is not None and not missing[last]:
                        ready.append(last)
