"""Directories that belong to processes, and what becomes of them when these are killed.

A process that is killed cannot remove its files. So it holds a lock on its directory, which the kernel
takes away at its end, however that comes; and whoever starts on the same machine removes the directories of
the same user that nobody has locked.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import socket
import tempfile
from pathlib import Path

logger = logging.getLogger("distributed.nanny")

# How often a new directory may be taken for one that nobody has locked, in the moment before we have.
ATTEMPTS = 100


class Lease:
    """A new directory in `parent`, by default that for temporary files, until `close` or the end of all
    processes that hold `descriptor`.

    Raises OSError if there is no place for one.
    """

    def __init__(self, parent: str | None, kind: str) -> None:
        for _ in range(ATTEMPTS):
            self.directory = os.path.abspath(tempfile.mkdtemp(prefix=_prefix(kind), dir=parent))
            descriptor = _lock(self.directory, fcntl.LOCK_SH)
            if descriptor is not None:
                self.descriptor = descriptor
                return
        raise OSError(f"directories in {parent} vanish as soon as they are made")

    @property
    def exists(self) -> bool:
        """Whether the directory is still there: programs that tidy up may have removed it."""
        return _is_at(self.descriptor, self.directory)

    def close(self) -> None:
        """Remove the directory, with all that is in it."""
        shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self.descriptor)


def sweep(parent: str | None, kind: str) -> list[str]:
    """Remove the directories of killed processes; returns which these were.

    What another user, or another machine that shares the file system, has made is left alone.
    """
    swept = []
    for path in Path(parent or tempfile.gettempdir()).glob(f"{_prefix(kind)}*"):
        descriptor = _lock(str(path), fcntl.LOCK_EX)
        if descriptor is None:
            continue
        if os.fstat(descriptor).st_uid == os.geteuid():
            shutil.rmtree(path, ignore_errors=True)
            logger.info("removed %s, which a killed process has left", path)
            swept.append(str(path))
        os.close(descriptor)
    return swept


def _prefix(kind: str) -> str:
    """Locks are not always seen by other machines with the same file system: so each has its own names."""
    return f"{kind}-{re.sub(r'[^A-Za-z0-9]', '_', socket.gethostname())}-"


def _lock(directory: str, how: int) -> int | None:
    """A descriptor of the directory, locked; None if another process has the lock, or has removed it."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        logger.debug("%s cannot be opened: %s", directory, error)
        return None
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        locked = False
    except OSError as error:
        # A file system without locks. Then nobody can tell whether it is still used, and it stays.
        logger.debug("%s cannot be locked: %s", directory, error)
        locked = how == fcntl.LOCK_SH
    else:
        locked = _is_at(descriptor, directory)
    if not locked:
        os.close(descriptor)
        return None
    return descriptor


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except OSError:
        return False
