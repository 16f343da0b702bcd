"""Tracebacks as lines, and back: what travels of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, FunctionType, TracebackType
from typing import Any

# Of a traceback that is deeper, the first and the last lines are kept.
MAX_LINES = 60
# Lines between the worker's thread and the user's function are not the user's business.
_OURS = str(Path(__file__).parent) + os.sep
_DASK = str(Path("dask") / "_task_spec.py")

# (file, function, line)
Line = tuple[str, str, int]


def lines_of(traceback: TracebackType | None) -> list[Line]:
    lines: list[Line] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if lines or not _is_internal(code.co_filename):
            lines.append((code.co_filename, code.co_name, traceback.tb_lineno))
        traceback = traceback.tb_next
    if len(lines) > MAX_LINES:
        half = MAX_LINES // 2
        gap = (f"<{len(lines) - 2 * half} lines are not shown>", "...", 0)
        lines = [*lines[:half], gap, *lines[-half:]]
    return lines


def _is_internal(filename: str) -> bool:
    return filename.startswith(_OURS) or filename.endswith(_DASK)


def traceback_of(lines: list[Line]) -> TracebackType | None:
    """A traceback that shows these lines. It has no variables."""
    found: TracebackType | None = None
    for filename, name, number in reversed(lines):
        found = TracebackType(found, _frame(filename, name, number), 0, number)
    return found


def _never_run() -> Iterator[None]:
    yield


def _frame(filename: str, name: str, number: int) -> FrameType:
    """A frame of a function of that name and place.

    Of a generator that has not begun, for those have no caller. The frame of a call would keep all its
    callers and their variables alive: the exception among them, in a cycle, and futures with their data.
    """
    code = _never_run.__code__.replace(
        co_filename=filename, co_name=name, co_firstlineno=number, **_qualified(name)
    )
    function = FunctionType(code, {"__file__": filename, "__name__": name})
    frame: FrameType = function().gi_frame
    return frame


def _qualified(name: str) -> dict[str, Any]:
    """Python 3.10 has no qualified names in codes."""
    return {"co_qualname": name} if hasattr(_never_run.__code__, "co_qualname") else {}
