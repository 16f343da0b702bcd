"""The first example that people run gives the right answer, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "wordcount.py"


def run(*arguments: str, mark: str = "") -> subprocess.CompletedProcess[str]:
    """Run the example. Its processes and those they start have `mark` in their environment."""
    return subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "WORDCOUNT_TEST": mark},
        capture_output=True,
        text=True,
        timeout=120,
    )


def library_files() -> list[str]:
    files: list[str] = runpy.run_path(str(EXAMPLE))["library_files"]()
    return files


def plain_count(files: list[str]) -> Counter[str]:
    """The same, counted in this process."""
    words: Counter[str] = Counter()
    for file in files:
        text = Path(file).read_bytes().decode(errors="replace")
        words.update(re.findall(r"[A-Za-z_]+", text))
    return words


# One file: nothing to add up. More than FAN_IN * FAN_IN: three levels of sums.
@pytest.mark.parametrize(("n_files", "n_tasks"), [(1, 1), (70, 70 + 9 + 2 + 1)])
def test_the_words_are_those_of_a_plain_count(n_files: int, n_tasks: int) -> None:
    example = run("--files", str(n_files), "--workers", "2")
    assert example.returncode == 0, example.stderr
    words = plain_count(library_files()[:n_files])
    # Words that are equally frequent come in any order.
    printed = re.findall(r"^ *([\d,]+)  (\w+)$", example.stdout, re.MULTILINE)
    counts = [int(count.replace(",", "")) for count, _ in printed]
    assert counts == [count for _, count in words.most_common(10)]
    assert counts == [words[word] for _, word in printed]
    assert len({word for _, word in printed}) == 10
    assert f"{words.total():,} words in " in example.stdout
    assert f" {n_tasks} tasks, " in example.stdout
    assert "workers: 2, threads: 2" in example.stdout


def test_no_process_is_left_behind() -> None:
    mark = uuid.uuid4().hex
    assert run("--files", "5", "--workers", "2", mark=mark).returncode == 0
    deadline = time.monotonic() + 10
    while left := processes_with(mark):
        assert time.monotonic() < deadline, f"still there: {left}"


def processes_with(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("WORDCOUNT_TEST") == mark:
                found.append(process)
        except psutil.Error:
            continue  # somebody else's, or it has just ended
    return found


def test_there_are_many_files_and_none_that_was_installed() -> None:
    files = library_files()
    assert len(files) > 500
    assert not [file for file in files if "site-packages" in file]
