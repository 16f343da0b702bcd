"""A process that has one system in it (`serve.py`), and all that it has started."""

from __future__ import annotations

import json
import select
import subprocess
import tempfile
import time
import uuid
from typing import Any

import psutil

# By which all descendants of a process are known, also those that have left its session.
MARK = "BENCHMARK_SYSTEM"
END_SECONDS = 20.0


class Trouble(Exception):
    """There is no answer, and why."""


class Process:
    """Raises Trouble where an answer does not come."""

    def __init__(self, command: list[str], environment: dict[str, str], directory: str) -> None:
        self._mark = uuid.uuid4().hex
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=directory,
            env={**environment, MARK: self._mark},
            start_new_session=True,
        )

    def ask(self, question: str, limit: float) -> tuple[dict[str, Any], float]:
        """The answer, and the seconds it took."""
        assert self._process.stdin
        try:
            self._process.stdin.write(f"{question}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: the answer will not come
        return self.answer(limit)

    def answer(self, limit: float) -> tuple[dict[str, Any], float]:
        stdout = self._process.stdout
        assert stdout
        begin = time.monotonic()
        # The end of the process is looked for too: what it started may hold the pipe open.
        while not select.select([stdout], [], [], 1)[0] and self._process.poll() is None:
            if time.monotonic() - begin > limit:
                raise Trouble(f"not within {limit:g} s")
        line = stdout.readline() if select.select([stdout], [], [], 0)[0] else ""
        if not line:
            raise Trouble(f"its process has ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer, time.monotonic() - begin

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1] if lines else "without a word"

    def close(self) -> None:
        """Let it end its cluster and itself; what is left then is killed."""
        assert self._process.stdin
        try:
            self._process.stdin.close()
            self._process.wait(END_SECONDS)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            pass
        self.kill()

    def kill(self) -> None:
        """End it and all that it has started."""
        assert self._process.stdin and self._process.stdout
        left = self._marked()
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        self._process.wait()
        psutil.wait_procs(left)
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                pass  # a question that was never read
        self._errors.close()

    def _marked(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self._mark:
                    found.append(process)
            except psutil.Error:
                continue  # it has ended, or is not ours
        return found
