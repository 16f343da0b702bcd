"""Bulk data as a stream of parts: cut, counted, checked, and put together again.

A transfer is a list of items, each with the frames of one object. Its first part tells the layout, and
has small objects in it; all parts carry pieces of the other frames, in order, a few megabytes at a time.
The sender may be at most WINDOW parts ahead of what the receiver has acknowledged, so that neither end
has to hold more than that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from distributed.errors import ProtocolError
from distributed.messages import Part

# On loopback parts of this size in a window of this length are four times as fast as one large frame.
PART_BYTES = 4 << 20
WINDOW = 8
# Small frames share a part; each is a frame of the message, which costs a microsecond or two.
PART_PIECES = 256
# An object of one frame up to this size is in the layout itself, as long as the layout is no longer than a
# part: for most results there are no pieces at all.
SMALL_BYTES = 4096
# What one transfer may announce. An object has a frame for each large buffer that it holds.
MAX_FRAMES = 1_000_000

Item = tuple[str, int, "Sequence[Any] | str | None"]


class Outgoing:
    """Cuts items into parts: (key, version, frames), or in place of the frames None for what is not
    there, or the text of why it cannot be sent."""

    def __init__(self, request: int, put: bool, items: Sequence[Item]) -> None:
        self.request = request
        self.put = put
        self.credit = WINDOW
        self.unacknowledged = 0
        self._layout: list[Any] | None
        self._layout, frames = _laid_out(items)
        self._pieces = _cut(frames)
        self._next = next(self._pieces, None)
        self._ended = False

    def parts(self) -> Iterator[tuple[Part, list[memoryview]]]:
        """Those that may be sent now."""
        while self.credit and not self._ended:
            pieces: list[memoryview] = []
            room = PART_BYTES
            while self._next is not None and len(pieces) < PART_PIECES:
                if pieces and self._next.nbytes > room:
                    break
                pieces.append(self._next)
                room -= self._next.nbytes
                self._next = next(self._pieces, None)
            layout, self._layout = self._layout, None
            self._ended = self._next is None
            self.credit -= 1
            self.unacknowledged += 1
            yield Part(self.request, self.put, layout, self._ended), pieces

    def acknowledge(self) -> None:
        """The receiver has taken one part."""
        if not self.unacknowledged:
            raise ProtocolError("more parts acknowledged than were sent")
        self.credit += 1
        self.unacknowledged -= 1

    @property
    def taken(self) -> bool:
        """Whether everything has been sent and acknowledged."""
        return self._ended and not self.unacknowledged


def _laid_out(items: Sequence[Item]) -> tuple[list[Any], list[Any]]:
    """The layout, and the frames that are not in it."""
    layout: list[Any] = []
    frames: list[Any] = []
    room = PART_BYTES
    for item in items:
        key, version, content = item
        if content is None or isinstance(content, str):
            layout.append(item)
            continue
        parts: Sequence[Any] = content
        if len(parts) == 1:
            size = _size(parts[0])
            if size <= SMALL_BYTES and size <= room:
                room -= size
                layout.append((key, version, bytes(parts[0])))
                continue
        layout.append((key, version, [_size(frame) for frame in parts]))
        frames += parts
    return layout, frames


def _size(frame: Any) -> int:
    return len(frame) if type(frame) is bytes else memoryview(frame).nbytes


def _cut(frames: Sequence[Any]) -> Iterator[memoryview]:
    for frame in frames:
        view = memoryview(frame).cast("B")
        for start in range(0, view.nbytes, PART_BYTES):
            yield view[start : start + PART_BYTES]


class Incoming:
    """Puts parts together. Raises ProtocolError as soon as they are not what the layout says."""

    def __init__(self) -> None:
        self.ended = False
        self._begun = False
        # Those that come in pieces, with the sizes of their frames.
        self._items: deque[tuple[str, int, Sequence[int]]] = deque()
        self._frames: list[Any] = []  # of the first of these items, as far as it has come
        self._partial: bytearray | None = None
        self._filled = 0

    def feed(self, part: Part, pieces: Sequence[Any]) -> list[Item]:
        """Take the next part. Returns the items that are complete with it, in whatever order."""
        if self.ended:
            raise ProtocolError("a part after the last one")
        if self._begun != (part.layout is None):
            raise ProtocolError("the layout belongs to the first part, and only there")
        finished: list[Item] = []
        if part.layout is not None:
            self._begun = True
            self._begin(part.layout, finished)
        if self._items:
            finished += self._complete()
        for piece in pieces:
            self._take(memoryview(piece))
            finished += self._complete()
        if part.last:
            if self._items:
                raise ProtocolError(f"the last part, but {len(self._items)} items are incomplete")
            self.ended = True
        return finished

    def _begin(self, layout: Sequence[Any], finished: list[Item]) -> None:
        """Note what is to come in pieces; all else is here already."""
        for item in layout:
            try:
                key, version, content = item
            except (TypeError, ValueError):
                raise ProtocolError("a malformed layout") from None
            if type(key) is not str or type(version) is not int:
                raise ProtocolError("a malformed layout")
            if type(content) is bytes:
                finished.append((key, version, [content]))
            elif content is None or type(content) is str:
                finished.append((key, version, content))
            else:
                self._items.append((key, version, _sizes(content)))
        if sum(len(sizes) for _, _, sizes in self._items) > MAX_FRAMES:
            raise ProtocolError(f"a transfer of more than {MAX_FRAMES:,} frames")

    def _take(self, piece: memoryview) -> None:
        if not self._items:
            raise ProtocolError("more data than the layout says")
        size = self._items[0][2][len(self._frames)]
        if self._partial is None and piece.nbytes == size:
            self._frames.append(piece)
            return
        if not piece.nbytes or self._filled + piece.nbytes > size:
            raise ProtocolError("a piece that does not fit into its frame")
        if self._partial is None:
            try:
                self._partial = bytearray(size)
            except (MemoryError, OverflowError):
                raise ProtocolError(f"no memory for a frame of {size:,} bytes") from None
        self._partial[self._filled : self._filled + piece.nbytes] = piece
        self._filled += piece.nbytes
        if self._filled == size:
            self._frames.append(self._partial)
            self._partial, self._filled = None, 0

    def _complete(self) -> list[Item]:
        """The items at the front that need no more data."""
        finished: list[Item] = []
        while self._items:
            key, version, sizes = self._items[0]
            while len(self._frames) < len(sizes) and sizes[len(self._frames)] == 0:
                self._frames.append(b"")
            if len(self._frames) < len(sizes):
                break
            finished.append((key, version, self._frames))
            self._frames = []
            self._items.popleft()
        return finished


def _sizes(sizes: Any) -> Sequence[int]:
    if type(sizes) not in (tuple, list) or any(type(s) is not int or s < 0 for s in sizes):
        raise ProtocolError("a malformed layout")
    return tuple(sizes)
