"""ClientCore: what a client knows of the work it has asked for.

Theory of operation
-------------------
There is one `Entry` for each key that futures of this client refer to, and for each input of those.
`handles` counts the futures; while there are any, the scheduler knows that we want the key and tells
us what becomes of it. `dependents` counts the entries that have it as an input: until those are gone
too the recipe is kept, because after a break in the connection, or when a new scheduler takes the
place of one that died, everything is submitted again from here. The scheduler takes what it knows
already as a mere wish to be told.

What is let go of must not come back. So what goes out keeps its order: a key is released before it is
submitted anew. What comes in may have been said before the scheduler heard that: releases have numbers,
the scheduler says which it has heard, and until then an entry that was made after a release (`since`)
takes no news.

An entry that was cancelled is taken out of the table. Futures that refer to it stay cancelled, and the
same key may be submitted anew.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import Any

from distributed.core.client_events import (
    Abandon,
    Adopt,
    Again,
    Answered,
    Await,
    CallOff,
    Calls,
    Caution,
    Conceding,
    Connected,
    Contending,
    Desist,
    Dropped,
    Effect,
    Firing,
    Introduced,
    Rejected,
    Sending,
    Tell,
    Unreachable,
    Wake,
    Welcomed,
)
from distributed.core.contenders import DENIED, HOLDING, WAITING, Contenders
from distributed.core.entries import (
    CANCELLED,
    ERROR,
    FINISHED,
    LOST,
    PENDING,
    Entry,
    FiredEntries,
    Group,
    Item,
    Options,
    Waiter,
    as_submitted,
    in_chunks,
    to_run_again,
    with_futures,
)
from distributed.core.functions import Functions
from distributed.core.singles import Singles
from distributed.messages import (
    PROTOCOL,
    PYTHON,
    Cancel,
    Cleared,
    ClientHello,
    Concede,
    Denied,
    Ended,
    Failed,
    Finished,
    Fire,
    Granted,
    Heard,
    HelloAgain,
    Message,
    Missing,
    Pending,
    Refused,
    Release,
    Reply,
    Scatter,
    Submit,
    Want,
    Warn,
    Welcome,
)

# Small results that came with the message that they are finished are kept up to this many bytes in
# all; beyond, they are fetched from their workers like large ones.
MAX_INLINE_BYTES = 64 << 20


class ClientCore:
    """All entries, and what changes them: `handle`, and `call`, which goes before whatever comes next."""

    def __init__(self, id: str, worker: str = "") -> None:
        self.id = id
        self.worker = worker  # whose tasks we serve
        self.epoch = ""  # of the scheduler that has welcomed us
        self._is_welcome = False  # it has answered our last hello
        self.entries: dict[str, Entry] = {}
        self.functions = Functions()
        self.contenders = Contenders()
        self.inline_bytes = 0
        self.singles = Singles()
        # The last number given to a call: a `map`, a graph, the submits of a loop. The scheduler goes by
        # these numbers, then by the order of the items within a call.
        self._call = 0
        self._order = 0  # of the last single call
        self._group = Group("", None)  # the last with options: the next one is often like it
        # Graphs of which there is more to come, and the number of each as a call.
        self._unfinished: dict[Hashable, int] = {}
        self.called_off: dict[Hashable, str] = {}  # those of which nothing is left, and why
        self._more_is_expected = False  # by the scheduler
        self._taken_back = 0  # the number of the last release or cancellation
        self._heard = 0  # the last of which the scheduler has heard
        self._said_in_hello = 0  # the last before our last hello
        self._unsettled: list[Entry] = []  # not wanted, and what depends on them may be to come
        self._out: list[Message] = []
        self._woken: dict[Waiter, None] = {}
        self._counting: dict[Waiter, None] = {}  # for several to have ended at the same time
        self.fired = FiredEntries()
        self._effects: list[Effect] = []

    def handle(self, event: Any) -> list[Effect]:
        """Take in one event: a message of the scheduler, or one of the classes above."""
        if self.singles:
            self._tell_singles()  # before all that comes of the event
        _HANDLERS[type(event)](self, event)
        if self._out:
            self._effects.append(Tell(self._out))
            self._out = []
        if self._woken:
            self._effects.append(Wake(list(self._woken)))
            self._woken = {}
        # Not kept until the next event: a waiter refers to futures.
        effects, self._effects = self._effects, []
        return effects

    def current(self, question: Message) -> Message:
        """What is left of a request by the time that it is sent, or sent again. The scheduler takes data to
        be scattered for wanted: what has been called off meanwhile it would keep for ever."""
        if isinstance(question, Scatter):
            items = tuple(item for item in question.items if item[0] in self.entries)
            return question._replace(items=items)
        return question

    # The user asks

    def call(self, function: str, blob: bytes, options: Options, item: Item) -> Entry:
        """One wanted item to submit, as by `Calls`; returns its entry. Loops do this, so there is no event
        and there are no effects: the scheduler is told of all that have come when the next event comes,
        `Sending` at the latest. The item is given its order here."""
        if function not in self.functions.blobs:
            self.functions.meet(function, {function: blob})
        group = self._group_of(function, options)
        key, arguments, inputs, _ = item
        self._order += 1
        item = (key, arguments, inputs, self._order)
        entry = self.entries.get(key)
        if entry is None:
            # What `_enter` does, without a loop.
            entry = self.entries[key] = Entry(key)
            entry.item, entry.group, entry.handles, entry.since = item, group, 1, self._taken_back
            entry.call = self._call
            self.functions.use(function, 1)
            if inputs:
                self._link(entry, inputs)
            self.singles.add(function, options, item)
        elif self._enter(group, True, (item,), self._call):
            self.singles.add(function, options, item)
        else:
            self._out += self.functions.spare(function)
        return entry

    def _group_of(self, function: str, options: Options) -> Group:
        """One for many entries, as far as that is easily had."""
        if options is None:
            return self.functions.groups[function]
        if self._group.function != function or self._group.options != options:
            self._group = Group(function, options)
        return self._group

    def _tell_singles(self) -> None:
        for groups in self.singles.take():
            self._submit(tuple(groups), bool(self._unfinished), self._call)

    def _on_sending(self, event: Sending) -> None:
        """Calls are told of before any event."""

    def _number_of(self, graph: Hashable) -> int:
        """Of a call that begins or goes on; a single call that comes after it is another."""
        number = self._unfinished.get(graph)
        if number is None:
            number = self._call + 1
            self._call = number + 1
        return number

    def _on_calls(self, event: Calls) -> None:
        number = self._number_of(event.graph)
        groups = []
        for function, options, wanted, items in event.groups:
            self.functions.meet(function, event.functions)
            group = self._group_of(function, options)
            fresh = self._enter(group, wanted, items, number, event.more)
            if fresh:
                groups.append((function, options, wanted, fresh))
            else:
                self._out += self.functions.spare(function)
        if event.more:
            self._unfinished[event.graph] = number
        else:
            self._unfinished.pop(event.graph, None)
            self.called_off.pop(event.graph, None)
        more = bool(self._unfinished)
        if groups or event.complete or (self._more_is_expected and not more):
            self._submit(tuple(groups), more, number, event.ahead, event.complete)
        if not more and self._unsettled:
            self._settle()

    def _submit(
        self,
        groups: tuple[Any, ...],
        more: bool,
        call: int,
        ahead: tuple[str, ...] = (),
        complete: tuple[str, ...] = (),
        again: bool = False,
    ) -> None:
        functions = self.functions.unsent([group[0] for group in groups])
        self._out.append(Submit(functions, groups, more, ahead, complete, again, call))
        self._more_is_expected = more

    def _enter(
        self, group: Group, wanted: bool, items: Iterable[Item], call: int, more: bool = False
    ) -> list[Item]:
        """Note tasks; those that the scheduler has to be told of."""
        entries = self.entries
        fresh = []
        uses = 0
        for item in items:
            key = item[0]
            entry = entries.get(key)
            if entry is None:
                entry = entries[key] = Entry(key)
                entry.since = self._taken_back
                fresh.append(item)
            elif entry.status is LOST or not entry.handles:
                # Without a handle it may be gone there: cancelled with something that uses it.
                self._begin_anew(entry)
                fresh.append(item)
            elif more and not wanted:
                fresh.append(item)  # the handles may go before what needs it comes
            if entry.item is None:  # new, or came from elsewhere
                entry.item, entry.group, entry.call = item, group, call
                uses += 1
                if item[2]:
                    self._link(entry, item[2])
            if wanted:
                entry.handles += 1
            else:
                entry.dependents += 1  # what is to come
                self._unsettled.append(entry)
        if uses:
            self.functions.use(group.function, uses)
        return fresh

    def _begin_anew(self, entry: Entry) -> None:
        """It is asked for again, and what was said of it before counts no more."""
        entry.since = self._taken_back
        if entry.status is not PENDING:
            self._wait_again({entry: None})

    def _settle(self) -> None:
        """All that depends on what was submitted and is not wanted has been submitted too."""
        unsettled, self._unsettled = self._unsettled, []
        for entry in unsettled:
            entry.dependents -= 1
            self._remove_unused(entry)

    def _link(self, entry: Entry, keys: Iterable[str]) -> None:
        entries = self.entries
        entry.dependencies = tuple(entries[key] for key in keys if key in entries)
        for dependency in entry.dependencies:
            dependency.dependents += 1

    def _on_adopt(self, event: Adopt) -> None:
        wanted = []
        for key in event.keys:
            entry = self.entries.get(key)
            if entry is None:
                entry = self.entries[key] = Entry(key)
            if not entry.handles:
                wanted.append(key)
                self._begin_anew(entry)
            elif entry.status is LOST and not event.announce:
                self._begin_anew(entry)  # its data is about to be brought once more
            entry.handles += 1
        if wanted and event.announce:
            self._out.append(Want(tuple(wanted)))

    def _on_dropped(self, event: Dropped) -> None:
        released = []
        for entry in event.entries:
            entry.handles -= 1
            if entry.handles:
                continue
            self._drop_inline(entry)
            if entry.known:
                released.append(entry.key)
                self._remove_unused(entry)
        self._release(released)

    def _release(self, keys: Collection[str]) -> None:
        if keys:
            self._taken_back += 1
            self._out.append(Release(tuple(keys), self._taken_back))

    def _remove_unused(self, entry: Entry) -> None:
        """Forget the entry if nothing refers to it, and then what only it referred to."""
        stack = [entry]
        while stack:
            entry = stack.pop()
            if entry.handles or entry.dependents or not entry.known:
                continue
            stack += self._detach(entry)

    def _detach(self, entry: Entry) -> tuple[Entry, ...]:
        """Take the entry out of the table. Returns its inputs, which have one dependent less."""
        entry.known = False
        del self.entries[entry.key]
        self._drop_inline(entry)
        dependencies, entry.dependencies = entry.dependencies, ()
        for dependency in dependencies:
            dependency.dependents -= 1
        if entry.group is not None:
            self._out += self.functions.disuse(entry.group.function)
            entry.item = entry.group = None
        return dependencies

    def _on_await(self, event: Await) -> None:
        waiter = event.waiter
        for entry in event.entries:
            if entry.status is PENDING:
                waiter.remaining += 1
                entry.waiters = (*entry.waiters, waiter)
            else:
                self._count(waiter, entry)
        if not waiter.remaining:
            self._woken[waiter] = None
        elif len(event.entries) > 1 and not waiter.each:
            self._counting[waiter] = None

    def _count(self, waiter: Waiter, entry: Entry) -> None:
        waiter.done.append(entry)
        if waiter.each or (waiter.eager and entry.status is not FINISHED):
            self._woken[waiter] = None

    def _on_again(self, event: Again) -> None:
        entries = to_run_again(event.entries, self.entries.values())
        self._release([entry.key for entry in entries if entry.handles])
        for entry in entries:
            self._begin_anew(entry)
        if entries:
            self._submit(as_submitted(entries), bool(self._unfinished), self._number_of(None))

    def _on_firing(self, event: Firing) -> None:
        fired = self.fired.add(event.entries)
        if fired:
            self._out.append(Fire(tuple(entry.key for entry in fired)))

    def _on_desist(self, event: Desist) -> None:
        self._counting.pop(event.waiter, None)
        for entry in event.entries:
            entry.waiters = tuple(w for w in entry.waiters if w is not event.waiter)

    def _on_unreachable(self, event: Unreachable) -> None:
        found = (self.entries.get(key) for key, _ in event.items)
        self._take_back([entry for entry in found if entry is not None])
        self._out.append(Missing(tuple(event.items)))

    def _on_call_off(self, event: CallOff) -> None:
        wanted = [entry for entry in event.entries if entry.known]
        keys = [entry.key for entry in wanted]
        if event.force:
            # Unless the key has been submitted anew.
            entries = [e for e in event.entries if e.status is CANCELLED]
            keys += [entry.key for entry in entries if entry.key not in self.entries]
        if keys:
            self._taken_back += 1
            self._out.append(Cancel(tuple(keys), event.force, self._taken_back))
        for entry in wanted:
            self._cancel(entry, "")

    def _cancel(self, entry: Entry, reason: str) -> None:
        if entry.known:
            for dependency in self._detach(entry):
                self._remove_unused(dependency)
        self._end(entry, CANCELLED, reason)

    # The connection

    def _on_hello_again(self, message: HelloAgain) -> None:
        # Otherwise it has said so before it has heard our last hello, which is on its way.
        if self._is_welcome:
            self._on_connected(message)

    def _on_connected(self, event: Connected | HelloAgain) -> None:
        """Say who we are and all that we want; the scheduler may know it already, or may be new."""
        self._is_welcome = self._more_is_expected = False
        self._said_in_hello = self._taken_back  # what we do not want any more it does not name
        self.functions.sent.clear()
        self._call_off_dependents()
        # What was let go of before, and the scheduler may not have heard, is anew what we want.
        wants = tuple(e.key for e in self.entries.values() if e.handles and e.since <= self._heard)
        locks = self.contenders.listed()
        self._out.append(
            ClientHello(self.id, self.epoch, PROTOCOL, PYTHON, wants, locks, self.worker)
        )
        chunks = list(in_chunks(self.entries.values(), self._heard))
        for number, (call, again, entries) in enumerate(chunks, 1):
            more = number < len(chunks) or bool(self._unfinished)
            self._submit(as_submitted(entries), more, call, again=again)
        if awaited := with_futures(self._unsettled):
            self._submit(
                as_submitted(awaited, False), bool(self._unfinished), self._call, again=True
            )
        self._effects += [Tell(self._out), Introduced()]
        # After it has been asked again where to bring data: until then nobody knows of that.
        borrowed = [e.key for e in self.entries.values() if e.item is None and e.handles]
        self._out = [Want(tuple(borrowed))] if borrowed else []
        fired = [entry.key for entry in self.fired.unended()]
        self._out += [Fire(tuple(fired))] if fired else []

    def _call_off_dependents(self) -> None:
        """What waits for something that was called off here cannot be submitted again, and the scheduler
        may not have heard of it."""
        for entry in tuple(self.entries.values()):
            if entry.status is PENDING and any(
                dependency.key not in self.entries for dependency in entry.dependencies
            ):
                self._cancel(entry, "an input of it was cancelled")

    def _on_abandon(self, event: Abandon) -> None:
        for entry in tuple(self.entries.values()):
            if event.status is CANCELLED:
                self._cancel(entry, event.reason)
            elif entry.status is PENDING:
                self._end(entry, event.status, ("gone", event.reason))
        for contender in tuple(self.contenders.table.values()):
            # A lock that we hold we go on holding, as long as a scheduler may come back.
            if event.status is CANCELLED or contender.status is WAITING:
                self.contenders.end(contender, event.status, event.reason)
                self._woken[contender.waiter] = None

    # Locks

    def _on_contending(self, event: Contending) -> None:
        self._out += self.contenders.enter(event.contender)

    def _on_conceding(self, event: Conceding) -> None:
        self._out += self.contenders.leave(event.contender)

    def _on_granted(self, message: Granted) -> None:
        contender = self.contenders.table.get(message.contender)
        if contender is None:
            self._out.append(Concede(*message))  # nobody waits for it any more
        elif contender.status is WAITING:
            contender.status = HOLDING
            self._woken[contender.waiter] = None

    def _on_denied(self, message: Denied) -> None:
        contender = self.contenders.table.get(message.contender)
        if contender is None:
            return
        reason = message.reason
        if contender.status is HOLDING:
            # Two have used what it protects, perhaps at the same time.
            reason = f"the lock {message.name} went to another while we had no connection"
            self._effects.append(Caution(reason))
        self.contenders.end(contender, DENIED, reason)
        self._woken[contender.waiter] = None

    # The scheduler reports

    def _on_finished(self, message: Finished) -> None:
        entries, address, heard = self.entries, message.address, self._heard
        for key, nbytes, value, kind in message.items:
            entry = entries.get(key)
            if entry is None or entry.since > heard:
                continue
            entry.address = address
            entry.nbytes = nbytes
            if kind is not None:
                entry.kind = kind
            if value is not None and entry.inline is None and entry.handles:
                self._keep_inline(entry, value)
            if entry.status is PENDING or entry.status is LOST:  # and is there again
                entry.status = FINISHED
                if entry.waiters:
                    self._notify(entry)

    def _keep_inline(self, entry: Entry, value: bytes) -> None:
        if self.inline_bytes + len(value) <= MAX_INLINE_BYTES:
            entry.inline = value
            self.inline_bytes += len(value)

    def _drop_inline(self, entry: Entry) -> None:
        if entry.inline is not None:
            self.inline_bytes -= len(entry.inline)
            entry.inline = None

    def _on_failed(self, message: Failed) -> None:
        for key, exception in message.items:
            entry = self._meant(key)
            if entry is not None:
                self._end(entry, ERROR, exception)

    def _on_ended(self, message: Ended) -> None:
        released = []
        for key, ending, reason in message.items:
            entry = self._meant(key)
            if entry is None:
                continue
            if ending == "cancelled":
                # Submitted again while this was on its way, the scheduler has it, and must let go.
                if entry.handles:
                    released.append(key)
                self._cancel(entry, reason)
            elif ending == "lost":
                self._end(entry, LOST, reason)
            else:
                self._end(entry, ERROR, (ending, reason))
        self._release(released)

    def _on_heard(self, message: Heard) -> None:
        self._heard = max(self._heard, message.number)

    def _meant(self, key: str) -> Entry | None:
        """What the scheduler speaks of, unless that had been let go of and the key is used anew."""
        entry = self.entries.get(key)
        return None if entry is None or entry.since > self._heard else entry

    def _on_cleared(self, message: Cleared) -> None:
        # What we submitted while this was on its way has not been taken in, nor have its functions. What we
        # scattered has been, and must be let go.
        self.functions.sent.clear()
        self.called_off.update(dict.fromkeys(self._unfinished, message.reason))
        wanted = tuple(entry.key for entry in self.entries.values() if entry.handles)
        for entry in tuple(self.entries.values()):
            self._cancel(entry, message.reason)
        self._release(wanted)
        self._out.append(Cleared(""))

    def _on_pending(self, message: Pending) -> None:
        found = (self._meant(key) for key in message.keys)
        self._take_back([entry for entry in found if entry is not None and entry.inline is None])

    def _take_back(self, entries: list[Entry]) -> None:
        """These results are not there any more, and are made again."""
        self._wait_again(dict.fromkeys(entry for entry in entries if entry.status is FINISHED))

    def _wait_again(self, lost: Collection[Entry]) -> None:
        """These had ended and have to be waited for again, also by whoever still waits for others."""
        for entry in lost:
            entry.status = PENDING
        for waiter in self._counting if lost else ():
            again = [entry for entry in waiter.done if entry in lost]
            if again:
                waiter.done = [entry for entry in waiter.done if entry not in lost]
                waiter.remaining += len(again)
                for entry in again:
                    entry.waiters = (*entry.waiters, waiter)

    def _end(self, entry: Entry, status: str, ending: bytes | str | tuple[str, str]) -> None:
        if entry.status is not PENDING and status is not CANCELLED:
            return
        self._drop_inline(entry)
        entry.status = status
        entry.ending = ending
        if entry.waiters:
            self._notify(entry)

    def _notify(self, entry: Entry) -> None:
        waiters, entry.waiters = entry.waiters, ()
        for waiter in waiters:
            waiter.remaining -= 1
            self._count(waiter, entry)
            if not waiter.remaining:
                self._woken[waiter] = None
                self._counting.pop(waiter, None)

    def _on_reply(self, message: Reply) -> None:
        self._effects.append(Answered(message.request, message.ok, message.value))

    def _on_welcome(self, message: Welcome) -> None:
        self._is_welcome = True
        self._heard = max(self._heard, self._said_in_hello)
        self.epoch = message.epoch
        self._effects.append(Welcomed(message.epoch))

    def _on_refused(self, message: Refused) -> None:
        self._effects.append(Rejected(message.reason))

    def _on_warn(self, message: Warn) -> None:
        self._effects.append(Caution(message.text))


_HANDLERS: dict[Any, Any] = {
    Calls: ClientCore._on_calls,
    Sending: ClientCore._on_sending,
    Adopt: ClientCore._on_adopt,
    Dropped: ClientCore._on_dropped,
    Firing: ClientCore._on_firing,
    Again: ClientCore._on_again,
    Await: ClientCore._on_await,
    Desist: ClientCore._on_desist,
    Unreachable: ClientCore._on_unreachable,
    CallOff: ClientCore._on_call_off,
    Contending: ClientCore._on_contending,
    Conceding: ClientCore._on_conceding,
    Connected: ClientCore._on_connected,
    HelloAgain: ClientCore._on_hello_again,
    Abandon: ClientCore._on_abandon,
    Finished: ClientCore._on_finished,
    Failed: ClientCore._on_failed,
    Ended: ClientCore._on_ended,
    Heard: ClientCore._on_heard,
    Cleared: ClientCore._on_cleared,
    Pending: ClientCore._on_pending,
    Granted: ClientCore._on_granted,
    Denied: ClientCore._on_denied,
    Reply: ClientCore._on_reply,
    Welcome: ClientCore._on_welcome,
    Refused: ClientCore._on_refused,
    Warn: ClientCore._on_warn,
}
