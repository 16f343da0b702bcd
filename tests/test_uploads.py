"""Uploaded files become importable."""

from __future__ import annotations

import importlib
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from distributed.uploads import install_file


@pytest.fixture(autouse=True)
def clean_imports() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def archive(value: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as content:
        content.writestr("zipped_for_test/__init__.py", f"value = {value!r}\n")
        content.writestr("zipped_for_test/inner.py", f"value = {value * 2!r}\n")
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
