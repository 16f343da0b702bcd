"""Files that users upload: modules and packages, made importable on a worker, and data."""

from __future__ import annotations

import importlib
import io
import logging
import re
import sys
import zipfile
from collections.abc import Callable, Container, Mapping
from pathlib import Path

from distributed.unpickling import look_again

ARCHIVES = (".zip", ".egg")
FIRST_MODULE = re.compile(r"[^/]+\.py|[^/]+/__init__\.py")
ENCRYPTED = 1  # a flag in zip files

logger = logging.getLogger("distributed.worker")


class Uploads:
    """The files that a worker has. `replaced` is called when one has taken the place of what was there."""

    def __init__(self, directory: str, replaced: Callable[[], object]) -> None:
        self._directory = directory
        self._replaced = replaced
        self._held: dict[str, bytes] = {}  # in the order of uploads: the last one counts

    def without(self, names: Container[str]) -> dict[str, bytes]:
        """Those that have none of the names."""
        return {name: content for name, content in self._held.items() if name not in names}

    def install_all(self, files: Mapping[str, bytes]) -> None:
        """Unless they are there, for modules that have been imported would be imported anew."""
        if [(n, held) for n, held in self._held.items() if n in files] == [*files.items()]:
            return
        for name, content in files.items():
            try:
                self.install(name, content)
            except (OSError, ValueError) as error:
                logger.error("the uploaded file %s cannot be used here: %s", name, error)

    def install(self, name: str, content: bytes) -> None:
        """As `install_file`."""
        install_file(self._directory, name, content)
        self._held.pop(name, None)
        self._held[name] = content
        self._replaced()


def install_file(directory: str, name: str, content: bytes) -> None:
    """Put the file into the directory. A module (.py), or the modules of an archive (.zip, .egg), can be
    imported from now on, in place of what had their names. Nothing is imported here: that would run code of
    a user.

    Raises ValueError if the name is not that of a file.
    """
    if not name or Path(name).name != name or name == "..":
        raise ValueError(f"{name!r} is not the name of a file")
    path = Path(directory) / name
    names = _names_of(path, content)
    path.write_bytes(content)
    if not names:
        return  # data
    place = directory if path.suffix == ".py" else str(path)
    if place in sys.path:
        sys.path.remove(place)
    sys.path.insert(0, place)  # before archives of earlier versions
    for module in tuple(sys.modules):
        if module.partition(".")[0] in names:
            del sys.modules[module]
    look_again()
    # Compiled code of the earlier one may look as new as this file.
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()
    sys.path_importer_cache.pop(place, None)
    importlib.invalidate_caches()


def check_syntax(path: Path, content: bytes) -> None:
    """Raises SyntaxError for a module that cannot be compiled, or an archive with such a module at the top.
    What lies deeper in a package is not looked at: it may be a template, or for another Python."""
    if path.suffix == ".py":
        compile(content, str(path), "exec", dont_inherit=True)
        return
    archive = _archive(path, content)
    for member in archive.infolist() if archive is not None else ():
        if FIRST_MODULE.fullmatch(member.filename) and not member.flag_bits & ENCRYPTED:
            source = archive.read(member)
            compile(source, f"{path}/{member.filename}", "exec", dont_inherit=True)


def _names_of(path: Path, content: bytes) -> set[str]:
    """What can be imported from the file, without what follows a dot."""
    if path.suffix == ".py":
        return {path.stem}
    archive = _archive(path, content)
    members = archive.namelist() if archive is not None else []
    tops = {member.partition("/")[0] for member in members if member.endswith((".py", ".pyc"))}
    # The main module of an archive that is a program is not the worker's.
    return {top.partition(".")[0] for top in tops} - {"__main__"}


def _archive(path: Path, content: bytes) -> zipfile.ZipFile | None:
    """None for data, whatever it is called."""
    if path.suffix not in ARCHIVES:
        return None
    try:
        return zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile:
        return None
