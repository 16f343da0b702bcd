"""Files that users upload: modules and packages, made importable on a worker."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from distributed.unpickling import look_again


def install_file(directory: str, name: str, content: bytes) -> None:
    """Make the module (.py) or the archive of modules (.zip, .egg) importable, in place of an earlier
    one of the same name. Nothing is imported here: that runs a user's code.

    Raises ValueError if the name is not that of such a file.
    """
    if Path(name).name != name or Path(name).suffix not in (".py", ".zip", ".egg"):
        raise ValueError(f"{name!r} is not the name of a .py, .zip or .egg file")
    path = Path(directory) / name
    path.write_bytes(content)
    is_module = path.suffix == ".py"
    place = directory if is_module else str(path)
    if place not in sys.path:
        sys.path.insert(0, place)
    for module in _modules_of(path, is_module):
        del sys.modules[module]
    look_again()
    # Compiled code of the earlier one may look as new as this file.
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()
    sys.path_importer_cache.pop(place, None)
    importlib.invalidate_caches()


def _modules_of(path: Path, is_module: bool) -> list[str]:
    """Those that have been imported from the file."""
    if is_module:
        return [path.stem] if path.stem in sys.modules else []
    inside = str(path) + "/"
    return [
        name
        for name, module in tuple(sys.modules.items())
        if (getattr(module, "__file__", None) or "").startswith(inside)
    ]
