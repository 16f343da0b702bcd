"""What child processes print, and how it arrives."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed import Executor, LocalCluster
from distributed.output import LineAssembler, pass_on, read_output
from tests.support import wait_until

ROOT = Path(__file__).parent.parent


@given(st.lists(st.text(alphabet="aé€\r\n", max_size=5)), st.integers(1, 4))
def test_lines_are_put_together_however_they_are_cut(texts: list[str], size: int) -> None:
    data = "".join(texts).encode()
    lines = LineAssembler()
    found = [line for at in range(0, len(data), size) for line in lines.feed(data[at : at + size])]
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in found)
    rest = lines.take()
    assert "\n" not in rest and not lines.size
    assert "".join(found) + rest == "".join(texts)


class Pipe:
    """What is written to it is read, and noted in `seen`."""

    def __init__(self) -> None:
        reading, self.writing = os.pipe()
        self.seen: list[str] = []
        self.tail: deque[str] = deque(maxlen=3)
        pipe = open(reading, "rb")  # noqa: SIM115 - `read_output` closes it
        self.thread = threading.Thread(target=read_output, args=(pipe, self.seen.append, self.tail))
        self.thread.start()

    def write(self, data: bytes) -> None:
        os.write(self.writing, data)

    def until(self, *texts: str) -> None:
        wait_until(lambda: self.seen == list(texts), 10, f"{texts} have been read")

    def close(self) -> None:
        if self.writing >= 0:
            os.close(self.writing)
        self.writing = -1
        self.thread.join()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_a_line_that_has_not_ended_comes_when_there_is_a_pause(pipe: Pipe) -> None:
    pipe.write(b"a\nb 1")
    pipe.until("a\n", "b 1")
    pipe.write(b" 2")
    pipe.until("a\n", "b 1", " 2")
    pipe.write(b" 3\nc")
    pipe.close()
    assert pipe.seen == ["a\n", "b 1", " 2", " 3\n", "c"]
    assert list(pipe.tail) == ["a", "b 1 2 3", "c"]


def test_a_line_that_goes_on_without_a_pause_comes_before_it_ends(pipe: Pipe) -> None:
    count = 0

    def has_come() -> bool:
        nonlocal count
        pipe.write(b".")
        count += 1
        return bool(pipe.seen)

    wait_until(has_come, 10, "some of the dots")
    pipe.write(b"\n")
    pipe.close()
    assert "".join(pipe.seen) == "." * count + "\n"
    assert list(pipe.tail) == ["." * count]


def test_a_descriptor_of_any_number_is_read() -> None:
    """A session may have thousands of files open, which `select` does not know."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, limits[1]), limits[1]))
    reading, writing = os.pipe()
    high = fcntl.fcntl(reading, fcntl.F_DUPFD, 2000)
    os.close(reading)
    seen: list[str] = []
    thread = threading.Thread(target=read_output, args=(open(high, "rb"), seen.append, deque()))  # noqa: SIM115
    try:
        thread.start()
        os.write(writing, b"a line that has not ended")
        wait_until(lambda: seen, 10, "it has been read")
    finally:
        os.close(writing)
        thread.join()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert seen == ["a line that has not ended"]


def test_a_line_of_one_source_is_not_continued_by_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for text, source in [
        ("1", "a"),
        (" 2", "a"),
        ("x\n", "b"),
        ("3\n", "a"),
        ("4", "a"),
        ("y\n", "b"),
    ]:
        pass_on(text, False, source)
    assert capsys.readouterr().out == "1 2\nx\n3\n4\ny\n"


TASKS = """
import sys
from tests.support import block
from distributed import LocalCluster, Executor

def bar(folder):
    for n in range(3):
        print(n, end=" ")
        sys.stderr.write(f"\\r{n}")
        block(f"{folder}/{n}")  # until both have been seen

if __name__ == "__main__":
    with LocalCluster(n_workers=1) as cluster, Executor(cluster) as e:
        e.submit(lambda: print("x" * 10_000_000)).result()
        e.submit(bar, sys.argv[1]).result()
"""


def test_long_lines_arrive_whole_and_bars_while_they_move(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(TASKS)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment["PYTHONPATH"] = str(ROOT)
    seen: dict[str, list[str]] = {"out": [], "err": []}
    process = subprocess.Popen(
        [sys.executable, script, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None and process.stderr is not None
    readers = [
        threading.Thread(target=read_output, args=(pipe, seen[name].append, deque()))
        for name, pipe in (("out", process.stdout), ("err", process.stderr))
    ]
    with process:
        for reader in readers:
            reader.start()
        for n in range(3):
            wait_until(lambda n=n: seen["out"][-1:] == [f"{n} "], 30)  # type: ignore[misc]
            wait_until(lambda n=n: seen["err"][-1:] == [f"\r{n}"])  # type: ignore[misc]
            (tmp_path / str(n)).touch()
        for reader in readers:
            reader.join()
    assert seen["out"] == ["x" * 10_000_000 + "\n", "0 ", "1 ", "2 "]
    assert seen["err"] == ["\r0", "\r1", "\r2"]


def read_input() -> tuple[int, bytes, str, int]:
    """What a task, and a program that it starts, get from standard input."""
    said = subprocess.run(["cat"], capture_output=True, check=True).stdout
    return len(said), sys.stdin.buffer.read(), sys.stdin.read(), sys.stdin.fileno()


def test_standard_input_of_a_worker_is_empty(executor: Executor) -> None:
    assert executor.submit(read_input).result(10) == (0, b"", "", 0)


def register(path: str) -> None:
    import atexit

    atexit.register(Path(path).touch)


@pytest.mark.parametrize("how", ["close", "shutdown"])
def test_what_a_task_has_registered_runs_at_the_end(tmp_path: Path, how: str) -> None:
    path = tmp_path / "ended"
    with LocalCluster(n_workers=1) as cluster, Executor(cluster) as executor:
        executor.submit(register, str(path)).result()
        assert not path.exists()
        if how == "shutdown":
            executor.shutdown()
            wait_until(path.exists, 10, "the function has been called")
    assert path.exists()
