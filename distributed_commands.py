"""The commands `dscheduler` and `dworker`, for their scripts, for dask's command line and for LocalCluster.

`import distributed` brings all that a session needs, dask too, and so it is in the processes of workers,
where code of users runs. A scheduler and a nanny run none, and start in two thirds of the time without:
here the package comes without what its __init__ imports, unless modules of the user are preloaded. This
module stands beside the package because to import a module of it would import all of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec

import click


def dscheduler(program: str | None = None) -> None:
    """Run the scheduler of a cluster; see distributed/cli/scheduler.py. Its help calls it `program`."""
    _leave_out_the_session()
    from distributed.cli.scheduler import dscheduler

    dscheduler(prog_name=program)


def dworker(program: str | None = None) -> None:
    """Run workers; see distributed/cli/worker.py. Its help calls it `program`."""
    is_left_out = _leave_out_the_session()
    # Without a nanny tasks run in this very process.
    if "--no-nanny" in sys.argv:
        _start_as_worker()
        if is_left_out:
            del sys.modules["distributed"]
    from distributed.cli.worker import dworker

    dworker(prog_name=program)


def _start_as_worker() -> None:
    """Start this program once more with the environment of a worker: some of it counts only from the
    start of a process."""
    from distributed.environment import worker_environment

    missing = worker_environment(os.environ)
    if missing:
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **missing})


def _leave_out_the_session() -> bool:
    """Whether it could be done: not if the session is here already, or a module that is preloaded may want
    it."""
    if "distributed" in sys.modules or any(word.startswith("--preload") for word in sys.argv):
        return False
    spec = find_spec("distributed")
    assert spec is not None
    sys.modules["distributed"] = module_from_spec(spec)
    return True


# For dask's command line ------------------------------------------------------------------------


def _subcommand(name: str, help: str, run: Callable[[str], None]) -> click.Command:
    """A command of `dask` that does as ours. Nothing of ours is imported before it is used: `dask` loads
    all of its commands, whichever is typed."""

    @click.command(
        name,
        short_help=help,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        add_help_option=False,
    )
    @click.pass_context
    def command(ctx: click.Context) -> None:
        sys.argv[1:] = ctx.args
        run(f"dask {name}")

    return command


@click.command(
    "ssh",
    short_help="Not there: start workers by ssh yourself.",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    add_help_option=False,
)
def dask_ssh() -> None:
    """Say what to type in its place."""
    raise click.ClickException(
        "there is no `dask ssh` here: type `dscheduler --host ADDRESS --insecure` on one machine and "
        "`ssh HOST dworker ADDRESS:8786 --insecure` for each other, on a network that you trust"
    )


dask_scheduler = _subcommand("scheduler", "Run the scheduler of a cluster.", dscheduler)
dask_worker = _subcommand("worker", "Run workers for a scheduler.", dworker)
