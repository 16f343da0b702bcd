"""python -m tests.sim --seed N | --seeds A-B | --minutes M | --sequences N"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from tests.sim import machine
from tests.sim.run import SEEDS, Report, run

# The garbage collector looks at what is new whenever there is so much more of it.
COLLECTED_OBJECTS = 20_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="Hunt for lost work.")
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--seed", type=int, help="replay one run, and print all that happens")
    group.add_argument("--seeds", help="run these, as in 0-99,2099")
    group.add_argument(
        "--minutes", type=float, help="run fresh seeds for so long; keep those that fail"
    )
    group.add_argument("--sequences", type=int, help="so many short ones, drawn by hypothesis")
    options = parser.parse_args()
    if options.sequences is not None:
        machine.hunt(options.sequences)
        return 0
    if options.seed is not None:
        return replay(options.seed)
    if options.seeds is not None:
        return hunt(named_seeds(options.seeds))
    return hunt(fresh_seeds(options.minutes * 60), keep=True)


def named_seeds(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def replay(seed: int) -> int:
    report = run(seed, traced=True)
    sys.stdout.write("".join(f"{line}\n" for line in report.trace))
    print(report.failure or f"seed {seed} is well: {report.events:,} events")
    return 1 if report.failure else 0


def fresh_seeds(seconds: float) -> Iterator[int]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield random.SystemRandom().randrange(1 << 40)


def hunt(seeds: Iterable[int], keep: bool = False) -> int:
    # What a run makes mostly lives as long as the run.
    gc.freeze()
    gc.set_threshold(COLLECTED_OBJECTS)
    reports: list[Report] = []
    for seed in seeds:
        report = run(seed)
        reports.append(report)
        if report.failure:
            print(f"\npython -m tests.sim --seed {seed}\n{report.failure}", flush=True)
            if keep:
                with SEEDS.open("a") as file:
                    file.write(f"{seed}\n")
    summarize(reports)
    return 1 if any(report.failure for report in reports) else 0


def summarize(reports: list[Report]) -> None:
    events = sum(report.events for report in reports)
    seconds = sum(report.seconds for report in reports)
    faults: Counter[str] = Counter()
    for report in reports:
        faults.update(report.faults)
    failed = [report.seed for report in reports if report.failure]
    print(
        f"{len(reports):,} seeds, {events:,} events, {sum(r.looks for r in reports):,} outcomes, "
        f"{sum(r.virtual for r in reports) / 3600:,.1f} virtual hours "
        f"in {seconds:,.1f} s: {events / max(seconds, 1e-9):,.0f} events a second"
    )
    print("faults:", ", ".join(f"{name} {count:,}" for name, count in sorted(faults.items())))
    print(f"failed: {', '.join(map(str, failed)) or 'none'}")


sys.exit(main())
