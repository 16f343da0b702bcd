"""Questions about what happens and why, each answered by one `Reply`.

`why` asks the worker first if the answer lies there: whoever waits for a task wants to know what that is
doing now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from distributed.core.dump import pages
from distributed.core.reasons import blocker, why
from distributed.core.states import Client, Worker
from distributed.messages import Ask, Reply

if TYPE_CHECKING:
    from distributed.core.scheduler import SchedulerCore

# A worker that has not answered by then is busy with something else than answering: that is said.
WORKER_SECONDS = 1.0


class Why(NamedTuple):
    """Waits until a worker has answered, or does not."""

    client: Client
    request: int
    key: str
    worker: Worker
    question: Any
    deadline: float


class Insight:
    """Answers `why`, `story`, `dump` and `more`; whatever else is asked is `requests`' business."""

    def __init__(self, core: SchedulerCore) -> None:
        self._core = core
        self._whys: list[Why] = []
        self._dumps: dict[Client, Iterator[dict[str, Any]]] = {}  # the last that each has begun

    def on_ask(self, client: Client, message: Ask) -> None:
        answer = QUESTIONS.get(message.question)
        if answer is None:
            self._core.requests.on_ask(client, message)
        elif message.question in _OF_A_KEY and (not message.keys or len(message.keys) != 1):
            text = f"{message.question} is asked about one key"
            client.out.append(Reply(message.request, False, text))
        else:
            answer(self, client, message)

    def _on_why(self, client: Client, message: Ask) -> None:
        core = self._core
        (key,) = message.keys or ("",)
        task = core.lifecycle.tasks.get(key)
        worker = blocker(task)[0].worker if task is not None else None
        if worker is not None and core.audits.ask(worker, core.now):
            question = core.audits.accounts[worker].question
            deadline = core.now + WORKER_SECONDS
            self._whys.append(Why(client, message.request, key, worker, question, deadline))
        else:
            self._tell_why(client, message.request, key)

    def _tell_why(self, client: Client, request: int, key: str) -> None:
        core = self._core
        text = why(core.lifecycle, core.audits.accounts, key, core.now)
        client.out.append(Reply(request, True, text))

    def settle(self) -> None:
        """Answer those whose worker has answered, or does not. Called after every batch."""
        if not self._whys:
            return
        whys, self._whys = self._whys, []
        for open_ in whys:
            account = self._core.audits.accounts.get(open_.worker)
            if (
                account is not None
                and account.question is open_.question
                and self._core.now < open_.deadline
            ):
                self._whys.append(open_)
            else:
                self._tell_why(open_.client, open_.request, open_.key)

    def _on_story(self, client: Client, message: Ask) -> None:
        (key,) = message.keys or ("",)
        client.out.append(Reply(message.request, True, self._core.story.of(key)))

    def _on_dump(self, client: Client, message: Ask) -> None:
        self._dumps[client] = pages(self._core)
        self._on_more(client, message)

    def _on_more(self, client: Client, message: Ask) -> None:
        """The next part of the dump, None after the last."""
        page = next(self._dumps.get(client, iter(())), None)
        if page is None:
            self._dumps.pop(client, None)
        client.out.append(Reply(message.request, True, page))

    def client_lost(self, client: Client) -> None:
        self._dumps.pop(client, None)
        self._whys = [open_ for open_ in self._whys if open_.client is not client]


_OF_A_KEY = ("why", "story")

QUESTIONS: dict[str, Callable[[Insight, Client, Ask], None]] = {
    "why": Insight._on_why,
    "story": Insight._on_story,
    "dump": Insight._on_dump,
    "more": Insight._on_more,
}
