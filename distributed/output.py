"""What child processes print, on its way to where we print."""

from __future__ import annotations

import codecs
import contextlib
import io
import logging
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import IO, BinaryIO

from distributed.logs import Seldom

# A line that has not ended is passed on, as far as it goes, when nothing has followed for this many
# seconds. So a progress bar moves, and what is printed by several calls, or read in several parts, comes
# together.
PAUSE_SECONDS = 0.05
# A line that goes on without a pause, as dots that a loop prints, is passed on as far as it goes after this
# many seconds. A line that fills the pipe is one call's, and is left whole.
PATIENCE_SECONDS = 0.25
# A line that is longer is passed on in several parts.
LINE_CHARACTERS = 16 << 20
READ_BYTES = 1 << 16
# Of each line this much is remembered for the day when the process dies.
TAIL_CHARACTERS = 16 << 10
# How often it is mentioned that output is lost.
COMPLAINT_SECONDS = 10.0

logger = logging.getLogger("distributed")


class LineAssembler:
    """Puts the bytes of a stream together to lines of text."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._parts: list[str] = []
        self.size = 0  # characters of the line that has not ended

    def feed(self, data: bytes) -> list[str]:
        """The lines that these bytes complete, each with its newline."""
        *ends, rest = self._decode(data).split("\n")
        lines = [f"{end}\n" for end in ends]
        if lines:
            lines[0] = self.take() + lines[0]
        if rest:
            self._parts.append(rest)
            self.size += len(rest)
        return lines

    def take(self) -> str:
        """The line that has not ended, as far as it goes. What follows of it comes without this."""
        text = "".join(self._parts)
        self._parts.clear()
        self.size = 0
        return text


def read_output(pipe: IO[bytes], on_text: Callable[[str], object], tail: deque[str]) -> None:
    """Call `on_text` with all that comes through the pipe until it is closed: whole lines with their
    newlines, and lines that do not end soon. The lines go into `tail` as well."""
    lines = LineAssembler()
    due = 0.0  # when to pass on what has come of a line
    beginning = ""  # of the line that has not ended: what was passed on of it

    def emit(text: str) -> None:
        nonlocal beginning
        on_text(text)
        line = (beginning + text)[:TAIL_CHARACTERS]
        if text.endswith("\n"):
            tail.append(line.rstrip("\n"))
            line = ""
        beginning = line

    descriptor = pipe.fileno()
    poller = select.poll()  # which, unlike `select`, knows descriptors above 1,023
    poller.register(descriptor, select.POLLIN)
    with pipe:
        while True:
            if lines.size and not _goes_on(poller, due):
                emit(lines.take())
            begins = not lines.size
            data = os.read(descriptor, READ_BYTES)
            for line in lines.feed(data):
                emit(line)
                begins = True
            if begins or len(data) == READ_BYTES:
                due = time.monotonic() + PATIENCE_SECONDS
            if lines.size >= LINE_CHARACTERS or (lines.size and not data):
                emit(lines.take())
            if not data:
                break
    if beginning:
        tail.append(beginning)


def _goes_on(poller: select.poll, due: float) -> bool:
    """Whether more comes soon."""
    seconds = min(PAUSE_SECONDS, due - time.monotonic())
    return seconds > 0 and bool(poller.poll(seconds * 1000))


def pass_on(text: str, is_error: bool, source: object) -> None:
    """Print output of a child where it belongs. A line of one `source` is not continued by another: that
    begins a new line. Where nothing can be written, to a file on a full disk, the text is lost."""
    stream = sys.stderr if is_error else sys.stdout
    with _printing:
        if _unfinished.get(is_error, source) is not source:
            text = f"\n{text}"
        _write(stream, text)
        _unfinished.pop(is_error, None)
        if not text.endswith("\n"):
            _unfinished[is_error] = source


def say(line: str) -> None:
    """Print a line at once. If that is not possible it is lost."""
    with _printing:
        _write(sys.stdout, f"{line}\n")


def _write(stream: IO[str] | None, text: str) -> None:
    try:
        if stream is not None:
            stream.write(text)
            stream.flush()
    except (OSError, ValueError) as error:  # ValueError: it has been closed
        if _may_complain():
            logger.error("output is lost, for it cannot be written: %s", error)


_printing = threading.Lock()
_may_complain = Seldom(COMPLAINT_SECONDS)
_unfinished: dict[bool, object] = {}  # whose line has not ended, on standard error and output


class PromptOutput(io.TextIOWrapper):
    """A text stream that writes lines at once, and the beginning of a line soon.

    A pipe would get nothing before its buffer is full, and a progress bar that `print(end="")` draws would
    not move before its line ends.
    """

    def __init__(self, buffer: BinaryIO, encoding: str, errors: str | None) -> None:
        super().__init__(buffer, encoding, errors, line_buffering=True)
        self._begun = threading.Event()
        threading.Thread(target=self._flush_soon, name="output", daemon=True).start()

    def write(self, text: str) -> int:
        count = super().write(text)
        if not text.endswith("\n"):
            self._begun.set()
        return count

    def _flush_soon(self) -> None:
        pause = threading.Event()
        while self._begun.wait():
            self._begun.clear()
            pause.wait(PAUSE_SECONDS)
            with contextlib.suppress(OSError, ValueError):
                self.flush()  # otherwise whoever prints next hears of it


def print_promptly() -> None:
    """Let standard output be written as soon as it is on a terminal, although it goes to a pipe."""
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper) and not stream.write_through:
        encoding, errors = stream.encoding, stream.errors
        sys.stdout = sys.__stdout__ = PromptOutput(stream.detach(), encoding, errors)
