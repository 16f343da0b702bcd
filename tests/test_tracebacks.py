"""Exceptions cross processes with their type, text, causes, and the lines of the user's code."""

from __future__ import annotations

import gc
import sys
import threading
import traceback
import weakref
from pathlib import Path
from typing import Any

import pytest
from IPython.core.ultratb import VerboseTB

from distributed.errors import RemoteError
from distributed.tracebacks import MAX_BYTES, MAX_LINE, MAX_TEXT, dump_exception, load_exception


class Coded(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code

    def __reduce__(self) -> Any:
        return Coded, (self.code,)


class Broken(Exception):
    """Its arguments do not make it again."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("broken")


class ByName(ValueError):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Holding(Exception):
    """It has what cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("holding")
        self.lock = threading.Lock()


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")


class Interrupting(Exception):
    """Whatever is done with it raises what `except Exception` does not catch."""

    def __str__(self) -> str:
        raise KeyboardInterrupt

    def __reduce__(self) -> Any:
        raise SystemExit


class Unreadable(Exception):
    def __getattribute__(self, name: str) -> Any:
        if name == "__cause__":
            raise RuntimeError(name)
        return super().__getattribute__(name)


class ExitsWhenMade(Exception):
    def __init__(self, *args: Any) -> None:
        if args:
            raise SystemExit
        super().__init__("made")


def across(exception: BaseException) -> BaseException:
    """As if it had been raised in another process."""
    try:
        raise exception
    except BaseException as raised:
        return load_exception(dump_exception(raised))


def shown(exception: BaseException) -> str:
    return "".join(traceback.format_exception(exception))


def test_type_text_and_attributes_arrive() -> None:
    arrived = across(Coded(7))
    assert type(arrived) is Coded
    assert (str(arrived), arrived.code) == ("code 7", 7)


def test_the_first_line_of_the_bytes_is_for_people() -> None:
    def first_line(exception: BaseException) -> bytes:
        return dump_exception(exception).partition(b"\n")[0]

    assert first_line(ValueError("no such\n  thing")) == b"ValueError: no such thing"
    assert first_line(KeyError("\udc80")) == b"KeyError: '\\udc80'"
    assert len(first_line(ValueError("x" * MAX_TEXT))) == MAX_LINE
    assert first_line(Hostile()).startswith(b"Hostile: (its text could not be made")


def test_the_lines_of_the_other_process_are_shown() -> None:
    assert "raise exception" in shown(across(ValueError("x")))


def test_places_are_those_of_the_other_process() -> None:
    def outer() -> None:
        inner()

    def inner() -> None:
        raise ValueError

    try:
        outer()
    except ValueError as error:
        here = traceback.extract_tb(error.__traceback__)
        arrived = load_exception(dump_exception(error))
    there = traceback.extract_tb(arrived.__traceback__)
    expected = [(line.filename, line.lineno, line.name, line.line) for line in here]
    assert [(line.filename, line.lineno, line.name, line.line) for line in there] == expected


def test_notebooks_can_show_it() -> None:
    """They look closer at the frames than Python itself."""
    arrived = across(ValueError("to be shown"))
    assert arrived.__traceback__ is not None
    assert arrived.__traceback__.tb_lasti >= 0  # or there is an endless loop
    text = VerboseTB().text(ValueError, arrived, arrived.__traceback__)
    assert "to be shown" in text and "across" in text


def test_what_arrives_goes_with_the_last_reference() -> None:
    """It would take everything with it that its callers know: futures, and the data behind them."""

    class Bystander:
        pass

    def use(blob: bytes) -> Any:
        bystander = Bystander()
        arrived = load_exception(blob)
        try:
            raise arrived
        except Coded as raised:
            assert raised is arrived
            del arrived
        return weakref.ref(bystander)

    def keep(blob: bytes) -> Any:
        bystander = Bystander()
        arrived = load_exception(blob)
        return weakref.ref(bystander), weakref.ref(arrived)

    blob = dump_exception(across(Coded(7)))
    gc.disable()
    try:
        assert use(blob)() is None
        assert [reference() for reference in keep(blob)] == [None, None]
    finally:
        gc.enable()


def test_cause_context_and_notes_arrive() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error
    except ValueError as error:
        if hasattr(error, "add_note"):
            error.add_note("a note")
        arrived = load_exception(dump_exception(error))
    assert repr(arrived.__cause__) == "KeyError('inner')"
    assert arrived.__suppress_context__
    assert getattr(arrived, "__notes__", ["a note"]) == ["a note"]
    assert "direct cause" in shown(arrived)


@pytest.mark.parametrize("exception", [Broken(1, 2), ExitsWhenMade(), ByName(code=7)])
def test_exceptions_with_constructors_of_their_own_arrive_as_they_were(
    exception: Exception,
) -> None:
    arrived = across(exception)
    assert type(arrived) is type(exception)
    assert (arrived.args, vars(arrived)) == (exception.args, vars(exception))


@pytest.mark.parametrize("exception", [Hostile(), Interrupting(), Unreadable(), Holding()])
def test_what_cannot_be_pickled_arrives_as_text(exception: Exception) -> None:
    arrived = across(exception)
    assert isinstance(arrived, RemoteError)
    assert arrived.type_name == type(exception).__name__


def test_a_local_class_keeps_its_type_name() -> None:
    class Local(Exception):
        pass

    assert type(across(Local("here"))).__name__ == "Local"


def test_huge_texts_are_cut() -> None:
    arrived = across(ValueError("x" * 1_000_000))
    assert type(arrived) is ValueError
    assert len(str(arrived)) < MAX_TEXT + 100
    assert "characters cut" in str(arrived)


def test_deep_tracebacks_are_cut_in_the_middle() -> None:
    def deep(level: int) -> int:
        return 1 // level if level == 0 else deep(level - 1)

    try:
        deep(900)
    except ZeroDivisionError as error:
        arrived = load_exception(dump_exception(error))
    lines = traceback.extract_tb(arrived.__traceback__)
    assert len(lines) < 100
    assert any("not shown" in line.filename for line in lines)
    assert lines[-1].name == "deep"


def test_a_cycle_of_contexts_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__context__, two.__context__ = two, one
    assert repr(across(one)) == "ValueError('one')"


def test_exits_are_exceptions_too() -> None:
    assert type(across(SystemExit(3))) is SystemExit


def test_notes_of_what_cannot_be_pickled_arrive() -> None:
    exception = Broken(1, 2)
    exception.__notes__ = ["a note"]  # type: ignore[attr-defined]
    assert across(exception).__notes__ == ["a note"]  # type: ignore[attr-defined]


def test_an_exception_with_huge_attributes_keeps_its_type() -> None:
    exception = ValueError("text")
    exception.data = "x" * 10 * MAX_BYTES  # type: ignore[attr-defined]
    assert repr(across(exception)) == "ValueError('text')"
    assert len(dump_exception(exception)) < 2 * MAX_BYTES


def test_huge_arguments_do_not_travel() -> None:
    assert len(dump_exception(ValueError(["x" * 10 * MAX_BYTES]))) < 2 * MAX_BYTES


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no groups")
def test_the_exceptions_of_a_group_keep_their_lines() -> None:
    try:
        raise KeyError("inner")
    except KeyError as error:
        group = ExceptionGroup("some", [error])  # noqa: F821
    (arrived,) = across(group).exceptions  # type: ignore[attr-defined]
    assert "KeyError: 'inner'" in shown(arrived)
    assert "raise KeyError" in shown(arrived)


def test_a_directory_with_a_name_like_ours_is_the_users() -> None:
    import distributed

    path = f"{Path(distributed.__file__).parent}_apps/user.py"
    names: dict[str, Any] = {}
    exec(compile("def run(): 1 / 0", path, "exec"), names)
    try:
        names["run"]()
    except ZeroDivisionError as error:
        error.__traceback__ = error.__traceback__.tb_next  # type: ignore[union-attr]
        arrived = load_exception(dump_exception(error))
    assert [line.filename for line in traceback.extract_tb(arrived.__traceback__)] == [path]
