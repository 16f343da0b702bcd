"""Progress bars: in a console, and in a notebook."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any, TextIO

from distributed.core.client_events import Await, Desist
from distributed.core.entries import FINISHED, PENDING, Entry
from distributed.futures import Future, flat_futures, leave_slot
from distributed.waiting import Waiting

WIDTH = 40
# The bar moves at least so often, to show that time passes.
REDRAW_SECONDS = 0.1

logger = logging.getLogger("distributed.progress")


def progress(*futures: Any, notebook: bool | None = None) -> None:
    """Show how many of the futures have ended.

    In a console: blocks until all have, like `wait`. In a notebook, or with `notebook=True`: returns at
    once, and the bar moves by itself.
    """
    watch = Watch(flat_futures(futures, "progress"))
    if _in_notebook() if notebook is None else notebook:
        try:
            from distributed.notebook import show
        except ImportError:
            logger.warning(
                "a bar for notebooks needs ipywidgets: pip install 'distributed[notebook]'"
            )
        else:
            show(watch)
            return
    leave_slot()
    draw(watch, sys.stdout)


class Watch:
    """Counts futures that end, as they do."""

    def __init__(self, futures: Iterable[Future]) -> None:
        self._futures = list(futures)  # kept, so that the work is not released while we look
        self._waiting = Waiting(each=True)
        self._entries = list(dict.fromkeys(future._entry for future in self._futures))
        self.connections = dict.fromkeys(future._connection for future in self._futures)
        for connection in self.connections:
            mine = [f._entry for f in self._futures if f._connection is connection]
            connection.handle(Await(self._waiting, list(dict.fromkeys(mine))))
        self._begin = time.monotonic()

    @property
    def total(self) -> int:
        return len(self._entries)

    @property
    def done(self) -> list[Entry]:
        """Those that have ended, in whatever way. One that is lost, and made again, is none of them."""
        return [entry for entry in self._entries if entry.status is not PENDING]

    @property
    def finished(self) -> int:
        return sum(entry.status is FINISHED for entry in self._entries)

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to wait for."""
        return len(self.done) >= self.total or all(c.closed for c in self.connections)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begin

    def pause(self) -> None:
        """Until another one has ended, but not for long."""
        self._waiting.sleep(REDRAW_SECONDS)

    def close(self) -> None:
        for connection in self.connections:
            connection.handle_later(Desist(self._waiting, self._entries))


def draw(watch: Watch, file: TextIO) -> None:
    """Redraw the bar in place until all have ended; only its last state if nobody looks."""
    live = file.isatty()
    try:
        while not watch.ended:
            if live:
                file.write("\r" + line(watch.finished, len(watch.done), watch.total, watch.seconds))
                file.flush()
            watch.pause()
        start = "\r" if live else ""
        file.write(start + line(watch.finished, len(watch.done), watch.total, watch.seconds))
    finally:
        file.write("\n")
        file.flush()
        watch.close()


def line(finished: int, done: int, total: int, seconds: float) -> str:
    """The bar as text.

    >>> line(4, 4, 4, 3.04)
    '[########################################] | 100% Completed |  3.0s'
    >>> line(1, 2, 4, 63.0)
    '[##########                              ] |  25% Completed |  1min 3.0s | 1 failed'
    """
    share = finished / total if total else 1.0
    failed = f" | {done - finished} failed" if done > finished else ""
    bar = "#" * int(WIDTH * share)
    percent = int(100 * share)
    return f"[{bar:<{WIDTH}}] | {percent:>3}% Completed | {elapsed(seconds)}{failed}"


def elapsed(seconds: float) -> str:
    """
    >>> elapsed(3.04), elapsed(12.0), elapsed(3723.0)
    (' 3.0s', '12.0s', ' 1hr  2min 3.0s')
    """
    minutes, seconds = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        return f"{hours:2d}hr {minutes:2d}min {seconds:3.1f}s"
    return f"{minutes:2d}min {seconds:3.1f}s" if minutes else f"{seconds:4.1f}s"


def _in_notebook() -> bool:
    """Whether what is displayed here goes to a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def run_in_background(watch: Watch, update: Any) -> threading.Thread:
    """Call `update(watch)` from a thread until all have ended, and once more then."""

    def run() -> None:
        while not watch.ended:
            update(watch)
            watch.pause()
        update(watch)
        watch.close()

    thread = threading.Thread(target=run, name="progress", daemon=True)
    thread.start()
    return thread
