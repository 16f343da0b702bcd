"""What a client has asked the scheduler, and which of it may be asked again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from distributed.errors import DistributedError
from distributed.keys import shown_text
from distributed.messages import Ask, IsLocked, Message, Replicate, Scatter, Upload

if TYPE_CHECKING:
    from distributed.connection import Connection

# Those that are asked again when the connection is back: asking twice is as asking once. Others may have
# been acted on, so that only their caller can know what to do.
REPEATABLE = (Ask, IsLocked, Replicate, Scatter, Upload)

# To say why a task has not ended in time, the scheduler is waited for this long.
REASON_SECONDS = 1.0


class Question:
    """A request to the scheduler that has not been answered."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.answered = threading.Event()
        self.ok = False
        self.value: Any = None
        self.failure: Exception | None = None


def reason_for(connection: Connection, key: str) -> str:
    """Why a task has not ended, as far as that can be said now."""
    alone = connection.alone_seconds
    if alone is not None:
        return f"there has been no scheduler at {connection.address.url} for {alone:.1f} s"
    try:
        text = connection.ask(lambda request: Ask(request, "why", (key,)), REASON_SECONDS)
    except (DistributedError, OSError) as error:
        return f"the scheduler does not say why ({error})"
    return shown_text(text).replace(f"client {connection.core.id}", "this Executor")
