"""The units: systemd's own tools accept them, and their values fit a worker."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from gateway.commands.findings import Status, files_finding
from gateway.config import load_settings
from gateway.http.transport.connection import FLUSH_SECONDS
from tests.child import Child, free_port
from tests.docs.markdown import ROOT
from tests.eventually import eventually
from tests.programs import require
from tests.tokens import SECRET
from tests.worker import status

SYSTEMD = ROOT / "deploy/systemd"

PROGRAM = "/opt/gateway/bin/gateway"

MOST_EXPOSED = 1.5
"""Maximum exposure, of 10; the rest is that a worker has sockets and reads files."""


def values(name: str) -> list[str]:
    """Return all values of a directive of the unit."""
    lines = (SYSTEMD / "gateway@.service").read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]


def value(name: str) -> str:
    (found,) = values(name)
    return found


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """Return the units with the path of the installed program."""
    found = []
    for unit in SYSTEMD.iterdir():
        text = unit.read_text().replace(PROGRAM, f"{sys.prefix}/bin/gateway")
        found.append(tmp_path / unit.name)
        found[-1].write_text(text)
    return sorted(found)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    require("systemd-analyze")
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_systemd_accepts_the_units(units: list[Path]) -> None:
    ran = analyze("verify", "--man=no", *units)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


def test_the_exposure_of_a_worker_is_low(units: list[Path]) -> None:
    service = next(unit for unit in units if unit.name == "gateway@.service")
    ran = analyze("security", "--offline=true", "--no-pager", service)
    level = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", ran.stdout)
    assert level is not None, ran.stdout + ran.stderr
    assert float(level[1]) <= MOST_EXPOSED


@pytest.mark.parametrize("number", ["01", "08", "64"])
def test_the_instance_number_selects_the_ports(
    number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for line in values("Environment"):
        monkeypatch.setenv(*line.replace("%i", number).split("=", 1))
    settings = load_settings()
    assert settings.listen == f"127.0.0.1:180{number}"
    assert settings.ops_listen == f"127.0.0.1:181{number}"


def test_the_stop_timeout_covers_the_drain() -> None:
    needed = load_settings().drain_seconds + FLUSH_SECONDS
    assert int(value("TimeoutStopSec").removesuffix("s")) >= needed + 10


def test_the_file_limit_covers_every_stream() -> None:
    found = files_finding(int(value("LimitNOFILE")), load_settings().max_streams)
    assert found.status is Status.OK


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[tuple[Child, Path]]:
    """Yield a starting worker and the file with its system calls."""
    require("strace")
    calls = tmp_path / "calls"
    environment = {name: text for name, text in os.environ.items() if name[:8] != "GATEWAY_"}
    environment |= {
        "GATEWAY_JWT_SECRET": SECRET,
        "GATEWAY_KAFKA_BOOTSTRAP": "127.0.0.1:9",
        "GATEWAY_LISTEN": f"127.0.0.1:{free_port()}",
        "GATEWAY_OPS_LISTEN": f"127.0.0.1:{free_port()}",
    }
    command = ["strace", "-f", "-qq", "-o", str(calls), sys.executable, "-m", "gateway", "serve"]
    child = Child(command, tmp_path / "log", environment)
    try:
        yield child, calls
    finally:
        child.end()


async def test_a_worker_uses_only_permitted_system_calls(
    traced: tuple[Child, Path],
) -> None:
    child, calls = traced
    url = re.compile(r'"ops_url": "(\S+)"')

    async def healthy() -> bool:
        assert child.exit_code is None, child.log()
        found = url.search(child.log())
        return found is not None and await status(http, f"{found[1]}/healthz") == 200

    async with aiohttp.ClientSession() as http:
        await eventually("the worker is up", healthy)
    # strace does not forward signals: the first listed process is the worker.
    os.kill(int(calls.read_text().split(maxsplit=1)[0]), signal.SIGTERM)
    assert child.wait() == 0, child.log()
    made = set(re.findall(r"^\d+ +(\w+)\(", calls.read_text(), re.MULTILINE))
    assert {"accept4", "epoll_wait", "socketpair"} <= made
    allowed = _calls("@system-service") - _calls("@privileged") - _calls("@resources")
    assert made <= allowed


def _calls(name: str) -> set[str]:
    """Return the system calls of a systemd set, nested sets included."""
    lines = analyze("syscall-filter", name).stdout.splitlines()[1:]
    names = {line.strip() for line in lines if line.strip() and not line.strip().startswith("#")}
    assert names
    sets = {name for name in names if name.startswith("@")}
    return (names - sets).union(*(_calls(name) for name in sets))
