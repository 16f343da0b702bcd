"""What is asked about coroutines at every call.

Their event loop is in `eventloop.py`: asyncio is imported for the first of them only, since that takes
a tenth of the time in which a worker starts.
"""

from __future__ import annotations

import threading
import types

# What a call of an `async def` function returns: it is not the result yet, or can never be one.
AWAITED = frozenset({types.CoroutineType, types.AsyncGeneratorType})

_here = threading.local()  # `serves` in the thread of an EventLoop


def serve_here() -> None:
    """This thread runs an event loop from now on."""
    _here.serves = True


def check_may_block() -> None:
    """Raises RuntimeError in the event loop of a worker. The thread that is about to wait there would hold
    up all coroutines, and what it waits for may be one of them."""
    if getattr(_here, "serves", False):
        raise RuntimeError(
            "a coroutine must not hold up the event loop of its worker: use `await future`, and `await "
            "asyncio.to_thread(f)` for a function that waits, such as gather, compute or Lock.acquire"
        )
