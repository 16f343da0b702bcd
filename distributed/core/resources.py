"""Abstract resources: what a worker has of each, and what its assignments have taken of it.

A resource is a name and an amount, `GPU=1`. It means nothing to the scheduler: a task that asks for it
takes the amount for as long as it is assigned, and what is taken nobody else can have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# What a task asks for: (name, amount), sorted by name. A tuple, so that equal needs are found by it.
Needs = tuple[tuple[str, float], ...]

# Amounts are floats, and ten tenths have to fit into one.
TOLERANCE = 1 + 1e-9


def needs_of(resources: Mapping[str, float]) -> Needs:
    return tuple(sorted(resources.items()))


def in_words(needs: Iterable[tuple[str, float]]) -> str:
    """As one writes it behind `dworker --resources`.

    >>> in_words([("GPU", 1.0), ("MEM", 16e9)])
    'GPU=1 MEM=1.6e+10'
    """
    return " ".join(f"{name}={amount:g}" for name, amount in needs)


class Stock:
    """The resources of one worker."""

    __slots__ = ("strays", "taken", "totals", "used")

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}
        self.taken: dict[int, Needs] = {}  # by which assignment; also by one that has been dropped
        self.used: dict[str, float] = {}  # the sum of those
        # Assignments that the worker has from a life of which we know nothing: each may be using all.
        self.strays: set[int] = set()

    def suffices(self, needs: Needs) -> bool:
        """Whether the worker has so much, if nothing is taken."""
        totals = self.totals
        return all(amount <= totals.get(name, 0.0) * TOLERANCE for name, amount in needs)

    def fits(self, needs: Needs) -> bool:
        """Whether so much is free now."""
        if not needs:
            return True
        if self.strays:
            return False
        totals, used = self.totals, self.used
        return all(
            used.get(name, 0.0) + amount <= totals.get(name, 0.0) * TOLERANCE
            for name, amount in needs
        )

    def take(self, assignment: int, needs: Needs) -> None:
        self.taken[assignment] = needs
        _add(self.used, needs)

    def give_back(self, assignments: Iterable[int]) -> None:
        """These have ended."""
        self.strays.difference_update(assignments)
        ended = [a for a in assignments if self.taken.pop(a, None) is not None]
        if ended:
            self.used = added_up(self.taken.values())


def added_up(taken: Iterable[Needs]) -> dict[str, float]:
    """Anew, not by subtraction: rounding errors would pile up over the life of a cluster."""
    used: dict[str, float] = {}
    for needs in taken:
        _add(used, needs)
    return used


def _add(used: dict[str, float], needs: Needs) -> None:
    for name, amount in needs:
        used[name] = used.get(name, 0.0) + amount
