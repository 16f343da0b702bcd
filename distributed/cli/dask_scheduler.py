"""`python -m distributed.cli.dask_scheduler`, as programs for dask type `dscheduler`."""

from __future__ import annotations

from distributed.cli.scheduler import dscheduler as main

__all__ = ["main"]

if __name__ == "__main__":
    import distributed_commands

    distributed_commands.dscheduler()
