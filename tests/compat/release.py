"""The former release, unpacked from the history of the repository."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import pytest

from tests.programs import ROOT, find

COMMIT = "18b83c9"
"""The release that this one replaces."""


@cache
def former_release() -> Path:
    """Return a folder with the package `gateway` of that commit; skip without the history."""
    if find("git") is None:
        pytest.skip("git not installed")
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", COMMIT, "gateway"], capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"the history does not reach back to {COMMIT}")
    folder = Path(tempfile.mkdtemp(prefix="former-release-"))
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


def environment() -> dict[str, str]:
    """Return the environment in which Python imports the former release."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")
    }
    return {**inherited, "PYTHONPATH": str(former_release()), "PYTHONSAFEPATH": "1"}
