"""Programs that a test needs and that a machine may not have: without them it is skipped."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def require(*programs: str, in_ci: bool = True) -> None:
    """Skip the test with one line where a program is not installed.

    Where `CI` is set it fails instead, unless even there it may be missing: what is skipped in
    silence is not proven.
    """
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    reason = f"{' and '.join(missing)} not installed"
    if in_ci and "CI" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep other processes of the tests out while this one makes what is to be in the folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
