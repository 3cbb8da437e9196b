"""Programs that a test needs and that a machine may not have: without them it is skipped."""

from __future__ import annotations

import os
import shutil

import pytest


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
