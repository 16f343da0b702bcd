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


def results(executor: Executor, answers: Answers) -> dict[str, Any]:
    """{address: result}; large results are fetched from their workers. Raises the first failure."""
    # All of them, before anything is raised: what nobody has a future for would stay on its worker.
    places = {address: v[0] for address, (_, v) in answers.items() if type(v) is tuple}
    entries = executor._connection.adopt(list(places.values()), announce=True)
    large = [Future(entry, executor) for entry in entries]
    for address, (ok, value) in answers.items():
        if not ok:
            if isinstance(value, bytes):
                raise load_exception(value)
            raise DistributedError(f"{address}: {value}")
    fetched = dict(zip(places, executor.gather(large), strict=True))
    return {
        address: unpickle(fetched.get(address, value)) for address, (_, value) in answers.items()
    }


def check_size(what: str, blob: bytes, way_out: str) -> None:
    """Raises ValueError if it is too large to go to all workers by way of the scheduler."""
    if len(blob) > MAX_ARGUMENT_BYTES:
        raise ValueError(
            f"{what} takes {len(blob):,} bytes, more than the limit of {MAX_ARGUMENT_BYTES:,}: {way_out}"
        )
