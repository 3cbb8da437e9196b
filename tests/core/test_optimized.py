"""Nothing depends on an assertion: without them every history ends as it does with them."""

from __future__ import annotations

import subprocess
import sys

from tests.core import histories

SEEDS = 40


def test_without_assertions_every_client_sees_the_same() -> None:
    program = f"from tests.core import histories; print(__debug__, histories.digest({SEEDS}))"
    run = subprocess.run(
        [sys.executable, "-O", "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["False", histories.digest(SEEDS)]
