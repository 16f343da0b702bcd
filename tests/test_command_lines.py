"""Command lines that people type for dask, from its documentation, its `--help` and programs that start it;
and what becomes of each here. No process is started."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from click.testing import CliRunner

import distributed_commands
from distributed.cli import scheduler, worker
from distributed.cli.scheduler import dscheduler
from distributed.cli.worker import dworker
from distributed.machine import count_cpus

AT = "tcp://127.0.0.1:8786"
# What those programs that read the lines take them for. The longest first.
PROGRAMS = {
    "python -m distributed.cli.dask_scheduler": dscheduler,
    "python -m distributed.cli.dask_worker": dworker,
    "dask scheduler": dscheduler,
    "dask worker": dworker,
    "dask-scheduler": dscheduler,
    "dask-worker": dworker,
    "dscheduler": dscheduler,
    "dworker": dworker,
}

TAKEN = [
    "dask scheduler",
    "dask-scheduler",
    "python -m distributed.cli.dask_scheduler --port 0",
    "dscheduler --host 127.0.0.1 --port 8787",
    "dask scheduler --host tcp://127.0.0.1:8786",
    "dask scheduler --host localhost --port 0",
    "dask scheduler --host ::1",
    "dask scheduler --host '[::1]:8786'",
    "dask scheduler --host 0.0.0.0 --insecure",
    "dask scheduler --interface lo",
    "dask scheduler --protocol tcp",
    "dask scheduler --protocol tcp://",
    "dask scheduler --no-dashboard",
    "dask scheduler --no-show",
    "dask scheduler --no-jupyter",
    "dask scheduler --idle-timeout 3600",
    "dask scheduler --idle-timeout '1 hour'",
    "dask scheduler --pid-file /tmp/scheduler.pid --scheduler-file /tmp/scheduler.json",
    "dask scheduler --preload setup.py",
    "dask scheduler --preload setup.py --preload package.module -- --opt 3",
    f"dask worker {AT}",
    f"dask-worker {AT}",
    "dask worker 127.0.0.1:8786",
    "dask worker localhost:8786",
    "dask worker tcp://127.0.0.1:8786/",
    "dask worker '[::1]:8786'",
    f"dask worker {AT} --nworkers 4",
    f"dask worker {AT} --nworkers auto",
    f"dask worker {AT} --nworkers -1",
    f"dask worker {AT} --nworkers=-1 --nthreads 1",
    f"dask worker {AT} --nprocs 2 --nthreads 2",
    f"dask worker {AT} --nthreads 0",
    f"dask worker {AT} --nworkers 2 --name alice",
    f"dask worker {AT} --name alice --no-nanny",
    f"dask worker {AT} --nanny",
    f"dask worker {AT} --memory-limit auto",
    f"dask worker {AT} --memory-limit 4GB --memory-limit '4 GiB'",
    f"dask worker {AT} --memory-limit 0.25",
    f"dask worker {AT} --memory-limit 0",
    f"dask worker {AT} --resources 'GPU=2'",
    f"dask worker {AT} --resources 'GPU=2 MEM=10e9'",
    f"dask worker {AT} --interface lo",
    f"dask worker {AT} --host 127.0.0.1 --worker-port 9000",
    f"dask worker {AT} --worker-port 3000:3026 --nworkers 2",
    f"dask worker {AT} --listen-address tcp://127.0.0.1:9000",
    f"dask worker {AT} --listen-address tcp://:9000",
    f"dask worker {AT} --listen-address tcp://0.0.0.0:9 --contact-address tcp://10.0.0.1:9 --insecure",
    f"dask worker {AT} --death-timeout 60",
    f"dask worker {AT} --death-timeout 60s",
    f"dask worker {AT} --death-timeout '5 minutes'",
    f"dask worker {AT} --death-timeout inf",
    f"dask worker {AT} --lifetime 3600",
    f"dask worker {AT} --lifetime '1 hour' --lifetime-stagger '5 minutes' --lifetime-restart",
    f"dask worker {AT} --lifetime 55m --no-lifetime-restart",
    f"dask worker {AT} --local-directory /tmp/dask-worker-space --pid-file /tmp/worker.pid",
    f"dask worker {AT} --no-dashboard",
    f"dask worker {AT} --protocol tcp",
    f"dask worker {AT} --preload package.module",
    f"dask worker {AT} --preload setup.py -- --opt 3",
    f"dask worker {AT} --preload-nanny setup.py",
    f"dask worker {AT} --worker-class distributed.Worker",
    f"python -m distributed.cli.dask_worker {AT} --name SLURMCluster-0 --nthreads 2 --memory-limit 3.73GiB "
    "--nworkers 2 --nanny --death-timeout 60 --local-directory /tmp/scratch --interface lo "
    "--protocol tcp://",
]

SAID = {
    "dask scheduler --dashboard-address :8787": "--dashboard-address does nothing here: there is no",
    "dask scheduler --dashboard": "--dashboard does nothing here: there is no dashboard yet",
    "dask scheduler --show": "--show does nothing here: there is no dashboard yet",
    "dask scheduler --dashboard-prefix /dask": "--dashboard-prefix does nothing here",
    "dask scheduler --use-xheaders True": "--use-xheaders does nothing here",
    f"dask worker {AT} --dashboard-address :0": "--dashboard-address does nothing here",
    f"dask worker {AT} --nanny-port 3000:3026": "--nanny-port does nothing here: a nanny listens",
}

REFUSED = {
    "dask scheduler --protocol tls": "ssh -L 8786:localhost:8786",
    "dask scheduler --protocol ucx": "only tcp is known",
    "dask scheduler --tls-ca-file ca.pem --tls-cert cert.pem --tls-key key.pem": "go through ssh",
    "dask scheduler --host tls://127.0.0.1": "only tcp:// is known",
    "dask scheduler --host 0.0.0.0": "Add --insecure if",
    "dask scheduler --interface eth99": "there is no network interface 'eth99' here, only: ",
    "dask scheduler --interface lo --host 127.0.0.1": "not both",
    "dask scheduler --jupyter": "start Jupyter beside the scheduler",
    "dask scheduler --idle-timeout -5": "negative",
    "dask scheduler --idle-timeout soon": "write seconds, '5s'",
    "dask scheduler 127.0.0.1:8786": "unexpected extra arguments",
    "dask worker": "DASK_SCHEDULER_ADDRESS",
    "dask worker 127.0.0.1": "write 'host:port'",
    "dask worker ::1:8786": "stands in brackets",
    "dask worker tls://127.0.0.1:8786": "only tcp:// addresses are known",
    f"dask worker {AT} --nworkers 0": "write -1, or auto",
    f"dask worker {AT} --nworkers many": "neither a number",
    f"dask worker {AT} --nworkers -1000": "leaves no process",
    f"dask worker {AT} --nworkers 2 --no-nanny": "needs the nanny",
    f"dask worker {AT} --nworkers 2 --worker-port 9000": "give a range",
    f"dask worker {AT} --nworkers 3 --worker-port 9000:9001": "2 of them: give a range",
    f"dask worker {AT} --worker-port 9001:9000": "not in the range",
    f"dask worker {AT} --worker-port http": "neither a port nor a range",
    f"dask worker {AT} --contact-address tcp://10.0.0.1": "has a host and one port",
    f"dask worker {AT} --listen-address tcp://127.0.0.1:1 --host 127.0.0.1": "not beside them",
    f"dask worker {AT} --listen-address ucx://127.0.0.1:1": "only tcp:// is known",
    f"dask worker {AT} --death-timeout -1": "negative",
    f"dask worker {AT} --lifetime -1": "negative",
    f"dask worker {AT} --lifetime 10 --lifetime-stagger 10": "not shorter than --lifetime",
    f"dask worker {AT} --lifetime-restart": "are for a --lifetime",
    f"dask worker {AT} --memory-limit -1": "negative",
    f"dask worker {AT} --worker-class dask_cuda.CUDAWorker": "--preload MODULE runs code of yours",
    f"dask worker {AT} --tls-cert cert.pem": "go through ssh",
    f"dask worker {AT} --scheduler-sni host": "go through ssh",
    f"dask worker {AT} --preload-nanny setup.py --no-nanny": "needs the nanny",
    f"dask worker {AT} --scheduler-file scheduler.json": "not both",
    f"dask worker {AT} extra": "unexpected extra arguments",
    f"dask worker {AT} --nthread 2": "Did you mean",
    f"dask worker {AT} --preload setup.py --opt 3": "write it behind `--`",
}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the commands would run."""
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    found: list[tuple[Any, ...]] = []
    for module in (scheduler, worker):
        monkeypatch.setattr(module, "set_up", lambda *_: None)
        monkeypatch.setattr(module, "leave", lambda _: None)
        monkeypatch.setattr(module, "run", lambda *given: found.append(given))
    return found


