"""The progress bar of notebooks, in a notebook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from distributed import LocalCluster

SETUP = """
import os, time
from distributed import Executor, progress
executor = Executor({address!r})
def block(path):
    while not os.path.exists(path):
        time.sleep(0.01)
    return path
gates = [{directory!r} + f"/{{n}}" for n in range(3)]
futures = executor.map(block, gates)
"""

SHOW = """
from unittest.mock import patch
import distributed.notebook
bars = []
make = distributed.notebook.IntProgress
with patch("distributed.notebook.IntProgress", lambda **k: bars.append(make(**k)) or bars[-1]):
    progress(futures)
print([future.status for future in futures])
"""

# This cell does not touch the bar.
FINISH = """
(bar,) = bars
before = bar.value
for gate in gates:
    open(gate, "w").close()
deadline = time.monotonic() + 20
while (bar.value, bar.bar_style) != (3, "success") and time.monotonic() < deadline:
    time.sleep(0.01)
print(before, bar.value, bar.max, bar.bar_style)
executor.close()
"""


def execute(*cells: str) -> list[list[dict[str, Any]]]:
    """The outputs of each of the cells of a notebook."""
    executed = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("execute_notebook.py"))],
        input=json.dumps(cells),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert executed.returncode == 0, executed.stderr
    outputs: list[list[dict[str, Any]]] = json.loads(executed.stdout)
    return outputs


def printed(outputs: list[dict[str, Any]]) -> list[str]:
    return [output["text"] for output in outputs if output["output_type"] == "stream"]


def test_the_bar_returns_at_once_and_moves_by_itself(cluster: LocalCluster, tmp_path: Path) -> None:
    setup = SETUP.format(address=cluster.scheduler_address, directory=str(tmp_path))
    _, shown, finished = execute(setup, SHOW, FINISH)
    assert printed(shown) == ["['pending', 'pending', 'pending']\n"]
    (widget,) = [output for output in shown if output["output_type"] == "display_data"]
    assert "application/vnd.jupyter.widget-view+json" in widget["data"]
    assert printed(finished) == ["0 3 3 success\n"]
