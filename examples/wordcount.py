"""Count the words of Python's own library on a cluster: `make demo`.

Starts a scheduler and workers on this machine, as processes that talk over TCP, and shows how a real
job looks: `map` a function over files, combine the results on the workers without bringing them here,
fetch only the answer.
"""

from __future__ import annotations

import argparse
import re
import sysconfig
import time
from collections import Counter
from pathlib import Path

from distributed import Executor, Future, progress

WORD = re.compile(r"[A-Za-z_]+")
# How many counts one task of the reduction adds up.
FAN_IN = 8


def count_words(path: str) -> Counter[str]:
    return Counter(WORD.findall(Path(path).read_text("utf-8", errors="replace")))


def add_up(counts: list[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return total


def library_files() -> list[str]:
    """The sources of the standard library of this Python."""
    library = Path(sysconfig.get_path("stdlib"))
    files = sorted(library.rglob("*.py"))
    installed = {"site-packages", "dist-packages"}
    return [str(file) for file in files if installed.isdisjoint(file.parts)]


def reduce_by_tree(executor: Executor, counts: list[Future]) -> list[Future]:
    """Submit all levels of the reduction; the last future is the total.

    The inputs of a task are futures: its data goes from worker to worker, not through this process.
    """
    tasks: list[Future] = []
    while len(counts) > 1:
        groups = [counts[start : start + FAN_IN] for start in range(0, len(counts), FAN_IN)]
        counts = executor.map(add_up, groups)
        tasks += counts
    return tasks


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--workers", type=int, help="worker processes [one for each core]")
    parser.add_argument("--files", type=int, help="count only so many files, at least one")
    options = parser.parse_args()

    files = library_files()[: options.files and max(1, options.files)]
    with Executor(n_workers=options.workers) as executor:
        print(executor)
        print(f"Counting the words of {len(files):,} files:")
        start = time.perf_counter()
        counts = executor.map(count_words, files)
        sums = reduce_by_tree(executor, counts)
        progress(counts, sums)
        total = (sums or counts)[-1].result()
        seconds = time.perf_counter() - start
        tasks = len(counts) + len(sums)

    for word, times in total.most_common(10):
        print(f"{times:>9,}  {word}")
    print(
        f"{sum(total.values()):,} words in {seconds:.2f} s: "
        f"{tasks:,} tasks, {tasks / seconds:,.0f} tasks a second"
    )


if __name__ == "__main__":
    main()
