"""Copies of functions whose state is in lists and the like."""

from __future__ import annotations

from typing import Any

import cloudpickle
import numpy as np
import pytest

from distributed.function_copies import MAX_ARRAY_BYTES, FunctionCopies
from distributed.function_state import Stateful
from distributed.serialize import pickle_function


def typed(source: str) -> Any:
    """The function f of a session, as it is on a worker."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(source, names)
    return cloudpickle.loads(pickle_function(names["f"]))


ONES = {
    "list": "x = []\ndef f(): x.append(1); return len(x)",
    "inner list": "x = ([[]], 1)\ndef f(): x[0][0].append(1); return len(x[0][0])",
    "dict": "x = {'a': {}}\ndef f(): x['a'][len(x['a'])] = 1; return len(x['a'])",
    "set": "x = {'a'}\ndef f(): x.add(len(x)); return len(x) - 1",
    "bytes": "x = bytearray()\ndef f(): x.append(1); return len(x)",
    "array": "import numpy as np\nx = np.zeros(1)\ndef f(): x[0] += 1; return x[0]",
    "two names": "x = []\ny = {'a': x}\ndef f(): x.append(1); return len(y['a'])",
    "itself": "x = []\nx.append(x)\ndef f(): x[0].append(1); return len(x) - 1",
    "default": "def f(x=[]): x.append(1); return len(x)",
    "default by name": "def f(*, x=[]): x.append(1); return len(x)",
    "attribute": "def f(): return 1\nf.x = []",
    "closure": "def make():\n x = []\n def f(): x.append(1); return len(x)\n return f\nf = make()",
    "variable around": "def make():\n n = 0\n def f():\n  nonlocal n\n  n += 1\n  return n\n return f\n"
    "f = make()",
    "unassigned": "def make():\n x = []\n def f():\n  nonlocal n\n  x.append(1)\n  n = len(x)\n  return n\n"
    " if 0: n = 0\n return f\nf = make()",
    "global": "n = 0\ndef f():\n global n\n n += 1\n return n",
    "globals": "n = 0\ndef f(): globals()['n'] += 1; return n",
    "inner function": "x = []\ndef f():\n def g(): x.append(1); return len(x)\n return g()",
}


@pytest.mark.parametrize("source", ONES.values(), ids=ONES)
def test_each_copy_finds_everything_as_it_was(source: str) -> None:
    copies = FunctionCopies(typed(source))
    assert [copies.make()() for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    "source",
    [
        "f = len",
        "f = [].append",
        "x = []\ndef g(): return x\ndef f(): return g()",
        "x = []\nclass A: pass\ndef f(): return A, x",
        "import functools\nx = []\ndef g(): return x\np = functools.partial(g)\ndef f(): return p()",
        "def f(): f.n = 1",
        "class A: pass\nx = [A()]\ndef f(): return x",
        "x = iter([1])\ndef f(): return x",
        "import collections\nx = collections.deque()\ndef f(): return x",
        f"import numpy as np\nx = np.zeros({MAX_ARRAY_BYTES})\ndef f(): return x",
        "import numpy as np\nx = np.array([[]], object)\ndef f(): return x",
    ],
)
def test_functions_with_other_state_are_not_copied(source: str) -> None:
    with pytest.raises(Stateful):
        FunctionCopies(typed(source))


def test_a_copy_is_like_the_function() -> None:
    func = typed(
        "import numpy as np\nx = np.zeros((2, 3), order='F')\ny = (1, 'a')\n"
        "def make():\n def f(a, b=y, *, c=y):\n  'Doc.'\n  return x, y\n return f\nf = make()\nf.z = 1"
    )
    made = FunctionCopies(func).make()
    names = ("__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__")
    for name in (*names, "__code__", "__dict__"):
        assert getattr(made, name) == getattr(func, name), name
    array, constant = made(1)
    assert array.flags.f_contiguous and not np.shares_memory(array, func(1)[0])
    assert constant is func(1)[1]