def typed(line: str) -> tuple[int, str]:
    """The exit status, and what was printed."""
    program = next(program for program in PROGRAMS if line.startswith(program))
    words = shlex.split(line.removeprefix(program))
    result = CliRunner().invoke(PROGRAMS[program], words, prog_name=program)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize("line", TAKEN)
def test_taken(line: str, ran: list[Any]) -> None:
    assert typed(line) == (0, "")
    assert len(ran) == 1


@pytest.mark.parametrize("line", SAID)
def test_taken_with_a_line_that_says_what_it_means_here(line: str, ran: list[Any]) -> None:
    status, said = typed(line)
    assert status == 0 and len(ran) == 1
    assert SAID[line] in said and said.startswith(line[: len("dask worker")])


@pytest.mark.parametrize("line", REFUSED)
def test_refused_with_a_line_that_says_what_to_do(line: str, ran: list[Any]) -> None:
    status, said = typed(line)
    assert status == 2 and ran == []
    assert REFUSED[line] in said


def test_dask_ssh_says_what_to_type() -> None:
    result = CliRunner().invoke(distributed_commands.dask_ssh, ["--nworkers", "2", "a", "b"])
    assert result.exit_code == 1
    assert "ssh HOST dworker ADDRESS:8786" in " ".join(result.output.split())


