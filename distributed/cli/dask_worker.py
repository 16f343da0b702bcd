"""`python -m distributed.cli.dask_worker`, as programs for dask type `dworker`."""

from __future__ import annotations

from distributed.cli.worker import dworker as main

__all__ = ["main"]

if __name__ == "__main__":
    import distributed_commands

    distributed_commands.dworker()
