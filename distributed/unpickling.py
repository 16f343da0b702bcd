"""Bytes to objects, in any number of threads at once.

What is unpickled may have to be imported first. Modules that import each other fail as "partially
initialized" when two threads begin with different ones of them. So one thread at a time imports.
"""

from __future__ import annotations

import importlib
import io
import pickle
import sys
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from distributed.transport import Frame

# Seconds that a thread waits for its turn to import, for a module could wait for that thread. Then it goes
# ahead: that may fail, and is better than to hang. Slow imports take seconds.
MAX_WAIT_SECONDS = 60.0

# In every pickle that names a function or a class. (A number is found eight times as fast as a text.)
NAMES_SOMETHING = ord(pickle.STACK_GLOBAL)

_importing = threading.RLock()
_imported: set[str] = set()


def unpickle(blob: bytes) -> Any:
    """The object.

    >>> import pickle
    >>> unpickle(pickle.dumps([1, 2]))
    [1, 2]
    """
    if NAMES_SOMETHING not in blob:
        return pickle.loads(blob)
    return _Unpickler(io.BytesIO(blob)).load()


def unpickle_frames(frames: Sequence[Frame]) -> Any:
    """The object, from its pickle and the large buffers which that refers to. They are not copied; whether
    they may be written to depends on the frames."""
    head = frames[0]
    file = io.BytesIO(head if isinstance(head, bytes) else bytes(head))
    return _Unpickler(file, buffers=frames[1:]).load()


def look_again() -> None:
    """To be called when modules have been replaced: they are going to be imported anew."""
    _imported.clear()


_find = pickle.Unpickler.find_class


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module not in _imported:
            _import_alone(module)
            if name == "subimport":
                return import_for_function
        return _find(self, module, name)


def import_for_function(name: str) -> ModuleType:
    """By `subimport` cloudpickle names a module that a function uses."""
    if name not in _imported:
        _import_alone(name)
    return importlib.import_module(name)


def _import_alone(name: str) -> None:
    """Import the module while no other thread does so here."""
    alone = _importing.acquire(timeout=MAX_WAIT_SECONDS)
    try:
        importlib.import_module(name)
    except ImportError:
        return  # told where it is used, in the words of pickle
    finally:
        if alone:
            _importing.release()
    if name in sys.modules and name != "cloudpickle.cloudpickle":
        _imported.add(name)