# What reaches the processes


def scheduler_of(ran: list[Any], line: str) -> Any:
    assert typed(f"dscheduler {line}")[0] == 0
    return ran.pop()


def worker_of(ran: list[Any], line: str, address: str = AT) -> Any:
    assert typed(f"dworker {address} {line}")[0] == 0
    return ran.pop()


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("", ("127.0.0.1", 8786)),
        ("--port 0", ("127.0.0.1", 0)),
        ("--host localhost", ("localhost", 8786)),
        ("--host tcp://127.0.0.2:99/", ("127.0.0.2", 99)),
        ("--host 127.0.0.2 --port 99", ("127.0.0.2", 99)),
        ("--host ::1", ("::1", 8786)),
        ("--host [::1]", ("::1", 8786)),
        ("--host [::1]:99", ("::1", 99)),
        ("--host tcp://:99 --insecure", ("0.0.0.0", 99)),
        ("--host :: --insecure", ("::", 8786)),
        ("--interface lo", ("127.0.0.1", 8786)),
    ],
)
def test_where_a_scheduler_listens(line: str, place: tuple[str, int], ran: list[Any]) -> None:
    assert scheduler_of(ran, line)[:2] == place


def test_two_ports_of_a_scheduler_are_refused(ran: list[Any]) -> None:
    assert typed("dscheduler --host 127.0.0.1:1 --port 2")[0] == 2


def test_times_of_a_scheduler(ran: list[Any]) -> None:
    line = "--idle-timeout '1 hour' --worker-timeout 5s --client-timeout '1 minute'"
    timeouts = {"idle_timeout": 3600.0, "worker_timeout": 5.0, "client_timeout": 60.0}
    assert scheduler_of(ran, line)[2] == timeouts


