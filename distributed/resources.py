"""What people write for resources: amounts by name, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import inf
from numbers import Real
from typing import Any

# A name is written on a command line, between spaces or commas and before an equals sign.
_NAME = re.compile(r"[^\s,=]+")


def check_resources(resources: Any) -> dict[str, float]:
    """The same as a plain dict of floats.

    Raises TypeError if it is not a mapping of names to numbers, ValueError for an amount that is not
    positive and finite, or a name that could not be written on a command line.

    >>> check_resources({"GPU": 1})
    {'GPU': 1.0}
    """
    if not isinstance(resources, Mapping):
        raise TypeError(f"resources are a dict like {{'GPU': 1}}, not {resources!r}")
    checked: dict[str, float] = {}
    for name, amount in resources.items():
        if not isinstance(name, str) or not isinstance(amount, Real) or isinstance(amount, bool):
            raise TypeError(f"resources are names with numbers, not {name!r} with {amount!r}")
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a name for a resource: no spaces, commas and '='")
        name.encode()  # here, where the caller stands, if it cannot be sent
        if not 0 < amount < inf:
            raise ValueError(f"an amount of {name} is a positive number, not {amount!r}")
        checked[name] = float(amount)
    return checked


def parse_resources(text: str) -> dict[str, float]:
    """What `--resources` says: NAME=NUMBER, several between spaces or commas. 0 is as if not there.

    Raises ValueError.

    >>> parse_resources("GPU=1, MEM=16e9")
    {'GPU': 1.0, 'MEM': 16000000000.0}
    """
    parsed: dict[str, float] = {}
    for word in re.split(r"[\s,]+", text.strip()):
        if not word:
            continue
        name, _, number = word.partition("=")
        try:
            amount = float(number)
        except ValueError:
            raise ValueError(f"{word!r} is not a resource: write NAME=NUMBER") from None
        if name in parsed:
            raise ValueError(f"the resource {name} is there twice")
        parsed[name] = amount
    return check_resources({name: amount for name, amount in parsed.items() if amount != 0})


def as_option(resources: Mapping[str, float]) -> str:
    """What `parse_resources` makes the same from.

    >>> as_option({"GPU": 1.0, "MEM": 16e9})
    'GPU=1.0 MEM=16000000000.0'
    """
    return " ".join(f"{name}={amount!r}" for name, amount in resources.items())
