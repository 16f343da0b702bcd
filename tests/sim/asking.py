"""Requests: what people ask of the whole cluster, and whether the answers can be right."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from distributed.core.queries import QUERIES
from distributed.messages import Ask, Broadcast, IsLocked, Message, Replicate, Restart, Upload
from tests.sim import locking

if TYPE_CHECKING:
    from tests.sim.client import Future
    from tests.sim.users import User

FILES = ("module.py", "table.csv")


def ask(user: User) -> None:
    """A question about the state of the cluster."""
    random = user.random
    question = random.choice(tuple(QUERIES))
    keys = tuple(user.usable()[:5]) if random.random() < 0.5 else None
    _send(user, lambda request: Ask(request, question, keys), lambda value: type(value) is dict)


def is_locked(user: User) -> None:
    name = user.random.choice(locking.NAMES)
    _send(user, lambda request: IsLocked(request, name), lambda value: type(value) is bool)


def replicate(user: User) -> None:
    keys = tuple(user.random.sample(user.usable(), min(3, len(user.usable()))))
    _send(user, lambda request: Replicate(request, keys, None), lambda value: value is None)


def broadcast(user: User) -> None:
    """A call on every worker: each answers with its own name, or with an exception, or has died."""
    call = b"call %d" % user.cluster.ledger.questions
    answer = b" has answered " + call

    def is_right(value: Any) -> bool:
        good = [content for ok, content in value.values() if ok]
        for content in tuple(good):
            if type(content) is tuple:
                good.remove(content)
                _fetch(user, *content)
        bad = [content for ok, content in value.values() if not ok]
        names = [content.removesuffix(answer) for content in good]
        return (
            all(content.endswith(answer) for content in good)
            and len(set(names)) == len(names)
            and all(isinstance(c, str) or c == b"cannot answer " + call for c in bad)
        )

    _send(user, lambda request: Broadcast(request, call, None), is_right)


def _fetch(user: User, key: str, nbytes: int) -> None:
    """The answer is data on its worker: it comes, or is lost with that, or with the scheduler."""

    def tell(future: Future, how: str, what: Any) -> None:
        right = int(key.rpartition("-")[2])
        assert (how, what) == ("value", right) or how in ("lost", "cancelled"), (key, how, what)
        future.drop()

    user.client.adopt(key, True, tell).look()


def upload(user: User) -> None:
    name = user.random.choice(FILES)
    content = b"content %d" % user.cluster.ledger.questions

    def is_right(value: Any) -> bool:
        return all(isinstance(what, str) for ok, what in value.values() if not ok)

    _send(user, lambda request: Upload(request, name, content), is_right)


def restart(user: User) -> None:
    """All work of everybody is called off, and every worker replaced."""
    user.cluster.ledger.restarts += 1
    _send(user, Restart, lambda value: value is None)


def _send(user: User, message: Callable[[int], Message], is_right: Callable[[Any], bool]) -> None:
    """Every request is answered; in words if it is refused."""
    ledger = user.cluster.ledger
    ledger.questions += 1

    def end(ok: bool, value: Any) -> None:
        ledger.answers += 1
        asked = message(0)
        user.world.say(user.client.name, "is answered", (asked, ok, value))
        assert is_right(value) if ok else type(value) is str, (asked, ok, value)

    user.client.ask(message, end)


# How often each is done.
ACTS: dict[Callable[[User], object], float] = {
    ask: 0.5,
    is_locked: 0.2,
    replicate: 0.5,
    broadcast: 0.4,
    upload: 0.2,
    restart: 0.05,
}
