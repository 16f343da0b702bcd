"""The process that has one system in it, run by the interpreter where that is installed.

    python -m benchmarks.serve <name of a module of peers/>

It answers the lines of stdin, "workload size start", each with a line of JSON on stdout: the figures, or
why there are none.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import traceback
from typing import Any, TextIO

from benchmarks.system import Cannot, System
from benchmarks.workloads import WORKLOADS


def main() -> None:
    # What libraries and their workers print to stdout must not get among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    system: System = importlib.import_module(f"benchmarks.peers.{sys.argv[1]}").start()
    try:
        _say(answers, {"name": f"{system.name}, Python {platform.python_version()}"})
        for line in sys.stdin:
            workload, size, start = line.split()
            _say(answers, measure(system, workload, int(size), int(start)))
    finally:
        system.close()


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    print(json.dumps(answer), file=answers, flush=True)


def measure(system: System, name: str, size: int, start: int) -> dict[str, Any]:
    try:
        if name in system.own:
            return {"figures": system.own[name](size, start)}
        run = WORKLOADS[name].run
        if run is None:
            return {"cannot": "a measure of our own parts"}
        return {"figures": run(system, size, start)}
    except Cannot as error:
        return {"cannot": str(error)}
    except Exception:
        return {"error": traceback.format_exc()}


if __name__ == "__main__":
    main()
