"""Calls that come one by one, as a loop of submits makes them, put together for the scheduler."""

from __future__ import annotations

from distributed.core.entries import Item, Options

# Of one message: more would only make others wait for the scheduler.
MAX_SINGLES = 1000


class Singles:
    """Those that the scheduler has not been told of. Together they cost it, and us, half of what they cost
    with a message for each.

    They run in the order in which they came: the last field of an item says so. That lets one stand before
    others that came sooner, unless it may need them, so that calls of several functions in turn take no
    more than one group for each function.
    """

    def __init__(self) -> None:
        self._messages: list[list[tuple[str, Options, bool, list[Item]]]] = []
        self._room = 0  # in the last message
        # The last group of each function in that message, if it is without options.
        self._plain: dict[str, list[Item]] = {}

    def __len__(self) -> int:
        return len(self._messages) * MAX_SINGLES - self._room

    def add(self, function: str, options: Options, item: Item) -> None:
        if not self._room:
            self._room = MAX_SINGLES
            self._messages.append([])
            self._plain = {}
        self._room -= 1
        if options is None and item[2] is None:
            items = self._plain.get(function)
            if items is not None:
                items.append(item)
                return
        self._add_behind(function, options, item)

    def _add_behind(self, function: str, options: Options, item: Item) -> None:
        """Behind all others: also behind those that it may need."""
        groups = self._messages[-1]
        if groups and groups[-1][:2] == (function, options):
            groups[-1][3].append(item)
            return
        items = [item]
        groups.append((function, options, True, items))
        if options is None:
            self._plain[function] = items

    def take(self) -> list[list[tuple[str, Options, bool, list[Item]]]]:
        """The groups of each message; from now on there are none."""
        messages, self._messages = self._messages, []
        self._room = 0
        return messages
