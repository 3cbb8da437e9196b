"""Jars for the tests: one Maven call fetches what a `pom.xml` lists, and they stay there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.eventually import DEADLINE
from tests.programs import one_at_a_time

FETCH_SECONDS = 4 * DEADLINE


def fetch(pom: Path, folder: Path) -> Path:
    """Return the folder that has the jars; the first call for this `pom.xml` downloads them."""
    jars = folder / "libs"
    stamp = folder / "pom.xml"
    with one_at_a_time(folder):
        if stamp.exists() and stamp.read_bytes() == pom.read_bytes():
            return jars
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(
            [
                *("mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"),
                *("-DincludeScope=runtime", f"-DoutputDirectory={jars}"),
            ],
            check=True,
            timeout=FETCH_SECONDS,
            stdin=subprocess.DEVNULL,
        )
        shutil.copyfile(pom, stamp)
    return jars