def test_preloads_and_files_of_a_scheduler(ran: list[Any]) -> None:
    line = "--preload a --preload b.py --pid-file p --scheduler-file s -- --opt 3"
    assert scheduler_of(ran, line)[3:] == ((("a", "b.py"), ("--opt", "3")), ("s", "p"))


@pytest.mark.parametrize(
    ("line", "host", "ports", "contact"),
    [
        ("", "127.0.0.1", (), None),
        ("--host 0.0.0.0", "127.0.0.1", (), None),
        ("--worker-port 9000", "127.0.0.1", (9000,), None),
        ("--port 0", "127.0.0.1", (), None),
        ("--worker-port 9000:9002 --nworkers 2", "127.0.0.1", (9000, 9001, 9002), None),
        ("--host 127.0.0.2:9000", "127.0.0.2", (9000,), None),
        ("--listen-address tcp://127.0.0.2:9000", "127.0.0.2", (9000,), None),
        ("--listen-address tcp://:9000", "127.0.0.1", (9000,), None),
        ("--interface lo", "127.0.0.1", (), None),
        ("--contact-address 10.0.0.1:9 --insecure", "0.0.0.0", (9,), "tcp://10.0.0.1:9"),
        ("--contact-address 10.0.0.1 --port 9 --insecure", "0.0.0.0", (9,), "tcp://10.0.0.1:9"),
        ("--contact-address [fd00::2]:9 --host 127.0.0.1", "127.0.0.1", (9,), "tcp://[fd00::2]:9"),
    ],
)
def test_where_a_worker_listens(
    line: str, host: str, ports: Any, contact: str | None, ran: list[Any]
) -> None:
    options = worker_of(ran, line)[1]
    assert (options.host, options.ports, options.contact) == (host, ports, contact)


def test_a_worker_listens_in_the_family_of_its_scheduler(ran: list[Any]) -> None:
    assert worker_of(ran, "", "[::1]:8786")[1].host == "::1"


CPUS = count_cpus()


@pytest.mark.parametrize(
    ("line", "processes", "threads"),
    [
        ("", 1, CPUS),
        ("--nthreads 0", 1, CPUS),
        ("--nworkers -1", CPUS, 1),
        ("--nworkers -1 --nthreads 3", CPUS, 3),
        ("--nworkers auto --nthreads 1", CPUS, 1),
        ("--nprocs 2 --nthreads 5", 2, 5),
        ("--no-nanny", 0, CPUS),
    ],
)
def test_how_many_workers(line: str, processes: int, threads: int, ran: list[Any]) -> None:
    _, options, nworkers, *_ = worker_of(ran, line)
    assert (nworkers, options.nthreads) == (processes, threads)


def test_lifetimes_of_workers(ran: list[Any]) -> None:
    line = "--lifetime 1h --lifetime-stagger '5 minutes' --lifetime-restart --death-timeout 2m"
    options = worker_of(ran, line)[1]
    assert options[-5:-2] == (3600.0, 300.0, True) and options.death_timeout == 120.0
    assert worker_of(ran, "")[1].lifetime is None


def test_preloads_of_workers(ran: list[Any]) -> None:
    line = "--preload a --preload b.py --preload-nanny c --pid-file p -- --opt 3"
    _, options, _, preload_nanny, pid_file, _ = worker_of(ran, line)
    assert options[-2:] == (("a", "b.py"), ("--opt", "3"))
    assert (preload_nanny, pid_file) == (("c",), "p")


def test_the_address_in_the_environment(ran: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    with dask.config.set({"scheduler-address": "tcp://127.0.0.1:99"}):
        status, said = typed("dworker")
    assert status == 0 and ran[0][0] == ("127.0.0.1", 99)
    assert said == (
        "dworker: the scheduler is tcp://127.0.0.1:99, by scheduler-address in dask's configuration"
    )
