"""The exceptions of this package: one tree, so that `except DistributedError` catches them all.

Each also derives from the standard exception that a caller would expect in its place.
"""

from __future__ import annotations

import builtins
import concurrent.futures


class DistributedError(Exception):
    """Base of all exceptions of this package."""


class ProtocolError(DistributedError):
    """A peer sent what is not a message of this protocol, or a message is too large to send."""


class SchedulerGone(DistributedError, OSError):
    """No scheduler can be reached, or it refused us."""


class CancelledError(DistributedError, concurrent.futures.CancelledError):
    """The future was cancelled, by its user or by a restart of the cluster."""


class TimeoutError(DistributedError, builtins.TimeoutError):
    """What was waited for did not happen in the time given."""


class KilledWorker(DistributedError):
    """Four workers died while the task ran there, or while its result was being pickled; it does not run
    again. The text says how each of them died, and what the last one said last."""


class OutOfMemory(DistributedError, MemoryError):
    """The results that are wanted do not fit into the memory of the workers, so one that was lost is not
    made again. The text has the sizes and the limits."""


class LostData(DistributedError):
    """Data is gone that cannot be computed again: scattered data whose workers died, or a result
    whose inputs are gone."""


class SerializationError(DistributedError, TypeError):
    """An object cannot be turned into bytes, or the bytes cannot be turned into an object. Also of a task
    whose inputs cannot be brought to one worker for that reason."""


class Reschedule(Exception):
    """Raised by a task that is to run again, on its worker or on another; that uses up no retry."""


class RemoteError(DistributedError):
    """Stands for an exception of a task that could not be pickled.

    `type_name` is the name of its class, the text is what it said.
    """

    def __init__(self, type_name: str, text: str) -> None:
        super().__init__(f"{type_name}: {text}")
        self.type_name = type_name
        self.text = text

    def __reduce__(self) -> tuple[type[RemoteError], tuple[str, str]]:
        return RemoteError, (self.type_name, self.text)
