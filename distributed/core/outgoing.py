"""What the scheduler tells its members of tasks: an item joins the message before it if that is of the same
kind."""

from __future__ import annotations

from typing import Any

from distributed.core.states import Client, Member, Task, Worker
from distributed.messages import Drop, Ended, Failed, Finished, Free


def append(member: Member, kind: Any, item: Any) -> None:
    """Add the item to the member's messages of a kind that holds nothing but a list."""
    last = member.out[-1] if member.out else None
    if type(last) is kind:
        last[0].append(item)  # type: ignore[index]
    else:
        member.out.append(kind([item]))


def add_finished(client: Client, address: str, item: tuple[Any, ...]) -> None:
    """An item of `Finished`, of a result on the worker at that address."""
    last = client.out[-1] if client.out else None
    if type(last) is Finished and last.address == address:
        last.items.append(item)  # type: ignore[union-attr]
    else:
        client.out.append(Finished(address, [item]))


def report_finished(client: Client, task: Task) -> None:
    add_finished(client, task.holders[0].address, (task.key, task.nbytes, None, None))


def report_error(client: Client, task: Task) -> None:
    assert task.error is not None
    how, what = task.error
    if how == "raised":
        append(client, Failed, (task.key, what))
    else:
        append(client, Ended, (task.key, how, what))


def free(worker: Worker, key: str, version: int) -> None:
    """Have the data deleted, if it is of this version or an earlier one."""
    last = worker.out[-1] if worker.out else None
    if type(last) is Free and last.version == version:
        last.keys.append(key)  # type: ignore[union-attr]
    else:
        worker.out.append(Free([key], version))


def drop_assignment(task: Task) -> None:
    """Tell the worker to give up; the assignment stays in its books until it answers. Scattered data that
    still comes is reported by its key, too, and freed then."""
    worker = task.worker
    task.worker = None
    if worker is None:
        return  # it has reported, or died
    if task.function is None:
        del worker.incoming[task.assignment]
        return
    worker.assigned[task.assignment] = task.key
    append(worker, Drop, task.assignment)
