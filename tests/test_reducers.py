"""What neither pickle nor cloudpickle can, from a session to a worker and back."""

from __future__ import annotations

import functools
import pickle
import sys
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from distributed.errors import SerializationError
from distributed.recipes import function_of
from distributed.serialize import dumps, pickle_bytes, pickle_function
from distributed.unpickling import unpickle, unpickle_frames


def typed(source: str) -> dict[str, Any]:
    """As if typed in a notebook."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(source, names)
    return names


def moved(value: Any) -> Any:
    """The value as a worker gets it, and passes it on."""
    return unpickle(pickle_bytes(unpickle(pickle_bytes(value))))


CALLS = {
    "cached": "import functools\n@functools.lru_cache(maxsize=3)\ndef g(x): return x\nf = lambda: g(1)",
    "recursive": "from functools import cache\n@cache\ndef g(n): return g(n - 1) if n else 1\n"
    "f = lambda: g(5)",
    "cached method": "import functools\nclass A:\n @functools.cache\n def m(self, x): return x\n"
    "f = lambda: A().m(1)",
    "cached static method": "import functools\nclass A:\n @staticmethod\n @functools.cache\n"
    " def m(x): return x\nf = lambda: A.m(1)",
    "cached class method": "import functools\nclass A:\n @classmethod\n @functools.cache\n"
    " def m(cls, x): return x\nf = lambda: A.m(1)",
    "cached property": "import functools\nclass A:\n @functools.cached_property\n def p(self): return 1\n"
    "f = lambda: A().p",
    "dispatch": "import functools\n@functools.singledispatch\ndef g(x): return 0\n"
    "@g.register(list)\ndef _(x): return g(x[0])\n@g.register\ndef _(x: int): return x\n"
    "f = lambda: g([[1]]) + g('a')",
    "dispatch of methods": "import functools\nclass A:\n @functools.singledispatchmethod\n"
    " def m(self, x): return 0\n @m.register\n def _(self, x: int): return x\n"
    "f = lambda: A().m(1) + A().m('a')",
    "partial method": "import functools\nclass A:\n def m(self, x): return x\n"
    " p = functools.partialmethod(m, 1)\nf = lambda: A().p()",
    "context manager": "import contextlib\n@contextlib.contextmanager\ndef g(): yield 1\n"
    "def f():\n with g() as x: return x",
    "wrapped": "import functools\ndef d(g):\n @functools.wraps(g)\n def w(): return g()\n return w\n"
    "@d\ndef f(): return 1",
}


@pytest.mark.parametrize("source", CALLS.values(), ids=CALLS)
def test_functions_that_the_library_makes_of_those_of_a_session(source: str) -> None:
    f = typed(source)["f"]
    assert f() == 1
    assert unpickle(pickle_function(f))() == 1
    assert moved(f)() == 1
    assert function_of(f).blob  # there is a key for it as well


def test_a_cached_function_keeps_its_parameters() -> None:
    names = typed("import functools\n@functools.lru_cache(maxsize=3, typed=True)\ndef g(x): 'Doc.'")
    names["g"](1)
    names["g"].note = "kept"
    g = moved(names["g"])
    assert g.cache_parameters() == {"maxsize": 3, "typed": True}
    assert (g.cache_info().currsize, g.note, g.__doc__, g.__name__) == (0, "kept", "Doc.", "g")


@functools.lru_cache
def cached_here() -> None:
    pass


def test_a_cached_function_of_a_module_is_that_of_the_module() -> None:
    assert moved(cached_here) is cached_here


SLOTTED = {
    "plain": "class A:\n __slots__ = ('x', '__y')\n def __init__(self): self.x = self.__y = 1",
    "one": "class A:\n __slots__ = 'x'\n def __init__(self): self.x = 1",
    "derived": "class B:\n __slots__ = ('x',)\nclass A(B):\n __slots__ = ()\n"
    " def __init__(self): self.x = 1",
    "with a dict": "class A:\n __slots__ = ('x', '__dict__')\n def __init__(self): self.x = self.z = 1",
    "dataclass": "import dataclasses\n@dataclasses.dataclass(slots=True)\nclass A:\n x: int = 1",
    "frozen": "import dataclasses\n@dataclasses.dataclass(slots=True, frozen=True)\nclass A:\n x: int = 1",
}


@pytest.mark.parametrize("source", SLOTTED.values(), ids=SLOTTED)
def test_objects_with_slots_come_back_to_their_session(source: str) -> None:
    kind = typed(source)["A"]
    assert moved(kind()).x == 1
    # The worker has no class of that identity: it makes one.
    script = "import pickle, sys, cloudpickle; from distributed.serialize import pickle_bytes\n"
    script += "sys.stdout.buffer.write(pickle_bytes(pickle.load(sys.stdin.buffer)()))"
    made = unpickle(run(script, pickle_bytes(kind)))
    assert type(made) is kind and made.x == 1


def run(script: str, given: bytes) -> bytes:
    import subprocess

    return subprocess.run(
        [sys.executable, "-c", script], input=given, stdout=subprocess.PIPE, check=True
    ).stdout


def test_named_tuples_of_a_session() -> None:
    names = typed("import typing\nclass P(typing.NamedTuple):\n x: int\n y: int = 2")
    point = names["P"](1)
    assert moved(point) == point and type(moved(point)) is type(point)


VIEWS = {
    "bytes": memoryview(b"abc"),
    "bytearray": memoryview(bytearray(b"abc")),
    "empty": memoryview(b""),
    "numbers": memoryview(np.arange(6.0)),
    "table": memoryview(np.arange(6).reshape(2, 3)),
    "every other": memoryview(b"abcdef")[::2],
    "transposed": memoryview(np.arange(6).reshape(2, 3).T),
    "large": memoryview(np.zeros(100_000)),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_memoryview_arrives_as_one(view: memoryview) -> None:
    for copy in (moved(view), unpickle_frames(dumps(view)), moved([view])[0]):
        assert type(copy) is memoryview
        assert (copy.format, copy.shape, copy.tobytes()) == (
            view.format,
            view.shape,
            view.tobytes(),
        )
        assert copy == view
    assert moved(view).readonly == view.readonly


def test_a_traceback_arrives_with_its_lines() -> None:
    try:
        raise ValueError
    except ValueError as error:
        trace = error.__traceback__
    copy = moved({"trace": trace})["trace"]
    assert type(copy) is types.TracebackType
    assert traceback.format_tb(copy) == traceback.format_tb(trace)


def test_what_an_open_file_is_refused_with(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file, pytest.raises(SerializationError) as info:
        pickle_bytes([file])
    assert str(info.value) == (
        "a list cannot be pickled: an open file stays in its process: give the task its path, and open it "
        "there"
    )


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A package that no worker has."""
    folder = tmp_path / "only_here"
    (folder / "sub").mkdir(parents=True)
    source = "K = 1\nclass A:\n x = 1\ndef f(): return K, A().x\n"
    (folder / "__init__.py").write_text(source + "from only_here.sub import inner\n")
    (folder / "sub" / "__init__.py").write_text("")
    (folder / "sub" / "inner.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here  # type: ignore[import-not-found]

    yield only_here
    for name in [name for name in sys.modules if name.partition(".")[0] == "only_here"]:
        del sys.modules[name]


def test_modules_that_are_registered_travel_by_value(package: Any) -> None:
    things = [
        package.f,
        package.A,
        package.inner.f,
        [package.inner.A()],
        functools.partial(package.f),
    ]
    by_name = function_of(package.f)
    assert b"CodeType" not in by_name.blob
    cloudpickle.register_pickle_by_value(package)
    try:
        pickled = [pickle_bytes(thing) for thing in things]
        pickled += [function_of(things[0]).blob, function_of(things[2]).blob]
        before = function_of(package.f).id
        package.K = 2
        assert len({before, by_name.id, function_of(package.f).id}) == 3
    finally:
        cloudpickle.unregister_pickle_by_value(package)
    assert function_of(package.f) == by_name
    script = "import pickle, sys\nfor blob in pickle.load(sys.stdin.buffer): pickle.loads(blob)\n"
    run(script + "assert 'only_here' not in sys.modules", pickle.dumps(pickled))
