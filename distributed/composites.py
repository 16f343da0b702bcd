"""Objects that may hold futures, and how to make them again with data in place of these."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from distributed.errors import SerializationError

# Where futures are looked for, and replaced. So they are in dataclasses.
CONTAINERS = (list, tuple, dict, set, frozenset)
_OTHERS = (partial, deque, slice)
_BUILTIN = frozenset(CONTAINERS)


def items_of(value: Any) -> Iterable[Any] | None:
    """What of the object may be a future. None if there is nothing."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return value
    if isinstance(value, partial):
        return (value.func, *value.args, *value.keywords.values())
    if isinstance(value, slice):
        return (value.start, value.stop, value.step)
    fields = getattr(type(value), "__dataclass_fields__", None)
    return None if fields is None else [getattr(value, name, None) for name in fields]


def may_hold(value: Any) -> bool:
    """Whether `items_of` looks into it.

    >>> may_hold([]), may_hold(slice(1)), may_hold("text")
    (True, True, False)
    """
    return isinstance(value, CONTAINERS) or (
        isinstance(value, _OTHERS) or hasattr(type(value), "__dataclass_fields__")
    )


def is_builtin(value: Any) -> bool:
    """Whether it is a container of no class of its own: it is nothing but its items."""
    return type(value) in _BUILTIN


class Composite:
    """How to make an object, as its `__reduce_ex__` says it. On a worker that is done with data in place of
    futures. So its class sees data only, whatever it does with its items or asks of them."""

    __slots__ = ("parts",)

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    @classmethod
    def of(cls, value: Any) -> Composite:
        """Raises SerializationError if the object does not want to be pickled."""
        try:
            make, args, *others = value.__reduce_ex__(4)
        except Exception as error:
            raise SerializationError(
                f"a {type(value).__qualname__} has futures in it, and cannot be taken apart: {error!r}"
            ) from error
        state, items, pairs, setter = (*others, None, None, None, None)[:4]
        parts = [make, args, state, list(items or ()), list(pairs or ()), setter]
        return cls(parts)

    def make(self) -> Any:
        """The object, in the order in which it would be unpickled."""
        make, args, state, items, pairs, setter = self.parts
        made = make(*args)
        if items:
            made.extend(items)
        for key, item in pairs:
            made[key] = item
        if state is not None:
            _set_state(made, state, setter)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Composite, (self.parts,)


def _set_state(made: Any, state: Any, setter: Callable[[Any, Any], object] | None) -> None:
    if setter is not None:
        setter(made, state)
    elif hasattr(made, "__setstate__"):
        made.__setstate__(state)
    else:
        attributes, slots = state if type(state) is tuple and len(state) == 2 else (state, None)
        if attributes:
            vars(made).update(attributes)
        for name, item in (slots or {}).items():
            setattr(made, name, item)
