"""From which directories modules are imported: by our own processes, and by tasks.

Python puts the directory of a program, or the one that it was started in, before all others. Tasks expect
to find their modules there. But a scheduler, a nanny, or a worker that starts must not take a file there
for a module that it needs: `psutil.py`, say. So those import from everywhere else first. A worker gets
the path of tasks once it has imported all that it needs itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from distributed.processes import python_command

# Where this package is. Whoever runs it from there trusts what is beside it.
_OURS = str(Path(__file__).resolve().parent.parent)


def resolved(path: Iterable[str]) -> list[str]:
    """The same places for a process that is started elsewhere. The current directory is left out if it
    has been deleted: nothing can be imported from it."""
    found = []
    for place in path:
        if not place:
            try:
                place = os.getcwd()
            except FileNotFoundError:
                continue
        found.append(place)
    return found


def trusted(path: Iterable[str]) -> list[str]:
    """The same places, but last those that nobody has named: the current directory, and that of the
    program that runs. `PYTHONPATH`, and what a program has added to `sys.path`, somebody has named.

    >>> trusted(["/usr/lib/python3", "/usr/lib/python3.zip"])
    ['/usr/lib/python3', '/usr/lib/python3.zip']
    """
    places = resolved(path)
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    unnamed = {os.path.realpath(place) for place in resolved([""])}
    if program is not None:
        unnamed.add(os.path.realpath(os.path.dirname(program) or "."))
    unnamed.discard(_OURS)
    return sorted(places, key=lambda place: os.path.realpath(place) in unnamed)


def python_like_ours(statement: str, *arguments: str) -> list[str]:
    """The command that executes a statement where all can be imported that can be imported here.

    The path is not in the environment, where programs that tasks start would inherit it.
    """
    code = f"import sys; sys.path[:] = eval(sys.argv.pop(1)); {statement}"
    return python_command(code, repr(trusted(sys.path)), *arguments)
