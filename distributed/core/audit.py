"""The scheduler asks every worker, again and again, what it has, and mends what its own books have wrong.

Nothing should ever be wrong: whatever is lost with a connection is found out when the next one says hello.
This is for what nobody has thought of.

A disagreement must be told from what is merely on its way. A connection keeps the order of what it carries.
So the worker answers after it has taken in all that was said before the question, and the answer comes
after all that it had reported. What was in the books before the question, and is there still when the
answer comes, the worker must have. What it has must be in the books, unless they let go of it while the
question was open: that is noted (`sent`). Only what it holds and is asked about goes in parts.

Each question has a number. One that is not answered for long is asked again; the answer to the first counts
for nothing then, nor does one that comes by another connection than the question went.

While the scheduler recovers from the death of an earlier one, the books have not found their order yet, and
nothing is compared (`recovery.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from distributed.core.outgoing import append
from distributed.core.reports import Reports
from distributed.core.states import PROCESSING, Peer, Task, Worker
from distributed.core.story import Story
from distributed.messages import AUDIT_KEYS, Audit, Audited, Drop, Free, Holds, Message, Retract

# How often each worker is asked. Whoever waits for lost work waits about so long; an answer takes a
# worker with a full stock of short tasks a millisecond.
AUDIT_SECONDS = 5.0
# A question is taken for lost and asked again after so long. A worker may be silent for longer: the next
# question then waits for it behind the first.
LOST_SECONDS = 15.0


class Question:
    """One that has been asked and not been answered, and the books as they were."""

    def __init__(
        self, number: int, worker: Worker, limit: int, keys: list[str], now: float
    ) -> None:
        self.number = number
        self.peer: Peer = worker.peer
        self.in_recovery = False
        self.asked_at = now
        self.limit = limit  # assignments below it had been sent
        self.keys = frozenset(keys)
        self.dropped = [a for a, task in worker.assigned.items() if not isinstance(task, Task)]
        self.retracting = worker.thief is not None
        self.freed: set[str] = set()  # since then

    def note(self, said: list[Message]) -> None:
        """This is said to the worker while the question is open."""
        for message in said:
            if type(message) is Free:
                self.freed.update(message.keys)
            elif type(message) is Retract:
                self.retracting = False  # the answer to this one may come later


class Account:
    """What has come of asking one worker."""

    def __init__(self, due: float) -> None:
        self.due = due
        self.question: Question | None = None
        self.answer: Audited | None = None
        self.answered_at = 0.0
        self.asked = 0  # so many of the keys that it should hold have been asked about


class Audits:
    """Asks, and compares the answers with the books. `log` has what was wrong, in words."""

    def __init__(self, reports: Reports, story: Story) -> None:
        self.accounts: dict[Worker, Account] = {}
        self.log: list[str] = []
        self._story = story
        self._reports = reports
        self._lifecycle = reports.lifecycle
        self._queues = reports.queues
        self._open: dict[Worker, Question] = {}
        self._numbers = 0

    # Questions

    def tick(self, workers: Iterable[Worker], now: float) -> None:
        """Ask those that have not been asked for long. Whoever is not among the workers is forgotten."""
        accounts, self.accounts = self.accounts, {}
        for worker in workers:
            account = accounts.get(worker) or Account(now + AUDIT_SECONDS)
            self.accounts[worker] = account
            if now >= account.due:
                self.ask(worker, now)
        self._open = {w: q for w, q in self._open.items() if w in self.accounts}

    def ask(self, worker: Worker, now: float) -> bool:
        """Ask the worker now, unless it is being asked; false if it cannot be."""
        if worker.gone_since is not None:
            return False
        account = self.accounts.setdefault(worker, Account(now))
        question = account.question
        if question is None or question.peer != worker.peer or _is_lost(question, now):
            self._ask(worker, account, now)
        return True

    def _ask(self, worker: Worker, account: Account, now: float) -> None:
        start = account.asked if account.asked < len(worker.holds) else 0
        account.asked = start + AUDIT_KEYS
        keys = [task.key for task in islice(worker.holds, start, account.asked)]
        self._numbers += 1
        limit = self._queues.next_assignment
        question = Question(self._numbers, worker, limit, keys, now)
        question.in_recovery = self._queues.recovery.is_under_way
        account.question = self._open[worker] = question
        account.due = now + AUDIT_SECONDS
        worker.out.append(Audit(question.number, keys))

    def sent(self) -> None:
        """Note what is about to be said to workers that are being asked."""
        for worker, question in self._open.items():
            question.note(worker.out)

    # Answers

    def on_audited(self, worker: Worker, message: Audited) -> None:
        account = self.accounts.get(worker)
        question = account.question if account is not None else None
        if account is None or question is None or question.number != message.number:
            return
        if question.peer != worker.peer:
            return
        question.note(worker.out)  # what other events of this batch have brought about
        account.question = None
        del self._open[worker]
        account.answer = message
        account.answered_at = self._queues.now
        if question.in_recovery or self._queues.recovery.is_under_way:
            return
        self._check_given(worker, question, message)
        self._check_had(worker, question, message)
        self._check_copies(worker, question, message)

    def _check_given(self, worker: Worker, question: Question, message: Audited) -> None:
        """What the worker was given before the question, it has, or has reported."""
        has = {item[0] for item in message.jobs}
        lost = [a for a in worker.assigned if a < question.limit and a not in has]
        given = [worker.assigned.pop(assignment) for assignment in lost]
        again = [task for task in given if isinstance(task, Task)]
        worker.seceded.difference_update(lost)
        for assignment in lost:
            worker.started.pop(assignment, None)
        worker.stock.give_back(lost)
        for task in again:
            task.worker = None
        for task in again:
            # It may have failed, or been let go, with another of these.
            if task.state is PROCESSING:
                self._lifecycle.requeue(task)
        self._mend(worker, "does not have {}, which runs again", _keys(again))
        self._mend(worker, "has given {} up long ago", [t for t in given if isinstance(t, str)])
        if question.retracting and worker.thief is not None:
            thief, worker.thief = worker.thief, None
            worker.begun.clear()
            self._mend(worker, "has not said what it hands back for worker {}", [thief.name])
        if lost:
            self._queues.relieved(worker)

    def _check_had(self, worker: Worker, question: Question, message: Audited) -> None:
        """What the worker has been given, the books know, and whether it still counts."""
        unknown, kept, silent = [], [], []
        given_up = {a for a in question.dropped if not isinstance(worker.assigned.get(a), Task)}
        for assignment, key, dropped, seceded in message.jobs:
            if assignment not in worker.assigned:
                unknown.append(key)
                worker.stock.strays.add(assignment)
                worker.assigned[assignment] = key
                append(worker, Drop, assignment)
            elif assignment in given_up and not dropped:
                kept.append(key)
                append(worker, Drop, assignment)
            if seceded and assignment not in worker.seceded:
                silent.append(key)
                worker.seceded.add(assignment)
        self._mend(worker, "has {}, which nobody knows to be there: it gives it up", unknown)
        self._mend(worker, "has not heard that {} was called off", kept)
        self._mend(worker, "has not said that {} waits for others", silent)
        if silent:
            self._queues.relieved(worker)

    def _check_copies(self, worker: Worker, question: Question, message: Audited) -> None:
        """The worker holds what it is believed to, as far as it was asked, and nothing else, as far as it
        says."""
        tasks = self._lifecycle.tasks
        asked = question.keys - question.freed
        believed = self._lifecycle.known(key for key in message.absent if key in asked)
        absent = [task for task in believed if task in worker.holds]
        gone = [task for task in absent if self._lifecycle.remove_holder(task, worker)]
        self._lifecycle.lose(gone)
        self._mend(worker, "does not hold {}", _keys(absent))
        unknown = []
        for key, nbytes, version in message.holds:
            task = tasks.get(key)
            # While a task runs there, its result of an earlier attempt may still be there.
            anew = task is not None and task.worker is worker and task.function is not None
            if not (anew or task in worker.holds or key in question.freed):
                unknown.append((key, nbytes, version))
        if unknown:
            self._reports.on_holds(worker, Holds(unknown))
        self._mend(worker, "holds {}, which nobody knew", [item[0] for item in unknown])

    def _mend(self, worker: Worker, what: str, keys: list[str]) -> None:
        """Say what was wrong with these."""
        if keys:
            self._lifecycle.repairs += len(keys)
            others = f" (and {len(keys) - 1} others)" if len(keys) > 1 else ""
            who = f"worker {worker.name}"
            self.log.append(f"the books were wrong: {who} {what.format(keys[0] + others)}")
            self._story.note(f"the books were wrong: {who} {what.format('it')}", keys)


def _is_lost(question: Question, now: float) -> bool:
    return now - question.asked_at > LOST_SECONDS


def _keys(tasks: Iterable[Task]) -> list[str]:
    return [task.key for task in tasks]
