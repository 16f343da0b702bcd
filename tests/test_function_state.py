"""Which functions can carry something from one call to the next."""

from __future__ import annotations

import functools
import math
import operator
from typing import Any

import cloudpickle
import numpy as np
import pytest

from distributed.function_state import attributes_of, is_unchanged
from distributed.loaded_functions import LoadedFunctions
from distributed.programs import Compiler
from distributed.serialize import pickle_function


def typed(source: str) -> Any:
    """The function f of a session, as it is on a worker."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(source, names)
    return cloudpickle.loads(pickle_function(names["f"]))


@pytest.mark.parametrize(
    "func",
    [
        len,
        math.hypot,
        np.mean,
        np.add,
        dict,
        str.upper,
        dict.fromkeys,
        "abc".upper,
        operator.itemgetter(1),
        functools.partial(math.hypot, 1, y=(2, "a")),
        functools.partial(pow, np.float64(2)),
    ],
)
def test_functions_of_modules_over_constants_are_shared(func: Any) -> None:
    assert attributes_of(func) == []


@pytest.mark.parametrize(
    "source",
    [
        "f = lambda x: x + 1",
        "import numpy as np\ndef f(x): return np.sin(x)",
        "K = (1, ('a', None))\ndef f(x, y=2): return x + K",
        "def make(n): return lambda x: x + n\nf = make(3)",
        "def f(x):\n n = 0\n def g():\n  nonlocal n\n  n += 1\n g()\n return n",
        "def f(x): x.y = 1",
        "import re\nP = re.compile('a')\nf = lambda x: P.match(x)",
        "from collections import Counter\ndef f(x): return Counter(x)",
    ],
)
def test_functions_of_a_session_over_constants_are_shared(source: str) -> None:
    assert attributes_of(typed(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "def g(x): return x\ndef f(x): return g(x)",
        "def f(n): return n and f(n - 1)",
        "class A:\n y = 1\n def m(self): self.x = 1\ndef f(): return A()",
        "import enum\nclass E(enum.Enum):\n A = 1\ndef f(): return E.A",
        "import abc\nclass A(abc.ABC):\n @property\n def x(self): return 1\ndef f(): return A()",
        "import dataclasses\n@dataclasses.dataclass\nclass A:\n x: int = 0\ndef f(): return A()",
        "class A:\n @classmethod\n def m(cls): return __class__\n @staticmethod\n def s(): 1\nf = A.m",
        "import functools\n@functools.cache\ndef g(x): return g(x - 1) if x else 0\ndef f(): return g(3)",
    ],
)
def test_functions_over_functions_and_classes_of_the_session_are_watched(source: str) -> None:
    attributes = attributes_of(typed(source))
    assert attributes
    assert is_unchanged(attributes)


@pytest.mark.parametrize(
    "source",
    [
        "x = []\ndef f(): x.append(1)",
        "x = ([],)\ndef f(): return x",
        "def f(x=[]): return x",
        "def f(*, x={}): return x",
        "def f(): pass\nf.x = []",
        "n = 0\ndef f():\n global n\n n += 1",
        "def f():\n global n\n del n",
        "def f(): globals()['n'] = 1",
        "def f(): exec('global n; n = 1')",
        "def f(): f.n = 1",
        "def f(): f.n += 1",
        "def g(): pass\ndef f(): g.n = 1",
        "def g(x=[]): pass\ndef f(): g()",
        "class A: n = 1\ndef f(): A.n += 1",
        "class A: n = []\ndef f(): return A()",
        "class A: pass\nf = A().__repr__",
        "class A:\n def __call__(self): pass\nf = A()",
        "class A:\n def m(self): pass\nf = A().m",
        "class A: pass\na = A()\ndef f(): return a",
        "f = [].append",
        "import numpy as np\nx = np.zeros(1)\ndef f(): return x",
        "import numpy as np\nf = np.random.default_rng(1).normal",
        "import functools\nf = functools.partial(len, [])",
        "import functools\nf = functools.partial(len)\nf.x = 1",
        "def make():\n n = 0\n def f():\n  nonlocal n\n  n += 1\n return f\nf = make()",
        "def m():\n n = 0\n def f():\n  def g():\n   nonlocal n\n   n += 1\n  g()\n return f\nf = m()",
        "f = iter([1, 2]).__next__",
    ],
)
def test_what_holds_something_that_can_be_changed_is_not_shared(source: str) -> None:
    assert attributes_of(typed(source)) is None


def test_a_function_that_contains_itself_a_thousand_times_over_is_not_shared() -> None:
    func: Any = len
    for _ in range(5000):
        func = functools.partial(pow, func)
    assert attributes_of(func) is None


@pytest.mark.parametrize("change", ["g.n = 1", "A.n = 2", "A.m = len", "del A.n", "E.B.n = 1"])
def test_a_change_of_what_is_watched_is_seen(change: str) -> None:
    source = """
