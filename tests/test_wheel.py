"""What `python -m build` makes runs in an empty environment, with all its files and its types."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import aiohttp
import pytest

from gateway import __version__
from gateway.demo.broker import EmbeddedBroker
from gateway.ops.page import PAGE_PATHS
from tests.child import Child, free_port
from tests.client import StreamClient
from tests.docs.markdown import ROOT
from tests.eventually import DEADLINE, eventually
from tests.tokens import SECRET, mint
from tests.worker import status

SECONDS = 4 * DEADLINE


PROGRAM = """\
import asyncio

from gateway.errors import PublishError
from gateway.publisher import EventPublisher


async def main() -> None:
    async with EventPublisher("127.0.0.1:9092", on_error="drop") as publisher:
        event_id: str | None = await publisher.publish("alice", "import.completed", {"rows": 9})
        print(event_id)
        number: int = await publisher.publish("alice", "a", 1)  # type: ignore[assignment]
        print(number)


try:
    asyncio.run(main())
except PublishError as error:
    print(error)
"""
"""In strict mode an unused `type: ignore` is an error, which proves that mypy sees the types."""


class Installed(NamedTuple):
    """The wheel, the sdist, and an environment with only the wheel and its dependencies."""

    wheel: Path
    sdist: Path
    bin: Path

    def environment(self, **settings: str) -> dict[str, str]:
        """Return the environment of a process that cannot find another Python."""
        named = {f"GATEWAY_{name.upper()}": value for name, value in settings.items()}
        return {
            "PATH": f"{self.bin}:{os.defpath}",
            "HOME": str(self.bin),
            "COLUMNS": "200",
            **named,
        }

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the program `gateway` to its end."""
        command = [self.bin / "gateway", *arguments]
        return _run(command, self.bin, self.environment(**settings), check=False)


def _run(
    command: Sequence[object],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    *,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    _run([sys.executable, "-m", "build", "--outdir", folder, ROOT], folder)
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q"]
    options = ["--disable-pip-version-check", "--no-compile", "-c"]
    _run([*pip, *options, ROOT / "constraints.txt", wheel], folder)
    return Installed(wheel, sdist, python.parent)


def test_every_file_of_the_package_is_in_the_wheel_and_the_sdist(installed: Installed) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "gateway").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "gateway/py.typed" in files
    with ZipFile(installed.wheel) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("gateway/")}
    assert packed == files, "a file that is not a module is named in package-data of pyproject.toml"
    with tarfile.open(installed.sdist) as sdist:
        assert {f"{sdist.getnames()[0]}/{name}" for name in files} <= set(sdist.getnames())


def test_it_says_its_version(installed: Installed) -> None:
    assert installed.run("--version").stdout == f"gateway {__version__}\n"
    assert f"-{__version__}-py3-" in installed.wheel.name
    assert installed.sdist.name.endswith(f"-{__version__}.tar.gz")


def test_a_check_without_a_broker_fails_in_plain_words(installed: Installed) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    checked = installed.run("check", kafka_bootstrap=nobody, jwt_secret=SECRET)
    assert checked.returncode == 1
    assert nobody in checked.stdout
    assert "Traceback" not in checked.stdout + checked.stderr


async def test_it_serves(installed: Installed, tmp_path: Path) -> None:
    port, ops_port = free_port(), free_port()
    async with EmbeddedBroker() as broker, aiohttp.ClientSession() as http:
        settings = {
            "kafka_bootstrap": broker.bootstrap,
            "create_topics": "true",
            "jwt_secret": SECRET,
            "listen": f"127.0.0.1:{port}",
            "ops_listen": f"127.0.0.1:{ops_port}",
            "drain_seconds": "0",
        }
        command = [str(installed.bin / "gateway"), "serve"]
        worker = Child(command, tmp_path / "log", installed.environment(**settings))
        try:

            async def ready() -> bool:
                assert worker.exit_code is None, worker.log()
                return await status(http, f"http://127.0.0.1:{ops_port}/readyz") == 200

            await eventually("the worker is ready", ready)
            for path in PAGE_PATHS:
                assert await status(http, f"http://127.0.0.1:{ops_port}{path}") == 200
            url = f"http://127.0.0.1:{port}/api/v1/events"
            async with StreamClient(url, mint("alice")) as client:
                await client.connect()
                await client.wait_for(lambda client: client.last_event_id)
                event = ("publish", "alice", "import.completed", '{"rows": 9}')
                assert installed.run(*event, **settings).returncode == 0
                await client.wait_for(1)
                assert client.data == ['{"rows": 9}']
        finally:
            worker.end()
    assert worker.exit_code == 0


def test_its_types_are_seen_by_strict_rules(installed: Installed, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    options = ["--strict", "--cache-dir", tmp_path / "cache"]
    python = installed.bin / "python"
    mypy = [sys.executable, "-m", "mypy", *options, "--python-executable", python, program]
    assert "Success" in _run(mypy, tmp_path).stdout
