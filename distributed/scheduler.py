"""What programs import from here elsewhere. The scheduler's own code is in `core/scheduler.py`."""

from distributed.errors import KilledWorker

__all__ = ["KilledWorker"]
