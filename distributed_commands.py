"""The commands `dscheduler` and `dworker`, for their scripts and for LocalCluster.

`import distributed` brings all that a session needs, dask too, and so it is in the processes of workers,
where code of users runs. A scheduler and a nanny run none, and start in two thirds of the time without:
here the package comes without what its __init__ imports. This module stands beside the package because to
import a module of it would import all of it.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec, module_from_spec


def dscheduler() -> None:
    """Run the scheduler of a cluster; see distributed/cli.py."""
    _leave_out_the_session()
    from distributed import cli

    cli.dscheduler()


def dworker() -> None:
    """Run workers; see distributed/cli.py."""
    _leave_out_the_session()
    # Without a nanny tasks run in this very process.
    if "--no-nanny" in sys.argv:
        _start_as_worker()
        del sys.modules["distributed"]
    from distributed import cli

    cli.dworker()


def _start_as_worker() -> None:
    """Start this program once more with the environment of a worker: some of it counts only from the
    start of a process."""
    from distributed.environment import worker_environment

    missing = worker_environment(os.environ)
    if missing:
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **missing})


def _leave_out_the_session() -> None:
    spec = find_spec("distributed")
    assert spec is not None
    sys.modules.setdefault("distributed", module_from_spec(spec))
