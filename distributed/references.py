"""What pickle stores as a mere name: functions, classes and modules that a worker can import."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import cloudpickle


def found_by_name(value: Any) -> bool:
    """Whether pickle stores a function or a class as a name.

    >>> found_by_name(found_by_name), found_by_name(lambda: 1)
    (True, False)
    """
    name = value.__module__
    if name == "__main__" or (cloudpickle.list_registry_pickle_by_value() and by_value(name)):
        return False
    found: Any = sys.modules.get(name)
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is value


def by_value(module: str | None) -> bool:
    """Whether the user has asked for what is in the module, or a package around it, to travel by value."""
    if not module:
        return False
    registered = cloudpickle.list_registry_pickle_by_value()
    return any(module == name or module.startswith(f"{name}.") for name in registered)


def names_in(code: types.CodeType) -> Iterator[str]:
    """The global names and the attributes that the code uses, and those of the functions inside it."""
    for part in codes_in(code):
        yield from part.co_names


def codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code, and that of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if type(constant) is types.CodeType:
            yield from codes_in(constant)
