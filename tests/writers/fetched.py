"""What tests need from Maven and npm, fetched once into `.writers/`, which git ignores."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.eventually import DEADLINE

SOURCES = Path(__file__).parent
FOLDER = SOURCES.parents[1] / ".writers"

FETCH_SECONDS = 4 * DEADLINE
"""The first time: 24 MB and 25 s from Maven, 22 MB and 8 s from npm."""


def connect_jars() -> Path:
    """Return the folder that has the jars of `connect/pom.xml`."""
    return _jars("connect", SOURCES / "connect" / "pom.xml")


def serialiser_jars() -> Path:
    """Return the folder that has the jars of `tests/schemas/java/pom.xml`: 27 MB."""
    return _jars("serialisers", SOURCES.parent / "schemas" / "java" / "pom.xml")


def streams_jars() -> Path:
    """Return the folder that has the jars of `streams/pom.xml`: 95 MB, most of it RocksDB."""
    return _jars("streams", SOURCES / "streams" / "pom.xml")


def _jars(name: str, pom: Path) -> Path:
    with _fetching(name, pom) as folder:
        if folder is not None:
            goal = ["dependency:copy-dependencies", "-DincludeScope=runtime"]
            target = f"-DoutputDirectory={folder / 'libs'}"
            _run(["mvn", "-q", "-B", "-f", str(pom), *goal, target], folder)
    return FOLDER / name / "libs"


def schema_registry_jar() -> Path:
    """Return the program of Apicurio Registry: 109 MB from Maven, the newest one for Java 17."""
    program = FOLDER / "registry" / "app"
    with _fetching("registry", SOURCES.parent / "schemas" / "registry.txt") as folder:
        if folder is not None:
            artifact = (SOURCES.parent / "schemas" / "registry.txt").read_text().strip()
            goal = ["dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"]
            _run(["mvn", "-q", "-B", *goal], folder)
            (archive,) = folder.glob("*.tar.gz")
            program.mkdir()
            _run(["tar", "xzf", str(archive), "-C", str(program)], folder)
            archive.unlink()
    (jar,) = program.glob("*-runner.jar")
    return jar


def node_modules(source: Path = SOURCES / "node") -> Path:
    """Return the folder that has the packages of a folder's `package.json`."""
    packages = source / "package.json"
    with _fetching(source.name, packages) as folder:
        if folder is not None:
            shutil.copy(packages, folder)
            options = ["--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
            _run(["npm", "install", *options], folder)
    return FOLDER / source.name / "node_modules"


@contextmanager
def _fetching(name: str, wanted: Path) -> Iterator[Path | None]:
    """Give an empty folder to fetch what `wanted` names into; None where that has been done.

    One process at a time, since tests run in several.
    """
    folder, stamp = FOLDER / name, FOLDER / f"{name}.stamp"
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_bytes() == wanted.read_bytes():
            yield None
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder
        shutil.copyfile(wanted, stamp)


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, timeout=FETCH_SECONDS, stdin=subprocess.DEVNULL)
