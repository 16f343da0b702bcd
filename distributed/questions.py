"""What a client has asked the scheduler, and which of it may be asked again."""

from __future__ import annotations

import threading
from typing import Any

from distributed.messages import Ask, IsLocked, Message, Replicate, Scatter, Upload

# Those that are asked again when the connection is back: asking twice is as asking once. Others may have
# been acted on, so that only their caller can know what to do.
REPEATABLE = (Ask, IsLocked, Replicate, Scatter, Upload)


class Question:
    """A request to the scheduler that has not been answered."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.answered = threading.Event()
        self.ok = False
        self.value: Any = None
        self.failure: Exception | None = None
