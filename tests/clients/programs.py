"""How each client is built and started; a missing tool skips the client's test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from tests.eventually import DEADLINE
from tests.jars import fetch
from tests.programs import one_at_a_time, require

SOURCES = Path(__file__).parent
CACHE = SOURCES.parents[1] / ".clients"

BUILD_SECONDS = 4 * DEADLINE
"""Go compiles its libraries at the first run of a machine, later nothing."""

Prepare: TypeAlias = "Callable[[], list[str]]"
"""Builds the client if needed, and returns the command, which takes the common arguments."""

JAVA = ("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def _python(name: str) -> list[str]:
    return [sys.executable, str(SOURCES / "python" / f"read_{name}.py")]


def gateway_client() -> list[str]:
    return _python("gateway")


def httpx_sse() -> list[str]:
    return _python("httpx_sse")


def aiohttp_sse_client2() -> list[str]:
    return _python("aiohttp_sse_client2")


def curl() -> list[str]:
    require("curl", "bash", "awk")
    return ["bash", str(SOURCES / "read_curl.sh")]


def jdk() -> list[str]:
    require("java", "javac")
    return [*JAVA, str(SOURCES / "java" / "ReadJdk.java")]


def okhttp() -> list[str]:
    require("java", "javac", "mvn")
    jars = fetch(SOURCES / "java" / "pom.xml", CACHE / "okhttp")
    return [*JAVA, "-cp", f"{jars}/*", str(SOURCES / "java" / "ReadOkHttp.java")]


def go_sse() -> list[str]:
    return [_go(), "go-sse"]


def r3labs() -> list[str]:
    return [_go(), "r3labs"]


def _go() -> str:
    require("go", in_ci=False)
    folder = CACHE / "go"
    command = ["go", "build", "-o", str(folder / "new"), "."]
    with one_at_a_time(folder):
        subprocess.run(command, cwd=SOURCES / "go", check=True, timeout=BUILD_SECONDS)
        (folder / "new").replace(folder / "read")  # the other one may be running
    return str(folder / "read")
