"""Workers that leave after a time, and what they hand over to others before."""

from __future__ import annotations

import heapq
import logging
import queue
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from distributed.errors import DistributedError
from distributed.messages import Ask, Replicate

if TYPE_CHECKING:
    from distributed.worker import Worker

# To hand over takes this long at most: a batch system that ends the process soon does not wait.
HAND_OVER_SECONDS = 60.0
# Results that come while others are handed over are handed over in the next round.
ROUNDS = 3
# Keys in one request: the scheduler answers it when all of them have been copied.
REQUEST_KEYS = 100
# Of its memory limit, a worker is filled up to this share with what others hand over.
FILLED = 0.8
# The bytes that there seem to be room for on a worker without a limit.
NO_LIMIT = float(1 << 50)

logger = logging.getLogger("distributed.worker")


def leave_after(worker: Worker, seconds: float) -> None:
    """In this time the worker hands over what only it has, and ends as EXPIRED."""
    from distributed.worker import EXPIRED

    def wait_and_leave() -> None:
        threading.Event().wait(min(max(0.0, seconds), threading.TIMEOUT_MAX))
        logger.info("its lifetime is over")
        try:
            hand_over(worker, time.monotonic() + HAND_OVER_SECONDS)
        except (DistributedError, queue.Empty) as error:
            logger.warning("not all that only this worker has could be handed over: %s", error)
        finally:
            worker.stop(EXPIRED)

    threading.Thread(target=wait_and_leave, name="lifetime", daemon=True).start()


def hand_over(worker: Worker, deadline: float) -> None:
    """Copy to other workers what no other worker has.

    Raises DistributedError if the scheduler cannot be asked, or does not answer until then; queue.Empty if
    the worker's loop stands still.
    """
    connection = worker.client._connection

    def ask(question: str, keys: tuple[str, ...] | None = None) -> Any:
        left = max(0.0, deadline - time.monotonic())
        return connection.ask(lambda request: Ask(request, question, keys), left)

    for _ in range(ROUNDS):
        sizes = {key: size for key, size, _ in worker.look(lambda core: core.holds())}
        holders = ask("who_has", tuple(sizes))
        alone = {
            key: sizes[key] for key, found in holders.items() if list(found) == [worker.address]
        }
        workers = ask("scheduler_info")["workers"]
        room = {address: _room(w) for address, w in workers.items() if address != worker.address}
        if not alone or not room:
            return
        for address, keys in spread(alone, room).items():
            for start in range(0, len(keys), REQUEST_KEYS):
                part = tuple(keys[start : start + REQUEST_KEYS])
                left = max(0.0, deadline - time.monotonic())
                try:
                    connection.ask(lambda r, p=part, a=address: Replicate(r, p, (a,)), left)  # type: ignore[misc]
                except DistributedError as error:
                    # Of what cannot be pickled, or is gone meanwhile; the others of the part are copied.
                    logger.info("not all could be copied to %s: %s", address, error)


def spread(sizes: Mapping[str, int], room: Mapping[str, float]) -> dict[str, list[str]]:
    """Which keys go where: the largest first, each to where most room is left; what fits nowhere stays.

    >>> spread({"a": 5, "b": 3, "c": 3, "d": 50}, {"x": 10, "y": 9})
    {'x': ['a'], 'y': ['b', 'c']}
    """
    if not room:
        return {}
    places = [(-left, address) for address, left in room.items()]
    heapq.heapify(places)
    found: dict[str, list[str]] = {}
    for key in sorted(sizes, key=lambda key: -sizes[key]):
        left, address = places[0]
        if sizes[key] <= -left:
            heapq.heapreplace(places, (left + sizes[key], address))
            found.setdefault(address, []).append(key)
    return found


def _room(described: Mapping[str, Any]) -> float:
    limit: int = described["memory_limit"]
    used: int = described["memory"]
    return (FILLED * limit if limit else NO_LIMIT) - used
