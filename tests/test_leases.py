"""Directories that belong to processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distributed import leases
from distributed.leases import Lease, sweep


def hold(parent: Path) -> subprocess.Popen[str]:
    """A process that has a lease there."""
    code = (
        "import sys; from distributed.leases import Lease; lease = Lease(sys.argv[1], 'kind');"
        "print(lease.directory, flush=True); sys.stdin.read()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_a_killed_process_has_left_is_swept_and_what_is_held_is_not(tmp_path: Path) -> None:
    with hold(tmp_path) as living, hold(tmp_path) as killed:
        assert living.stdout is not None and killed.stdout is not None
        held, left = living.stdout.readline().strip(), killed.stdout.readline().strip()
        Path(left, "data").write_text("much")
        assert sweep(str(tmp_path), "kind") == []
        killed.kill()
        killed.wait()
        assert sweep(str(tmp_path), "kind") == [left]
        assert os.listdir(tmp_path) == [Path(held).name]
        living.kill()


def test_another_kind_or_machine_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Lease(str(tmp_path), "other")
    os.close(other.descriptor)
    monkeypatch.setattr(leases.socket, "gethostname", lambda: "elsewhere")
    lease = Lease(str(tmp_path), "kind")
    os.close(lease.descriptor)
    monkeypatch.undo()
    assert sweep(str(tmp_path), "kind") == []
    assert len(os.listdir(tmp_path)) == 2


def test_another_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease(str(tmp_path), "kind")
    os.close(lease.descriptor)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert sweep(str(tmp_path), "kind") == []
    monkeypatch.undo()
    assert sweep(str(tmp_path), "kind") == [lease.directory]


def test_links_are_not_followed(tmp_path: Path) -> None:
    lease = Lease(str(tmp_path), "kind")
    kept = tmp_path / "kept"
    kept.mkdir()
    link = Path(lease.directory + "x")
    link.symlink_to(kept)
    lease.close()
    assert sweep(str(tmp_path), "kind") == []
    assert kept.exists() and link.is_symlink()


def test_a_directory_that_is_swept_before_it_is_locked_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, swept = leases.tempfile.mkdtemp, []

    def mkdtemp(prefix: str, dir: str) -> str:
        made = real(prefix=prefix, dir=dir)
        if not swept:
            swept.extend(sweep(dir, "kind"))  # another process starts in this very moment
        return made

    monkeypatch.setattr(leases.tempfile, "mkdtemp", mkdtemp)
    lease = Lease(str(tmp_path), "kind")
    assert len(swept) == 1 and lease.directory not in swept
    assert lease.exists
    lease.close()
    assert os.listdir(tmp_path) == []


def test_a_directory_that_others_have_removed_is_noticed(tmp_path: Path) -> None:
    lease = Lease(str(tmp_path), "kind")
    os.rmdir(lease.directory)
    assert not lease.exists
    os.mkdir(lease.directory)
    assert not lease.exists
    lease.close()
