"""Modules of `--preload`, and what they may have."""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distributed.preloads import PreloadFailed, load_preloads


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module; its path."""

    def write(source: str) -> str:
        path = tmp_path / "preloaded_here.py"
        path.write_text(source)
        monkeypatch.setitem(sys.modules, path.stem, None)  # and so it is taken away at the end
        return str(path)

    return write


def test_a_file_is_imported_under_its_name(file: Callable[[str], str]) -> None:
    load_preloads([file("x = 1")], [], None)
    assert sys.modules["preloaded_here"].x == 1


def test_a_module_is_found_by_name(
    file: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file("def dask_setup(process): process.found = __name__")
    del sys.modules["preloaded_here"]
    monkeypatch.syspath_prepend(tmp_path)
    process = SimpleNamespace()
    load_preloads(["preloaded_here"], [], process)
    assert process.found == "preloaded_here"


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_it_sets_the_process_up(kind: str, file: Callable[[str], str]) -> None:
    process = SimpleNamespace()
    load_preloads([file(f"{kind} dask_setup(process): process.ready = True")], [], process)
    assert process.ready


def test_a_command_gets_the_arguments(file: Callable[[str], str]) -> None:
    source = """
import click

@click.command()
@click.option("--size", type=int)
@click.argument("rest", nargs=-1)
def dask_setup(process, size, rest):
    process.given = size, rest
"""
    process = SimpleNamespace()
    load_preloads([file(source)], ["--size", "3", "a", "b"], process)
    assert process.given == (3, ("a", "b"))


def test_the_teardown_is_an_exit_function(
    file: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registered: list[Any] = []
    monkeypatch.setattr(atexit, "register", registered.append)
    process = SimpleNamespace(ended=False)
    load_preloads([file("def dask_teardown(process): process.ended = True")], [], process)
    assert not process.ended
    registered[0]()
    assert process.ended


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("1/0", "ZeroDivisionError: division by zero"),
        ("def dask_setup(process): raise ValueError('a\\nb')", "ValueError: a"),
        ("import nothing_like_this", "ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("raise SystemExit('no')", "no"),
    ],
)
def test_a_module_that_fails_is_named(
    source: str, reason: str, file: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    path = file(source)
    with caplog.at_level(logging.ERROR), pytest.raises(PreloadFailed) as raised:
        load_preloads([path], [], None)
    assert str(raised.value).startswith(f"--preload {path} ")
    assert str(raised.value).endswith(reason)


def test_the_traceback_begins_in_the_module(
    file: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(PreloadFailed):
        load_preloads([file("def dask_setup(process):\n    1/0")], [], None)
    assert caplog.text.count("File ") == 1 and "line 2, in dask_setup" in caplog.text


@pytest.mark.parametrize("name", ["no_module_like_this", "no/file/like_this.py"])
def test_a_module_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(PreloadFailed, match=name):
        load_preloads([name], [], None)
