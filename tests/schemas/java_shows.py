"""Avro and Protobuf values as Java's own libraries show them: the second implementation."""

from __future__ import annotations

import subprocess
from base64 import b64encode
from pathlib import Path

from tests.eventually import DEADLINE
from tests.programs import require
from tests.writers.fetched import serialiser_jars
from tests.writers.programs import JAVA

SHOW = Path(__file__).parent / "java" / "Show.java"


def shown_by_java(rows: list[tuple[str, *tuple[bytes, ...]]]) -> list[str]:
    """Return each value as JSON; a row is a format, and its data as `Show.java` lists it."""
    require("java", "javac", "mvn")
    lines = ["\t".join([row[0], *(b64encode(each).decode() for each in row[1:])]) for row in rows]
    done = subprocess.run(
        [*JAVA, "-cp", f"{serialiser_jars()}/*", str(SHOW)],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
