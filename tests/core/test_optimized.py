"""With assertions disabled (`python -O`) every history has the same result."""

from __future__ import annotations

import subprocess
import sys

from tests.core import histories

SEEDS = 40


def test_clients_get_the_same_events_without_assertions() -> None:
    program = f"from tests.core import histories; print(__debug__, histories.digest({SEEDS}))"
    run = subprocess.run(
        [sys.executable, "-O", "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["False", histories.digest(SEEDS)]
