"""What workers answer to `run` and `upload_file`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distributed.errors import DistributedError
from distributed.futures import Future
from distributed.packing import MAX_ARGUMENT_BYTES
from distributed.tracebacks import load_exception
from distributed.unpickling import unpickle

if TYPE_CHECKING:
    from distributed.executor import Executor

Answers = dict[str, tuple[bool, Any]]  # by address; values as in `messages.Answer`


def results(executor: Executor, answers: Answers, on_error: str = "raise") -> dict[str, Any]:
    """{address: result}; large results are fetched from their workers. Raises the first failure, or as
    `Administration.run` says of `on_error`."""
    # All of them, before anything is raised: what nobody has a future for would stay on its worker.
    places = {address: v[0] for address, (_, v) in answers.items() if type(v) is tuple}
    entries = executor._connection.adopt(list(places.values()), announce=True)
    large = [Future(entry, executor) for entry in entries]
    failures = {address: _failure(address, v) for address, (ok, v) in answers.items() if not ok}
    if failures and on_error == "raise":
        raise next(iter(failures.values()))
    fetched = dict(zip(places, executor.gather(large), strict=True))
    found: dict[str, Any] = {}
    for address, (_, value) in answers.items():
        if address not in failures:
            found[address] = unpickle(fetched.get(address, value))
        elif on_error == "return":
            found[address] = failures[address]
    return found


def _failure(address: str, value: bytes | str) -> BaseException:
    return (
        load_exception(value)
        if isinstance(value, bytes)
        else DistributedError(f"{address}: {value}")
    )


def check_size(what: str, blob: bytes, way_out: str) -> None:
    """Raises ValueError if it is too large to go to all workers by way of the scheduler."""
    if len(blob) > MAX_ARGUMENT_BYTES:
        raise ValueError(
            f"{what} takes {len(blob):,} bytes, more than the limit of {MAX_ARGUMENT_BYTES:,}: {way_out}"
        )
