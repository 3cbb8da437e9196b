"""The image without a container engine: lint, build steps, process and health check.

bubblewrap runs the process as the image's user, without capabilities, on a read-only root. The
build steps fetch packages and take half a minute: `make image` runs them, `make test` uses the
packages that are installed here instead.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.child import Child, free_port
from tests.deploy.dockerfile import DOCKERFILE, environment, only, stages, words
from tests.docs.markdown import ROOT
from tests.eventually import eventually
from tests.programs import require
from tests.tokens import SECRET

BUILD, IMAGE = stages()

WHOLE = "IMAGE" in os.environ


INSTALLED = Path("/opt/gateway")
PYTHON = Path(sys.base_prefix)

BASE_PATH = f"{PYTHON}/bin:/usr/bin:/bin"
"""The `PATH` of the base image, with this Python."""

SANDBOX = ("bwrap", "--dev", "/dev", "--proc", "/proc", "--unshare-pid", "--die-with-parent")
SYSTEM = tuple(name for name in ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", str(PYTHON)))
"""Directories of the base image: programs, libraries, certificates, Python."""


def test_hadolint_accepts_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    ran = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")


def test_the_user_is_a_number_and_not_root() -> None:
    user, group = only(IMAGE, "USER").split(":")
    assert int(user) >= 10_000
    assert int(group) >= 10_000


def test_the_build_context_is_exactly_the_copied_files() -> None:
    sent = {line[1:] for line in _lines(ROOT / ".dockerignore") if line.startswith("!")}
    copied = {
        name
        for word, rest in BUILD + IMAGE
        if word == "COPY" and not rest.startswith("--from")
        for name in rest.split()[:-1]
    }
    assert copied == sent
    assert _lines(ROOT / ".dockerignore")[0] == "*"
    assert all((ROOT / name).exists() for name in copied)


def test_no_secret_is_in_a_layer() -> None:
    text = DOCKERFILE.read_text()
    for word in ("SECRET", "PASSWORD", "OPS_TOKEN=", "KEYFILE"):
        assert word not in text
    arguments = {rest.partition("=")[0] for word, rest in IMAGE if word == "ARG"}
    assert arguments == {"VERSION", "REVISION"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the environment that the build steps install, or the one that is installed here."""
    if sys.platform != "linux":
        pytest.skip("needs Linux")
    require("bwrap")
    return _build(tmp_path_factory.mktemp("build")) if WHOLE else Path(sys.prefix)


@pytest.fixture
def variables(installed: Path) -> dict[str, str]:
    """Return the environment of the image's process, with ports that are free here."""
    found = environment(IMAGE)
    assert found["PATH"] == f"{INSTALLED}/bin:$PATH"
    listen, operations = found["GATEWAY_LISTEN"], found["GATEWAY_OPS_LISTEN"]
    assert (listen, operations) == ("0.0.0.0:8080", "127.0.0.1:8081")
    return {
        **found,
        "PATH": f"{INSTALLED if WHOLE else installed}/bin:{BASE_PATH}",
        "GATEWAY_LISTEN": f"127.0.0.1:{free_port()}",
        "GATEWAY_OPS_LISTEN": f"127.0.0.1:{free_port()}",
        "GATEWAY_JWT_SECRET": SECRET,
        "GATEWAY_KAFKA_BOOTSTRAP": "127.0.0.1:9",
    }


@pytest.fixture
def container(installed: Path, variables: dict[str, str], tmp_path: Path) -> Iterator[Child]:
    command = words(only(IMAGE, "ENTRYPOINT")) + words(only(IMAGE, "CMD"))
    child = Child(_contained(command, installed, variables), tmp_path / "log")
    try:
        yield child
    finally:
        child.end()


async def test_a_container_serves_is_healthy_and_ends_at_its_signal(
    container: Child, installed: Path, variables: dict[str, str]
) -> None:
    health = words(only(IMAGE, "HEALTHCHECK").partition("CMD ")[2])

    async def healthy() -> bool:
        assert container.exit_code is None, container.log()
        return _run(_contained(health, installed, variables)).returncode == 0

    await eventually("the health check passes", healthy)
    (process,) = _children(container.pid)
    status = _status(process)
    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"

    os.kill(process, signal.Signals[only(IMAGE, "STOPSIGNAL")])
    assert container.wait() == 0, container.log()
    assert "Traceback" not in container.log()


def test_the_process_cannot_write_a_file(installed: Path, variables: dict[str, str]) -> None:
    for directory in ("/", "/tmp", "/opt", "/etc"):
        writing = ["python", "-c", f"open('{directory}/x', 'w')"]
        assert _run(_contained(writing, installed, variables)).returncode == 1


def test_the_health_check_fails_without_a_worker(
    installed: Path, variables: dict[str, str]
) -> None:
    health = words(only(IMAGE, "HEALTHCHECK").partition("CMD ")[2])
    assert _run(_contained(health, installed, variables)).returncode == 1


def _contained(argv: list[str], installed: Path, variables: dict[str, str]) -> list[str]:
    """Return the command that runs `argv` as the image's user on a read-only root."""
    user, group = only(IMAGE, "USER").split(":")
    command = [*SANDBOX, *_base(), "--dir", "/tmp", "--dir", "/opt"]
    command += ["--ro-bind", str(installed), str(INSTALLED if WHOLE else installed)]
    if not WHOLE:
        command += ["--ro-bind", str(ROOT / "gateway"), str(ROOT / "gateway")]
    command += ["--remount-ro", "/", "--unshare-user", "--uid", user, "--gid", group]
    command += ["--cap-drop", "ALL", "--clearenv"]
    for name, value in variables.items():
        command += ["--setenv", name, value]
    return [*command, *argv]


def _build(root: Path) -> Path:
    """Run the steps of the build stage as written and return the environment they install."""
    directory = only(BUILD, "WORKDIR")
    source, target = root / "source", root / "opt"
    source.mkdir()
    target.mkdir()
    sandbox = [*SANDBOX, *_base(), "--tmpfs", "/tmp", "--bind", str(source), directory]
    sandbox += ["--bind", str(target), "/opt", "--chdir", directory, "--clearenv"]
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    for name, value in {"PATH": BASE_PATH, **pip}.items():
        sandbox += ["--setenv", name, value]
    for word, rest in BUILD:
        if word == "COPY":
            *names, to = rest.split()
            for name in names:
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, source / to)
                else:
                    shutil.copy(ROOT / name, source / to)
        elif word == "RUN":
            ran = _run([*sandbox, "sh", "-c", rest])
            assert ran.returncode == 0, ran.stdout + ran.stderr
    return target / INSTALLED.name


def _base() -> list[str]:
    return [part for name in SYSTEM if Path(name).exists() for part in ("--ro-bind", name, name)]


def _run(argv: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, capture_output=True, check=False)


def _children(pid: int) -> list[int]:
    """Return the processes in the sandbox: the last of the chain that bubblewrap starts."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    deeper = [child for name in listed for child in _children(int(name))]
    return deeper or [int(name) for name in listed]


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
