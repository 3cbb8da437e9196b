"""The image, without an engine: its recipe is linted, its steps are run, and its process is looked
at in a box that is as narrow as a container is.

Building takes half a minute, so the short form runs what is installed here in place of what the
steps install; `make image` runs them all.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.child import Child
from tests.deploy.box import PYTHON, Box, inside, require_boxes, system
from tests.deploy.dockerfile import DOCKERFILE, environment, only, stages, words
from tests.docs.markdown import ROOT
from tests.eventually import eventually
from tests.tokens import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILD, IMAGE = stages()

WHOLE = "IMAGE" in os.environ

pytestmark = pytest.mark.timeout(600 if WHOLE else 120)

INSTALLED = Path("/opt/gateway")

BASE_PATH = f"{PYTHON}/bin:/usr/bin:/bin"
"""The `PATH` of the base image, whose Python is this one."""


def test_the_recipe_has_nothing_that_a_linter_complains_of() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    ran = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")


def test_the_image_runs_as_a_number_that_is_not_root() -> None:
    user, group = only(IMAGE, "USER").split(":")
    assert int(user) >= 10_000
    assert int(group) >= 10_000


def test_nothing_but_what_is_copied_is_sent_to_the_engine() -> None:
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
def installed(tmp_path_factory: pytest.TempPathFactory) -> Box:
    """Return the image's root, with what its steps have installed, or what is installed here."""
    require_boxes()
    root = tmp_path_factory.mktemp("image")
    if WHOLE:
        return Box(root, {**system(), INSTALLED: _build(tmp_path_factory.mktemp("build"))})
    here = Path(sys.prefix)
    return Box(root, {**system(), here: here, ROOT / "gateway": ROOT / "gateway"})


@pytest.fixture
def container(installed: Box, tmp_path: Path) -> Iterator[Child]:
    command = words(only(IMAGE, "ENTRYPOINT")) + words(only(IMAGE, "CMD"))
    argv = installed.command(command, _variables(), only(IMAGE, "USER"))
    child = Child(argv, tmp_path / "log")
    try:
        yield child
    finally:
        child.end()


async def test_a_container_serves_is_healthy_and_ends_at_its_signal(
    container: Child, installed: Box
) -> None:
    user = only(IMAGE, "USER")
    health = words(only(IMAGE, "HEALTHCHECK").partition("CMD ")[2])

    async def healthy() -> bool:
        assert container.exit_code is None, container.log()
        argv = inside(container.pid, health, _variables(), user)
        return _run(argv).returncode == 0

    await eventually("the health check passes", healthy, 20)
    status = _status(container.pid)
    assert status["Uid"].split() == [user.partition(":")[0]] * 4
    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"

    look = "import sys, urllib.request as r; print(r.urlopen('http://0.0.0.0:8080/').read())"
    argv = inside(container.pid, ["python", "-c", look], _variables(), user)
    assert b"Server-Sent Events" in _run(argv).stdout

    for directory in ("/", "/tmp", "/opt", str(ROOT)):
        writing = f"open('{directory}/x', 'w')"
        argv = inside(container.pid, ["python", "-c", writing], _variables(), user)
        assert _run(argv).returncode == 1

    container.signal(signal.Signals[only(IMAGE, "STOPSIGNAL")])
    assert container.wait() == 0, container.log()
    assert "Traceback" not in container.log()


def test_a_health_check_fails_where_nobody_answers(installed: Box) -> None:
    health = words(only(IMAGE, "HEALTHCHECK").partition("CMD ")[2])
    argv = installed.command(health, _variables(), only(IMAGE, "USER"))
    assert _run(argv).returncode == 1


def _run(argv: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, capture_output=True, check=False)


def _variables() -> dict[str, str]:
    """Return what the image and whoever runs it set."""
    bin_directory = f"{INSTALLED}/bin" if WHOLE else f"{sys.prefix}/bin"
    variables = environment(IMAGE)
    assert variables["PATH"] == f"{INSTALLED}/bin:$PATH"
    return {
        **variables,
        "PATH": f"{bin_directory}:{BASE_PATH}",
        "GATEWAY_JWT_SECRET": SECRET,
        "GATEWAY_KAFKA_BOOTSTRAP": "127.0.0.1:9",
    }


def _build(root: Path) -> Path:
    """Run the steps of the build stage, each as it stands, and return what they have installed."""
    box = Box(root, system(), writable=True)
    directory = only(BUILD, "WORKDIR")
    variables = {"PATH": BASE_PATH, **{k: v for k, v in os.environ.items() if k[:4] == "PIP_"}}
    (root / "opt").mkdir()
    for word, rest in BUILD:
        if word == "COPY":
            *names, to = rest.split()
            target = root / directory[1:] / to
            target.mkdir(parents=True, exist_ok=True)
            for name in names:
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, target, dirs_exist_ok=True)
                else:
                    shutil.copy(ROOT / name, target)
        elif word == "RUN":
            argv = box.command(["sh", "-c", rest], variables, directory=directory)
            ran = subprocess.run(argv, capture_output=True, text=True, check=False)
            assert ran.returncode == 0, ran.stdout + ran.stderr
    return root / str(INSTALLED)[1:]


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
