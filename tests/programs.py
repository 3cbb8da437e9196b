"""Programs that tests need: where to find them, and how to get the missing ones."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TOOLS = ROOT / ".tools"
"""Programs that `make tools` builds from their Go modules."""


def find(program: str) -> str | None:
    """Return the path of a program; Debian puts servers where a user's `PATH` may not lead."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", str(TOOLS)])
    return shutil.which(program, path=path)


def packages() -> dict[str, str]:
    """Return the Debian package of each program, `make-tools` for those built by `make tools`."""
    lines = (ROOT / ".ci/packages").read_text(encoding="utf-8").splitlines()
    pairs = (line.split() for line in lines if line and not line.startswith("#"))
    return dict(pairs)


def require(*programs: str, in_ci: bool = True) -> None:
    """Skip the test with one line if a program is not installed.

    With `CI` set the test fails instead, unless `in_ci` is false: a check that continuous
    integration skips proves nothing.
    """
    missing = [program for program in programs if find(program) is None]
    if not missing:
        return
    reason = f"{' and '.join(missing)} not installed"
    if in_ci and "CI" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Lock a folder against other test processes while this one fills it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
