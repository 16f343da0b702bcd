"""The commands' arguments: what is refused, and with which words. No process is started."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from distributed.cli import process, worker
from distributed.cli.scheduler import dscheduler
from distributed.cli.worker import dworker
from distributed.machine import count_cpus, parse_memory_limit, total_memory
from distributed.transport import Address


def refused(command: object, *arguments: str) -> str:
    """What the command says about arguments that it does not take."""
    result: Result = CliRunner().invoke(command, arguments)  # type: ignore[arg-type]
    assert result.exit_code == 2, result.output
    return result.output


def test_a_wildcard_host_needs_insecure() -> None:
    said = refused(dscheduler, "--host", "0.0.0.0", "--port", "0")
    assert "--insecure" in said and "run code here as" in said


@pytest.mark.parametrize("command", [dscheduler, dworker])
def test_a_port_has_sixteen_bits(command: object) -> None:
    assert "65535" in refused(command, "--port", "65536")


def test_several_processes_cannot_share_a_port() -> None:
    assert "--port" in refused(dworker, "127.0.0.1:1", "--nprocs", "2", "--port", "4000")


def test_several_processes_need_the_nanny() -> None:
    said = refused(dworker, "127.0.0.1:1", "--nprocs", "2", "--no-nanny")
    assert "needs the nanny" in said


def test_a_worker_needs_to_know_its_scheduler() -> None:
    assert "--scheduler-file" in refused(dworker)


@pytest.mark.parametrize("address", ["somewhere", "udp://127.0.0.1:1", "127.0.0.1:http"])
def test_an_address_that_is_none(address: str) -> None:
    assert address in refused(dworker, address)


def test_memory_that_is_none() -> None:
    assert "'much' is not an amount" in refused(dworker, "127.0.0.1:1", "--memory-limit", "much")


@pytest.mark.parametrize("resources", ["GPU", "GPU=one", "GPU=-1", "MEM=16GB", "GPU=1 GPU=1"])
def test_resources_that_are_none(resources: str) -> None:
    said = refused(dworker, "127.0.0.1:1", "--resources", resources)
    assert "Error: " in said and resources.partition("=")[0] in said


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"address": 3}', '{"address": "x"}'])
def test_a_scheduler_file_of_something_else(content: str, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(content)
    assert "Error: " in refused(dworker, "--scheduler-file", str(file))


def test_a_worker_listens_where_its_scheduler_can_reach_it() -> None:
    assert worker._host(None, Address("127.0.0.1", 1)) == "127.0.0.1"
    assert worker._host(None, Address("localhost", 1)) == "127.0.0.1"
    assert worker._host("0.0.0.0", Address("127.0.0.1", 1)) == "127.0.0.1"
    assert worker._host("10.0.0.7", Address("10.0.0.1", 1)) == "10.0.0.7"


def test_a_file_is_there_for_as_long_as_the_block_runs(tmp_path: Path) -> None:
    path = tmp_path / "a file"
    with process.file(str(path), "text"):
        assert path.read_text() == "text"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == []


def test_a_file_that_another_process_has_replaced_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a file"
    with process.file(str(path), "ours"):
        path.write_text("theirs")
    assert path.read_text() == "theirs"


def test_a_file_that_has_been_removed_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "a file"
    with process.file(str(path), json.dumps({})):
        path.unlink()
    assert not path.exists()


def test_amounts_of_memory() -> None:
    total, cpus = total_memory(), count_cpus()
    assert parse_memory_limit("4GB", 1) == 4_000_000_000
    assert parse_memory_limit("4GiB", 1) == 4 << 30
    assert parse_memory_limit("1000000000", 1) == 1_000_000_000
    assert parse_memory_limit("0", 1) == 0
    assert parse_memory_limit("0.5", 1) == total // 2
    assert parse_memory_limit("auto", cpus) == total
    assert parse_memory_limit("auto", 1) == pytest.approx(total / cpus, abs=1)
    with pytest.raises(ValueError, match="negative"):
        parse_memory_limit("-1", 1)
