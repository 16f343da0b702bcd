"""What a worker is asked for beside its tasks: calls, and files to install.

The scheduler asks again on each new connection, for the question or the answer may have been lost with the
last one. So a worker remembers by their numbers what it is at and what it has answered: nothing is done
twice, and the answer is the same. Numbers only grow, also from one life of the scheduler to the next.
"""

from __future__ import annotations

from typing import Any

from distributed.messages import Answer

# A larger result of a call stays on its worker as data, and its client fetches it from there.
MAX_SAID_BYTES = 64 << 10

# Answers that are kept, and how large one may be: together they are little beside the data of a worker. One
# that is needed again is among the newest, since the scheduler asks only for what it still waits for.
MAX_ANSWERS = 64
MAX_ANSWER_BYTES = 1 << 20


class Answers:
    def __init__(self) -> None:
        self.at_work: set[int] = set()
        self.kept: dict[int, Answer] = {}
        self._newest_forgotten = 0

    def is_new(self, number: int) -> bool:
        """Whether it has to be done; then it counts as being at work. Without a number it always has."""
        if not number:
            return True
        known = number in self.at_work or number in self.kept
        if known or number <= self._newest_forgotten:
            return False
        self.at_work.add(number)
        return True

    def again(self, number: int) -> Answer | None:
        """What was answered before; None if that is still to come."""
        if number in self.at_work:
            return None
        return self.kept.get(number) or lost(number)

    def note(self, answer: Answer) -> None:
        """It has been done."""
        self.at_work.discard(answer.request)
        if len(answer.value) > MAX_ANSWER_BYTES:
            answer = lost(answer.request)
        self.kept[answer.request] = answer
        while len(self.kept) > MAX_ANSWERS:
            oldest = next(iter(self.kept))
            del self.kept[oldest]
            self._newest_forgotten = max(self._newest_forgotten, oldest)


def lost(number: int) -> Answer:
    """What is answered in place of an answer that is not here any more."""
    return Answer(number, False, _LOST)


def data_in(reply: Any) -> list[str]:
    """The keys of what has stayed on workers as data, if the reply is to a call of several."""
    answers = reply.values() if type(reply) is dict else ()
    return [answer[1][0] for answer in answers if _is_data(answer)]


def _is_data(answer: Any) -> bool:
    match answer:
        case (True, (str(), int())):
            return True
    return False


_LOST = (
    "it was done, but the answer was lost with the connection to the scheduler, and was not kept "
    f"(only the last {MAX_ANSWERS} of at most {MAX_ANSWER_BYTES:,} bytes are)"
)
