"""`make rivals`: build the servers of `make bench ROW=rivals`, then try each with a few streams.

Prints one line for each server: it works, or why not. The exit code is 1 if one does not work.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.brokers.kafka import KafkaNode, missing_programs
from tests.tools.bench.delivery import Pace
from tests.tools.bench.ground import Ground
from tests.tools.bench.rivals import RIVALS, TOOLS, Rival, Rivals
from tests.tools.bench.tally import Void

BUILD_SECONDS = 900.0

SHORT = Pace(50, seconds=0.5, warm_up=0.1)

TRIAL = Rivals(20, 20, SHORT, SHORT, missed=3)

WORKS = "works: opened streams and delivered events and broadcasts"


class Build(NamedTuple):
    """How a server is built from its package registry."""

    commands: Sequence[Sequence[str]]
    folder: Path
    sources: Mapping[str, Path] = {}
    """Files that are copied to the folder first, by their name there."""
    environment: Mapping[str, str] = {}


_MERCURE_FOLDER = TOOLS / "mercure-hub"

BUILDS = {
    "Centrifugo": Build(
        [("go", "install", "github.com/centrifugal/centrifugo/v6@v6.9.1")],
        TOOLS,
        environment={"GOBIN": str(TOOLS)},
    ),
    "Durable Streams": Build(
        [("cargo", "install", "durable-streams@0.1.5", "--locked", "--root", str(TOOLS))], TOOLS
    ),
    # A dependency of a small module: the module of Mercure itself cannot be built by `go install`.
    "Mercure": Build(
        [
            ("go", "mod", "init", "hub"),
            ("go", "get", "github.com/dunglas/mercure@v0.24.2"),
            ("go", "build", "-o", str(TOOLS / "mercure"), "."),
        ],
        _MERCURE_FOLDER,
        sources={"main.go": Path(__file__).with_name("mercure.go")},
    ),
}


def main() -> int:
    """Build what is missing, try every server, and return the exit code."""
    failures = {name: _build(name, rival) for name, rival in RIVALS.items()}
    if programs := missing_programs():
        print(f"The trial runs Apache Kafka and needs {' and '.join(programs)}")
        return 1
    return asyncio.run(_try_all(failures))


def _build(name: str, rival: Rival) -> str:
    """Build a server that is not installed; return the reason of a failure, else an empty text."""
    if rival.is_installed():
        return ""
    if name not in BUILDS:
        return f"not installed; to install it: {rival.remedy}"
    print(f"{name} is being built, which takes some minutes", flush=True)
    return build(BUILDS[name])


def build(steps: Build) -> str:
    """Run the commands of a build; return the reason of a failure, else an empty text."""
    if steps.sources:
        shutil.rmtree(steps.folder, ignore_errors=True)
    steps.folder.mkdir(parents=True, exist_ok=True)
    for file, source in steps.sources.items():
        shutil.copyfile(source, steps.folder / file)
    for command in steps.commands:
        if reason := _run(command, steps):
            return f"not built: {reason}"
    return ""


def _run(command: Sequence[str], steps: Build) -> str:
    """Run one command; return the reason of a failure: its last line."""
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not installed"
    try:
        ended = subprocess.run(
            command,
            cwd=steps.folder,
            env={**os.environ, **steps.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"`{' '.join(command)}` took more than {BUILD_SECONDS:.0f} s"
    if not ended.returncode:
        return ""
    lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
    return f"`{' '.join(command)}`: {lines[-1].strip()}"


async def _try_all(failures: Mapping[str, str]) -> int:
    """Print one line for each server; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        async with KafkaNode(Path(folder, "kafka")) as kafka:
            ground = Ground(kafka.bootstrap, Path(folder))
            results = {
                name: failures[name] or await try_one(rival, ground)
                for name, rival in RIVALS.items()
            }
    for name, result in results.items():
        print(f"{name:16}{result}")
    return int(any(result != WORKS for result in results.values()))


async def try_one(rival: Rival, ground: Ground) -> str:
    """Run a server with a few streams; return `WORKS`, or the reason why it does not."""
    try:
        await TRIAL.measure_one(rival.run, ground)
    except (Void, AssertionError, OSError, RuntimeError) as error:
        return f"does not work: {str(error).strip() or type(error).__name__}"
    return WORKS


if __name__ == "__main__":
    sys.exit(main())
