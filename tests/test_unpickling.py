"""Bytes to objects, in several threads."""

from __future__ import annotations

import importlib
import pickle
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distributed import unpickling
from distributed.unpickling import look_again, unpickle, unpickle_frames

# Each waits for the other one to have begun, so that both threads are in the midst of it.
ONE = """
from mutual import begun
begun("one", "two")
from mutual.two import g
def f(): return g()
"""
TWO = """
from mutual import begun
begun("two", "one")
import mutual.one
def g(): return 1
"""
BEGUN = """
import threading
_begun = {"one": threading.Event(), "two": threading.Event()}
def begun(mine, other):
    _begun[mine].set()
    _begun[other].wait(0.3)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules that need each other: `one` needs something in `two`, which needs `one`."""
    folder = tmp_path / "mutual"
    folder.mkdir()
    for name, source in {"__init__": BEGUN, "one": ONE, "two": TWO}.items():
        (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "mutual"]:
        del sys.modules[name]
    look_again()


def reference(module: str, name: str) -> bytes:
    """The pickle of something that is not imported here."""
    opcodes = [pickle.PROTO, b"\x05"]
    for text in (module, name):
        opcodes += [pickle.SHORT_BINUNICODE, bytes([len(text)]), text.encode()]
    return b"".join([*opcodes, pickle.STACK_GLOBAL, pickle.STOP])


@pytest.mark.parametrize("in_frames", [False, True])
def test_two_threads_import_modules_that_need_each_other(package: None, in_frames: bool) -> None:
    blobs = [reference("mutual.one", "f"), reference("mutual.two", "g")]
    with ThreadPoolExecutor(2) as threads:
        load = (lambda blob: unpickle_frames([blob])) if in_frames else unpickle
        assert [func() for func in threads.map(load, blobs)] == [1, 1]


def test_what_is_no_module_fails_as_always() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        unpickle(reference("no_such_module", "f"))
    with pytest.raises(AttributeError, match="no_such_name"):
        unpickle(reference("math", "no_such_name"))


def test_it_hangs_not_for_ever_on_a_module_that_waits_for_it(
    package: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpickling, "MAX_WAIT_SECONDS", 0.1)
    look_again()

    class Loads:
        """As a module would that waits for a task while it is imported."""

        def __reduce__(self) -> Any:
            return load_elsewhere, ()

    def importing(name: str) -> Any:
        if name == "mutual":
            return load_elsewhere()
        return original(name)

    original = importlib.import_module
    monkeypatch.setattr(unpickling.importlib, "import_module", importing)
    assert unpickle(pickle.dumps(Loads())) is np.mean
    assert unpickling._import_alone("mutual") is None


def load_elsewhere() -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(unpickle(pickle.dumps(np.mean))))
    thread.start()
    thread.join()
    return found[0]


def test_buffers_are_not_copied() -> None:
    array = np.arange(4.0)
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(array, 5, buffer_callback=buffers.append)
    loaded = unpickle_frames([memoryview(head), *[buffer.raw() for buffer in buffers]])
    assert np.shares_memory(loaded, array)
