"""Count the words in the sources of Python's standard library, on a cluster on this machine.

    python examples/wordcount.py [--files N] [--workers N]

It starts a scheduler and workers as processes of their own, has the workers read and count one file
a task, and merges the counts on the workers too: only the ten most frequent words come back here.
"""

from __future__ import annotations

import argparse
import os
import re
import sysconfig
import time
from collections import Counter
from pathlib import Path

from distributed import Executor, Future, progress

GROUP = 8  # counts that one task merges


def source_files() -> list[Path]:
    """All modules of the standard library, without what was installed beside it."""
    library = Path(sysconfig.get_path("stdlib"))
    installed = {"site-packages", "dist-packages"}
    return sorted(path for path in library.rglob("*.py") if installed.isdisjoint(path.parts))


def count_words(path: Path) -> Counter[str]:
    text = path.read_text(encoding="utf-8", errors="replace")
    return Counter(re.findall(r"[A-Za-z_]+", text))


def merge(counts: list[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return total


def most_frequent(counts: Counter[str], n: int) -> list[tuple[str, int]]:
    """The n most frequent words; equally frequent ones in alphabetical order."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:n]


def submit_all(executor: Executor, files: list[Path]) -> list[Future]:
    """Submit the whole computation; its last future is that of the total."""
    level = executor.map(count_words, files)
    futures = list(level)
    while len(level) > 1:
        groups = [level[i : i + GROUP] for i in range(0, len(level), GROUP)]
        level = executor.map(merge, groups)  # futures as arguments: the data stays on the workers
        futures += level
    return futures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, help="only the first so many files")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="(%(default)s)")
    args = parser.parse_args()
    if args.files is not None and args.files < 1:
        parser.error(f"--files {args.files}: at least one file is needed")
    files = source_files()[: args.files]

    with Executor(n_workers=args.workers, threads_per_worker=1) as executor:
        print(f"{executor} counts the words of {len(files)} files")
        start = time.perf_counter()
        futures = submit_all(executor, files)
        progress(futures)
        words = executor.submit(most_frequent, futures[-1], 10).result()
        seconds = time.perf_counter() - start

    for word, count in words:
        print(f"{count:10,}  {word}")
    tasks = len(futures) + 1
    print(f"{tasks} tasks in {seconds:.2f} s: {tasks / seconds:,.0f} tasks a second")


if __name__ == "__main__":
    main()
