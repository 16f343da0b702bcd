"""A file of JSON that is written in parts, and is there only once it is complete."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, TextIO


def write_dump(path: str | os.PathLike[str], parts: Iterable[tuple[str, Any]]) -> None:
    """An object with a member for each section. The parts of a section follow each other: lists, that
    become one with an item on each line, or a single value of any other kind."""
    target = Path(path)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with os.fdopen(descriptor, "w") as file:
            _write(file, parts)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _write(file: TextIO, parts: Iterable[tuple[str, Any]]) -> None:
    encode = json.JSONEncoder(default=repr).encode
    file.write("{")
    for number, (section, group) in enumerate(groupby(parts, itemgetter(0))):
        file.write(f"{',' if number else ''}\n{encode(section)}: ")
        values = (part for _, part in group)
        first = next(values)
        if isinstance(first, list):
            items = chain(first, chain.from_iterable(values))
            lines = map(encode, items)
            file.write("[")
            file.writelines(f"{',' if row else ''}\n{line}" for row, line in enumerate(lines))
            file.write("\n]")
        else:
            file.write(encode(first))
    file.write("\n}\n")
