"""Exceptions of tasks, as bytes that any process can read: type, text, and the user's lines.

The first line of the bytes is type and text for people: the scheduler, which never unpickles, logs it.

`dump_exception` never fails, whatever the exception is. What cannot be pickled arrives as a
`RemoteError` that has its type's name and its text.
"""

from __future__ import annotations

import pickle
from typing import Any

from distributed.errors import RemoteError
from distributed.serialize import pickle_bytes
from distributed.traceback_lines import lines_of, traceback_of
from distributed.unpickling import unpickle

# Longer texts are cut: an exception whose message quotes a whole array helps nobody.
MAX_TEXT = 10_000
# Of the first line, in characters.
MAX_LINE = 300
# A pickled exception above this is replaced by its type and its text.
MAX_BYTES = 100_000
# Notes, and exceptions of a group: more are not kept.
MAX_PARTS = 100
# Causes of causes of causes: more are not followed.
MAX_CAUSES = 20

# (class or function, arguments, state)
Recipe = tuple[Any, tuple[Any, ...], Any]


def dump_exception(exception: BaseException) -> bytes:
    """The exception with its traceback, causes, context and notes, as bytes."""
    try:
        described = _describe(exception, {})
    except BaseException as error:
        # A class that does not even let its attributes be read.
        text = f"(it could not be described: {type(error).__name__})"
        described = {"type": type(exception).__name__, "text": text, **_NOTHING}
    return _first_line(described) + b"\n" + pickle.dumps(described, 5)


def _first_line(described: dict[str, Any]) -> bytes:
    line = " ".join(f"{described['type']}: {described['text']}".split())
    return line[:MAX_LINE].encode(errors="backslashreplace")


def load_exception(blob: bytes) -> BaseException:
    """The exception, ready to be raised: its traceback shows the lines of the process it comes from.

    StopIteration and StopAsyncIteration become the cause of a RuntimeError, as in generators: whoever calls
    for results in a loop would take them for its end.

    >>> try:
    ...     1 / 0
    ... except ZeroDivisionError as error:
    ...     load_exception(dump_exception(error))
    ZeroDivisionError('division by zero')
    """
    described: dict[str, Any] = unpickle(blob.partition(b"\n")[2])
    exception = _restore(described)
    if isinstance(exception, (StopIteration, StopAsyncIteration)):
        error = RuntimeError(f"the task raised {exception!r:.1000}")
        error.__cause__, error.__traceback__ = exception, exception.__traceback__
        return error
    return exception


_NOTHING: dict[str, Any] = {
    "pickle": None,
    "lines": [],
    "notes": [],
    "group": [],
    "cause": None,
    "context": None,
    "suppress": False,
}


def _describe(exception: BaseException, seen: dict[int, None]) -> dict[str, Any]:
    seen[id(exception)] = None
    return {
        "type": type(exception).__name__,
        "text": _text(exception),
        "pickle": _pickle(exception),
        "lines": lines_of(exception.__traceback__),
        "notes": _notes(exception),
        "group": [_describe_other(part, seen) for part in _parts(exception)],
        "cause": _describe_other(exception.__cause__, seen),
        "context": _describe_other(exception.__context__, seen),
        "suppress": exception.__suppress_context__,
    }


def _describe_other(
    exception: BaseException | None, seen: dict[int, None]
) -> dict[str, Any] | None:
    if exception is None or id(exception) in seen or len(seen) >= MAX_CAUSES:
        return None
    return _describe(exception, seen)


def _notes(exception: BaseException) -> list[str]:
    notes = getattr(exception, "__notes__", ())
    if not isinstance(notes, (list, tuple)):
        return []
    return [_cut(note) for note in notes[:MAX_PARTS] if type(note) is str]


def _parts(exception: BaseException) -> list[BaseException]:
    """The exceptions of an ExceptionGroup; Python 3.10 has none."""
    parts = getattr(exception, "exceptions", ())
    if not isinstance(parts, tuple):
        return []
    return [part for part in parts[:MAX_PARTS] if isinstance(part, BaseException)]


def _text(exception: BaseException) -> str:
    try:
        return _cut(str(exception))
    except BaseException as error:
        return f"(its text could not be made: {type(error).__name__})"


def _cut(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    half = MAX_TEXT // 2
    return f"{text[:half]} ... ({len(text) - 2 * half:,} characters cut) ... {text[-half:]}"


def _pickle(exception: BaseException) -> bytes | None:
    """The recipe of the exception, (class, arguments, state), as bytes; None if it cannot be pickled,
    made again from those, or is too large.

    Not the exception itself: where tblib is installed, dask has it make the pickle drag all causes and
    frames along.
    """
    try:
        make, arguments, *rest = exception.__reduce_ex__(5)
        bare = _bare, (type(exception), exception.args), vars(exception) or None
    except BaseException:
        return None  # it does not want to be pickled
    # If its constructor takes other arguments than those that it has kept, it is made without.
    return _pickle_recipe((make, arguments, rest[0] if rest else None)) or _pickle_recipe(bare)


def _bare(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    exception = kind.__new__(kind, *args)
    exception.args = args
    return exception


def _pickle_recipe(recipe: Recipe) -> bytes | None:
    try:
        blob = pickle_bytes(recipe)
        if len(blob) > MAX_TEXT:
            recipe = (recipe[0], tuple(map(_cut_argument, recipe[1])), recipe[2])
            blob = pickle_bytes(recipe)
        if len(blob) > MAX_BYTES:
            blob = pickle_bytes((*recipe[:2], None))
        _make(blob)
    except BaseException:
        # Whatever a user's class does when it is pickled or made: its name and its text are left.
        return None
    return blob if len(blob) <= MAX_BYTES else None


def _cut_argument(argument: Any) -> Any:
    return _cut(argument) if isinstance(argument, str) else argument


def _make(blob: bytes) -> BaseException:
    make, arguments, state = unpickle(blob)
    exception: BaseException = make(*arguments)
    if not isinstance(exception, BaseException):
        raise TypeError(f"{make} does not make an exception")
    if state:
        exception.__setstate__(state)
    return exception


def _restore(described: dict[str, Any]) -> BaseException:
    exception = _unpickle(described)
    if described["notes"]:
        exception.__notes__ = described["notes"]
    _attach(exception, described)
    return exception


def _attach(exception: BaseException, described: dict[str, Any]) -> None:
    """Give it what pickle does not keep: lines, causes, and those of the exceptions in a group."""
    for part, its in zip(_parts(exception), described["group"], strict=False):
        if its is not None:
            _attach(part, its)
    if described["lines"]:
        exception.__traceback__ = traceback_of(described["lines"])
    if described["cause"] is not None:
        exception.__cause__ = _restore(described["cause"])
    if described["context"] is not None:
        exception.__context__ = _restore(described["context"])
    exception.__suppress_context__ = described["suppress"]


def _unpickle(described: dict[str, Any]) -> BaseException:
    if described["pickle"] is not None:
        try:
            return _make(described["pickle"])
        except Exception:
            pass  # its class is not there in this process
    return RemoteError(described["type"], described["text"])
