"""`make audit`: is a known vulnerability in what the project is made of?

Asks an advisory database about each line of `constraints.txt`, by pip-audit: the package index
through the network, or with `--database` an export of OSV that was brought here.

Exit codes: 0 no vulnerability is known; 1 one is; 2 a wrong command line or database; 3 it could
not be found out, which one line says, and which is no failure of the project.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from enum import IntEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, NamedTuple

import typer

from tests.tools.audit.database import Database, DatabaseError, served
from tests.tools.audit.packages import pinned, runtime

Pins = dict[str, str]

PROBE = "aiohttp"
"""Asked for first: where the index says nothing of it, asking for all the others is in vain."""


class Verdict(IntEnum):
    """What the audit found, as an exit code."""

    CLEAN = 0
    VULNERABLE = 1
    UNKNOWN = 3


class Answer(NamedTuple):
    """What the database says: for each package its advisories, and who was not found in it."""

    advisories: dict[str, list[str]]
    skipped: list[str]


def main(
    database: Annotated[
        Path | None, typer.Option(help="an export of OSV for PyPI: its ZIP, or a directory")
    ] = None,
    sbom: Annotated[
        Path | None, typer.Option(help="write what a worker is made of there, as CycloneDX")
    ] = None,
) -> None:
    """Audit what is pinned."""
    if sbom is not None:
        sbom.parent.mkdir(parents=True, exist_ok=True)
        pins = {name: version for name, version in pinned().items() if name in runtime()}
        with served(Database()) as url:
            sbom.write_text(_run(pins, url, "cyclonedx-json"))
        print(f"{len(pins)} packages of a worker: {sbom}")
    try:
        source = None if database is None else served(Database(database))
    except DatabaseError as error:
        raise typer.BadParameter(str(error)) from None
    with source or nullcontext() as url:
        verdict, text = audit(pinned(), url)
    print(text)
    raise typer.Exit(verdict)


def audit(pins: Pins, url: str | None) -> tuple[Verdict, str]:
    """Return what the database at `url` (None: the package index) says, and a text that tells it.

    The text is one line, but for a vulnerability, where it is one for each advisory.
    """
    answer = ask(pins, url) if url is not None or _answers() else None
    if answer is None:
        return Verdict.UNKNOWN, "not audited: no advisory database answers; bring one: --database"
    lines = [
        f"{name} {pins[name]}: {advisory}"
        for name, advisories in answer.advisories.items()
        for advisory in advisories
    ]
    if lines:
        return Verdict.VULNERABLE, "\n".join(lines)
    if answer.skipped:
        return Verdict.UNKNOWN, f"not audited: {', '.join(answer.skipped)}; the others are clean"
    return Verdict.CLEAN, f"no vulnerability is known in {len(pins)} packages"


def _answers() -> bool:
    """Return whether the index can tell: a mirror of it may have packages and no advisories."""
    answer = ask({PROBE: pinned()[PROBE]}, None)
    return answer is not None and not answer.skipped


def ask(pins: Pins, url: str | None) -> Answer | None:
    """Return what the database says of each package; none: it does not answer."""
    text = _run(pins, url, "json")
    if not text:
        return None
    answer = Answer({}, [])
    for package in json.loads(text)["dependencies"]:
        if "skip_reason" in package:
            answer.skipped.append(package["name"])
            continue
        answer.advisories[package["name"]] = [
            f"{found['id']}, fixed in {' and '.join(found['fix_versions']) or 'no version'}"
            for found in package["vulns"]
        ]
    return answer


def _run(pins: Pins, url: str | None, form: str) -> str:
    """Return what pip-audit writes to standard output: nothing where it has failed."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.writelines(f"{name}=={version}\n" for name, version in pins.items())
        requirements.flush()
        command = [sys.executable, "-m", "pip_audit", "--requirement", requirements.name]
        command += ["--no-deps", "--disable-pip", "--progress-spinner=off", f"--format={form}"]
        if url is not None:
            command += ["--vulnerability-service=osv", f"--osv-url={url}"]
        ran = subprocess.run(command, capture_output=True, check=False)
    return ran.stdout.decode()


if __name__ == "__main__":
    typer.run(main)