import enum
def g(): pass
class A:
    n = 1
    def m(self): return 1
class E(enum.Enum): B = 1
def f(): return g, A, E
"""
    func = typed(source)
    attributes = attributes_of(func)
    assert attributes is not None and is_unchanged(attributes)
    exec(change, dict(zip("gAE", func(), strict=True)))
    assert not is_unchanged(attributes)


def test_a_class_that_arrives_again_with_an_object_is_unchanged() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec("class A:\n n = 1\n def m(self): return __class__\ndef f(): return A", names)
    func = cloudpickle.loads(pickle_function(names["f"]))
    attributes = attributes_of(func)
    assert attributes is not None
    before = func().m
    assert type(cloudpickle.loads(pickle_function(names["A"]()))) is func()
    assert func().m is not before
    assert is_unchanged(attributes)


def load(source: str) -> tuple[LoadedFunctions, Any]:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(source, names)
    functions = LoadedFunctions()
    functions.learn("f", pickle_function(names["f"]))
    return functions, lambda *args: functions.load("f")(*args)


STATE = {
    "method": "class A:\n n = 0\n def m(self): self.n += 1; return self.n\nf = A().m",
    "class": "class A: n = 0\ndef f(): A.n += 1; return A.n",
    "list of a class": "class A: n = []\ndef f(): A.n.append(1); return len(A.n)",
    "global": "n = 0\ndef f():\n global n\n n += 1\n return n",
    "attribute of an alias": "def g(): pass\ng.n = 0\ndef f(): h = g; h.n += 1; return h.n",
    "array": "import numpy as np\nx = np.zeros(100_000)\ndef f(): x[:] += 1; return int(x[0])",
    "default": "def f(x=[]): x.append(1); return len(x)",
}


@pytest.mark.parametrize("source", STATE.values(), ids=STATE)
def test_calls_do_not_see_each_other(source: str) -> None:
    _, call = load(source)
    assert [call() for _ in range(4)] == [1, 1, 1, 1]


def test_a_function_without_state_is_unpickled_once() -> None:
    functions, _ = load("def g(): pass\ndef f(): return g")
    assert functions.load("f") is functions.load("f")
    functions.load_again()
    first = functions.load("f")
    assert first is functions.load("f")


def test_large_buffers_are_mapped_for_each_call_and_may_be_written_to() -> None:
    functions, _ = load("import numpy as np\nx = np.arange(1e6)\ndef f(): return x")
    first, second = functions.load("f")(), functions.load("f")()
    first[0] = 7
    assert second[0] == 0
    second[1] = 8
    assert functions.load("f")()[:2].tolist() == [0, 1]
    assert (second[2:] == np.arange(2, 1e6)).all()


def test_functions_in_a_program_count() -> None:
    def program(*steps: Any) -> Any:
        compiler = Compiler()
        compiler.steps = [(step, (), ()) for step in steps]
        return cloudpickle.loads(compiler.program(~0).blob)

    assert attributes_of(program(len, dict)) == []
    assert attributes_of(program(len, functools.partial(len, []))) is None


def count(cls: type) -> int:
    cls.n = getattr(cls, "n", 0) + 1  # type: ignore[attr-defined]
    return int(cls.n)  # type: ignore[attr-defined]


def test_a_class_that_code_gets_as_an_argument_may_be_changed_by_it() -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("class A:\n n = 0\n @classmethod\n def m(cls): cls.n += 1", space)
    owner = space["A"]
    for func in (owner.m, functools.partial(count, owner), owner):
        noted = attributes_of(func)
        assert noted is not None
        assert owner in [kept for kept, _ in noted]
        assert is_unchanged(noted)
        owner.m()
        assert not is_unchanged(noted)
