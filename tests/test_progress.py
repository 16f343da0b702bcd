"""Progress bars in a console."""

from __future__ import annotations

import io
import re
import threading
from pathlib import Path

import pytest

from distributed import Executor, progress
from distributed.progress import Watch, draw, elapsed, line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def block(path: str) -> None:
    import os
    import time

    while not os.path.exists(path):
        time.sleep(0.01)  # on a worker


def test_the_line_is_that_of_the_tutorial() -> None:
    full = "[########################################] | 100% Completed |  3.0s"
    assert line(3, 3, 3, 3.0) == full
    assert line(0, 0, 3, 0.0) == full.replace("#", " ").replace("100%", "  0%").replace(
        "3.0", "0.0"
    )
    assert len(line(199, 199, 200, 3.0)) == len(full)
    assert " 99%" in line(199, 199, 200, 3.0)
    assert line(0, 0, 0, 0.0).startswith("[####")


def test_elapsed() -> None:
    assert [elapsed(s) for s in (0, 9.96, 59.96, 61, 3600)] == [
        " 0.0s",
        "10.0s",
        " 1min 0.0s",
        " 1min 1.0s",
        " 1hr  0min 0.0s",
    ]


def test_it_blocks_and_ends_with_a_full_bar(
    executor: Executor, capsys: pytest.CaptureFixture[str]
) -> None:
    futures = executor.map(abs, range(-10, 0))
    progress(futures[:5], {"rest": futures[5:]})
    assert all(future.done() for future in futures)
    # Nobody watches, so only the last state is printed.
    shown = capsys.readouterr().out
    assert re.fullmatch(r"\[#{40}\] \| 100% Completed \|  \d\.\ds\n", shown)


def test_it_moves_in_place_while_somebody_watches(executor: Executor, tmp_path: Path) -> None:
    gates = [tmp_path / "a", tmp_path / "b"]
    watch = Watch(executor.map(block, map(str, gates)))
    terminal = Terminal()
    thread = threading.Thread(target=draw, args=(watch, terminal))
    thread.start()
    for gate in gates:
        gate.touch()
    thread.join()
    states = terminal.getvalue().rstrip("\n").split("\r")
    assert "100% Completed" in states[-1]
    assert terminal.getvalue().endswith("s\n")


def test_failures_are_told(executor: Executor, capsys: pytest.CaptureFixture[str]) -> None:
    progress(executor.submit(divmod, 1, 0), executor.submit(abs, -1))
    assert " 50% Completed" in (shown := capsys.readouterr().out)
    assert shown.endswith("| 1 failed\n")


def test_it_ends_when_the_executor_is_closed(cluster: object, tmp_path: Path) -> None:
    with Executor(cluster) as executor:  # type: ignore[arg-type]
        watch = Watch([executor.submit(block, str(tmp_path / "gate"))])
        thread = threading.Thread(target=draw, args=(watch, io.StringIO()))
        thread.start()
        executor.close()
        thread.join(10)
        assert not thread.is_alive()
    (tmp_path / "gate").touch()


def test_what_is_not_a_future_is_refused() -> None:
    with pytest.raises(TypeError, match="takes futures, not int"):
        progress(1)
