"""Why tasks end without a result, in words."""

from __future__ import annotations

from distributed.core.states import ERRED, Error, Task

# Nobody is blamed for the end of a worker that was told to end, by a signal for instance. But a task may do
# that to its own worker, each time that it runs: after so many it is not run again.
MAX_DEPARTURES = 20


def inherited_error(task: Task) -> Error | None:
    """Why the task cannot be computed, if an input of it, or its own recipe, is gone."""
    if task.function is None:
        return ("lost", f"{task.key} was scattered, and every worker that held it is gone")
    for dependency in task.dependencies:
        if dependency.state is ERRED:
            return dependency.error
    return None


def killed(task: Task, output: str) -> str:
    lines = [
        f"{len(task.deaths)} workers died while {task.key} ran there or its result was being pickled; "
        "it is not run again:"
    ]
    lines += [f"  {number}. {death}" for number, death in enumerate(task.deaths, 1)]
    if output:
        lines.append("What the last of them said last:")
        lines += [f"    {line}" for line in output.splitlines()]
    return "\n".join(lines)


def departed(task: Task) -> str:
    return (
        f"{task.key} was running on {MAX_DEPARTURES} workers that were told to end (by SIGTERM, SIGINT or "
        "their nanny). It does not run again: if it sends such signals itself, let it not; otherwise "
        "submit it anew"
    )
