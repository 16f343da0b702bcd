"""python -m tests.chaos --minutes M [--seed N]"""

from __future__ import annotations

import argparse
import random
import sys
import time

from tests.chaos.cluster import WORKER_TIMEOUT
from tests.chaos.faults import Mix
from tests.chaos.storm import Report, Storm

# One storm, on one cluster. Then another, with the next seed.
STORM_SECONDS = 120.0
RESTARTS = 3
PATIENCE = 120.0
# Every second process that is stopped stands still for longer than it is waited for.
STOP = 2 * WORKER_TIMEOUT


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="of the first storm [default: any]")
    parser.add_argument("--quiet", action="store_true", help="print no faults, only their counts")
    options = parser.parse_args()
    seed = random.SystemRandom().getrandbits(30) if options.seed is None else options.seed
    end = time.monotonic() + options.minutes * 60
    failures = 0
    while (left := end - time.monotonic()) > 0:
        failures += not storm(seed, min(STORM_SECONDS, left), options.quiet)
        seed += 1
    return 1 if failures else 0


def storm(seed: int, seconds: float, quiet: bool) -> bool:
    print(f"Storm {seed}, {seconds:.0f} s", flush=True)
    start = time.monotonic()

    def say(text: str) -> None:
        if not quiet:
            print(f"  {time.monotonic() - start:6.1f} s  {text}", flush=True)

    report = Storm(seed, seconds, RESTARTS, PATIENCE, Mix(stop=STOP), say).run()
    show(report)
    return not report.failure


def show(report: Report) -> None:
    for name in ("workloads", "faults", "outcomes"):
        counts = getattr(report, name)
        print(f"  {sum(counts.values()):,} {name}")
        for what, count in counts.most_common():
            print(f"    {count:7,}  {what}")
    if report.failure:
        print(f"  Failed, after {report.seconds:.0f} s:\n{report.failure}")
    else:
        print(f"  All was well, for {report.seconds:.0f} s.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
