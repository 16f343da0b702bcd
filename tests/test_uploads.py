"""Uploaded files become importable."""

from __future__ import annotations

import importlib
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from distributed.uploads import check_syntax, install_file


@pytest.fixture(autouse=True)
def clean_imports() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def archive(value: str) -> bytes:
    return archive_of(
        {
            "zipped_for_test/__init__.py": f"value = {value!r}\n",
            "zipped_for_test/inner.py": f"value = {value * 2!r}\n",
        }
    )


def archive_of(members: dict[str, str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as content:
        for name, text in members.items():
            content.writestr(name, text)
    return file.getvalue()


def test_a_module_is_replaced_by_a_newer_one(tmp_path: Path) -> None:
    for value in ("a", "b"):  # within one second, and of equal size
        install_file(str(tmp_path), "module_for_test.py", f"value = {value!r}".encode())
        assert importlib.import_module("module_for_test").value == value


def test_an_archive_is_replaced_by_a_newer_one(tmp_path: Path) -> None:
    for value in ("one", "two"):
        install_file(str(tmp_path), "archive_for_test.zip", archive(value))
        assert importlib.import_module("zipped_for_test").value == value
        assert importlib.import_module("zipped_for_test.inner").value == value * 2


def test_another_version_of_a_package_takes_its_place(tmp_path: Path) -> None:
    for version in ("1", "2", "1"):
        install_file(str(tmp_path), f"package-{version}.egg", archive(version))
        assert importlib.import_module("zipped_for_test").value == version
        assert importlib.import_module("zipped_for_test.inner").value == version * 2


def test_a_module_takes_the_place_of_a_package(tmp_path: Path) -> None:
    install_file(str(tmp_path), "package.zip", archive("package"))
    importlib.import_module("zipped_for_test.inner")
    install_file(str(tmp_path), "zipped_for_test.py", b"value = 'module'")
    assert importlib.import_module("zipped_for_test").value == "module"


def test_the_main_module_of_an_archive_does_not_replace_that_of_the_worker(tmp_path: Path) -> None:
    before = sys.modules["__main__"]
    members = {"__main__.py": "raise SystemExit", "beside_main_for_test.py": "value = 1"}
    install_file(str(tmp_path), "program.zip", archive_of(members))
    assert importlib.import_module("beside_main_for_test").value == 1
    assert sys.modules["__main__"] is before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("broken.py", b"def f(:"),
        ("broken.zip", archive_of({"fine.py": "", "broken.py": "def f(:"})),
        ("broken-1.egg", archive_of({"broken/__init__.py": "def f(:"})),
    ],
)
def test_a_module_that_cannot_be_compiled_is_refused(name: str, content: bytes) -> None:
    with pytest.raises(SyntaxError) as caught:
        check_syntax(Path("here") / name, content)
    assert str(caught.value.filename).startswith(f"here/{name}")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("fine.py", b"# -*- coding: latin-1 -*-\nname = '\xe9'"),
        ("fine.zip", archive_of({"fine/__init__.py": "", "fine/template.py": "{{ name }}"})),
        ("data.zip", b"no archive"),
        ("data.csv", b"def f(:"),
    ],
)
def test_what_can_be_imported_or_is_data_is_not_refused(name: str, content: bytes) -> None:
    check_syntax(Path(name), content)


@pytest.mark.parametrize("name", ["data.csv", "config.yaml", "noext", "broken.zip", ".hidden"])
def test_other_files_are_data(tmp_path: Path, name: str) -> None:
    before = list(sys.path)
    for content in (b"first", b"second"):
        install_file(str(tmp_path), name, content)
        assert (tmp_path / name).read_bytes() == content
    assert sys.path == before


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil.py", "a/b.csv", "", "..", "."])
def test_what_is_no_name_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of"):
        install_file(str(tmp_path), name, b"")
