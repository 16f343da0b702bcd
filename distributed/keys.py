"""Keys as users write them, and as they are on the wire."""

from __future__ import annotations

import marshal
import operator
import re
from typing import Any

# Types whose values are small, cannot hold a future, and are told apart by `marshal`. (Not by their
# pickles, which depend on whether two equal strings are one object.)
PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None), type(...)})
# Between a key that a user has chosen and the digest of its recipe.
_MARK = "\x1f"
_WIRE_KEY = re.compile(r"\x1f([0-9a-f]+)\x1f[0-9a-f]{32}|\x1f[0-9a-f]{32}")


def wire_key(key: Any, digest: str) -> str:
    """What a key that a user has chosen is called on the wire: with the digest of its recipe, because
    the same key with other work is other work.

    >>> shown_key(wire_key(("x", 0, 1), "abc"))
    ('x', 0, 1)
    """
    if type(key) is not str:
        key = _plain_key(key)
    if type(key) is str and not key.startswith(_MARK) and (key.isascii() or is_text(key)):
        return f"{key}{_MARK}{digest}"
    return f"{_MARK}{marshal.dumps(key, 0).hex()}{_MARK}{digest}"


def is_text(key: str) -> bool:
    """Whether it can be sent as it is: half a surrogate pair cannot."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain_key(key: Any) -> Any:
    if type(key) in PLAIN:
        return key
    if isinstance(key, tuple):
        if type(key) is tuple and PLAIN.issuperset(map(type, key)):
            return key
        return tuple([_plain_key(part) for part in key])
    # Subclasses, and the integers of numpy: as dict keys they are equal to plain ones.
    for kind in (str, bytes, float):
        if isinstance(key, kind):
            return kind.__getnewargs__(key)[0]
    try:
        return operator.index(key)
    except TypeError:
        pass
    raise TypeError(f"a key is a string, a number, or a tuple of them, not {key!r:.100}")


def shown_key(wire: str) -> Any:
    """The key as the user knows it."""
    if _MARK not in wire:
        return wire
    key, _, _ = wire.rpartition(_MARK)
    if key.startswith(_MARK):
        return marshal.loads(bytes.fromhex(key[1:]))
    return key


def shown_text(text: str) -> str:
    """The text with every wire key in it as the user knows it.

    >>> shown_text(f"{wire_key(('x', 0), '0' * 32)} is lost")
    "('x', 0) is lost"
    """
    return _WIRE_KEY.sub(lambda m: repr(marshal.loads(bytes.fromhex(m[1]))) if m[1] else "", text)
