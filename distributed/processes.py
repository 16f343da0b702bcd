"""Subprocesses that are ours: their output is passed on, and they end when we do."""

from __future__ import annotations

import atexit
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import IO, NoReturn

from distributed.output import read_output

# Of the output of a process, so much is remembered for the day when it dies.
TAIL_LINES = 20
# The end of a process is told at most so long after it, whether all its output has been read or not: the
# tasks that it ran wait for that.
LAST_WORDS_SECONDS = 0.25


class Child:
    """Runs a command. It is told that we are gone by the end of its standard input.

    The descriptors in `keep` are open in it as well. Raises OSError if it cannot be started.

    `on_text(text, is_error)` is called with its output: whole lines with their newlines, and lines that
    do not end soon. `on_exit(self)` is called once it has ended, what it had started
    has been killed, and its output has been seen. Both are called in threads of their own.
    """

    def __init__(
        self,
        command: Sequence[str],
        on_text: Callable[[str, bool], object],
        on_exit: Callable[[Child], object],
        environment: Mapping[str, str] | None = None,
        keep: Sequence[int] = (),
    ) -> None:
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if environment is None else {**os.environ, **environment},
            # Ctrl-C in a terminal is for us; we tell our children ourselves.
            start_new_session=True,
            pass_fds=keep,
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        self._on_text = on_text
        self._on_exit = on_exit
        try:
            readers = [
                _start_thread(self._read, self.process.stdout, False),
                _start_thread(self._read, self.process.stderr, True),
            ]
            self._waiter = _start_thread(self._wait, readers)
        except RuntimeError as error:
            kill_group(self.pid)
            self.process.wait()
            raise OSError(errno.EAGAIN, f"the system has no thread for that: {error}") from None

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def terminate(self) -> None:
        """Ask it to end."""
        if self.alive:
            self.process.terminate()

    def kill(self) -> None:
        if self.alive:
            self.process.kill()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it has ended and `on_exit` has returned; false if that took too long."""
        self._waiter.join(timeout)
        return not self._waiter.is_alive()

    def _read(self, pipe: IO[bytes], is_error: bool) -> None:
        read_output(pipe, lambda text: self._on_text(text, is_error), self.tail)

    def _wait(self, readers: list[threading.Thread]) -> None:
        self.process.wait()
        # What it has started and left behind, which may hold on to its sockets and to these pipes.
        kill_group(self.pid)
        assert self.process.stdin is not None
        self.process.stdin.close()
        deadline = time.monotonic() + LAST_WORDS_SECONDS
        for reader in readers:
            # A grandchild in a session of its own may have inherited the pipe and keep it open for ever.
            reader.join(max(0.0, deadline - time.monotonic()))
        self._on_exit(self)


def kill_group(pid: int) -> None:
    """End the process that began a session, and those that it has started there."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # all have ended by themselves


def _start_thread(target: Callable[..., object], *args: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, name="child", daemon=True)
    thread.start()
    return thread


def python_command(statement: str, *arguments: str) -> list[str]:
    """The command that executes a Python statement, with these in sys.argv."""
    return [sys.executable, "-c", statement, *arguments]


def take_standard_input() -> int:
    """The descriptor of what was standard input; no program that is started here inherits it. Standard
    input is empty from now on: a task that reads it, or a program that a task starts, does not wait."""
    taken = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return taken


def end_with_parent() -> None:
    """End this process as soon as its standard input does: then whoever started it is gone."""
    lifeline = take_standard_input()

    def watch() -> None:
        while os.read(lifeline, 4096):
            pass
        # As if somebody had asked for it, so that nothing is left behind.
        os.kill(os.getpid(), signal.SIGTERM)

    _start_thread(watch)


def on_signals(stop: Callable[[], object], wake_descriptor: int) -> None:
    """Let Ctrl-C and SIGTERM call `stop`. The descriptor is written to, so that a poll loop that
    watches its other end notices at once, whichever thread the signal reached."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop())
    signal.set_wakeup_fd(wake_descriptor, warn_on_full_buffer=False)


def run_exit_functions(seconds: float) -> None:
    """Call what is registered with `atexit`, as the end of an interpreter does; wait at most this long."""
    caller = _start_thread(atexit._run_exitfuncs)
    caller.join(seconds)


def leave(status: int) -> NoReturn:
    """End this process now, without waiting for threads that run user code."""
    signal.set_wakeup_fd(-1)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # the disk is full, or the other end of the pipe has gone: nobody can be told
    os._exit(status)


def describe_exit(status: int) -> str:
    """What a return code means.

    >>> describe_exit(-9), describe_exit(3)
    ('signal 9 (SIGKILL)', 'exit status 3')
    """
    if status >= 0:
        return f"exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
    return f"signal {-status} ({name})"
