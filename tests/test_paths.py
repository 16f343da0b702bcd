"""From which directories our processes and tasks import modules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distributed.paths import python_like_ours, resolved, trusted

HERE = str(Path(__file__).resolve().parent.parent)


def test_a_child_imports_from_where_we_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_here.py").write_text("x = 'it''s here'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    code = "import json, os, only_here; print(json.dumps([only_here.x, sys.argv[1:], sys.path]))"
    said = subprocess.check_output(python_like_ours(code, "an argument"), cwd="/")
    x, arguments, path = json.loads(said)
    assert (x, arguments) == ("its here", ["an argument"])
    assert sorted(path) == sorted(place or os.getcwd() for place in sys.path)


def test_the_current_directory_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolved(["", "/a"]) == [str(tmp_path), "/a"]
    assert trusted(["", "/a", "/b"]) == ["/a", "/b", str(tmp_path)]
    assert trusted([str(tmp_path), "/a"]) == ["/a", str(tmp_path)]


def test_the_directory_of_the_program_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/b/program.py", raising=False)
    assert trusted(["/b", "/a"]) == ["/a", "/b"]


def test_where_the_package_itself_is_nothing_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    assert trusted(["", "/a"]) == [HERE, "/a"]


def test_a_current_directory_that_was_deleted_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert resolved(["", "/a"]) == trusted(["", "/a"]) == ["/a"]
