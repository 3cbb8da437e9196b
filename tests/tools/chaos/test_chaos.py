"""A short chaos run for each push, with a fixed seed to reproduce failures."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import require_kafka
from tests.tools.chaos.run import run

SECONDS = 40
"""With start and end about a minute."""

SEED = 1


async def test_no_event_is_lost_repeated_or_out_of_order_under_failures(tmp_path: Path) -> None:
    require_kafka()
    report = await run(SEED, SECONDS, tmp_path, clients=100)
    assert report.is_clean, report
    assert report.verdict.delivered
    assert {begun.fault.kind.of_broker for begun in report.injected} == {True, False}
