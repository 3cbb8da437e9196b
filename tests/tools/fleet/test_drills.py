"""Both drills with few clients, for each push."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import require_kafka
from tests.programs import require
from tests.tools.fleet.drills import rolling_deploy, storm

VISITORS = 100


@pytest.fixture(autouse=True)
def programs() -> None:
    require_kafka()
    require("nginx", in_ci=False)


async def test_no_event_is_lost_while_workers_are_replaced(tmp_path: Path) -> None:
    report = await rolling_deploy(tmp_path, VISITORS, rate=100, drain_seconds=1)
    assert report.is_clean, report
    assert report.seen.goodbyes >= VISITORS


async def test_no_event_is_lost_when_a_worker_is_killed(tmp_path: Path) -> None:
    report = await storm(tmp_path, VISITORS, rate=100)
    assert report.is_clean, report
    assert report.seen.longest_interruption > 0
