from __future__ import annotations

import json

from tests.commands.command import gateway

LOAD = ("--streams", "1000000", "--events-per-second", "100000")


async def test_a_plan_is_a_table_with_and_without_sharding() -> None:
    finished = await gateway("plan", *LOAD)
    assert finished.code == 0, finished
    rows = dict(row.strip().split("  ", 1) for row in finished.out.splitlines() if "  " in row)
    assert [int(cell) for cell in rows["workers"].split()] == [51, 85]
    assert "costs: cycle_us 500, record_us 1.3, event_us 11.1" in finished.out


async def test_json_plan_includes_its_inputs() -> None:
    finished = await gateway("plan", *LOAD, "--max-streams", "50000", "--json")
    facts = json.loads(finished.out)
    assert facts["load"]["records"] == 100_000
    assert facts["bounds"]["streams"] == 50_000
    assert facts["costs"]["resume_us"] == 215
    assert facts["without_sharding"]["retry_needed"] > 0
    assert facts["with_sharding"]["records"] < 10_000


async def test_what_no_number_of_workers_can_carry_fails() -> None:
    finished = await gateway(
        *("plan", "--streams", "1000", "--events-per-second", "1e6", "--partitions", "1")
    )
    assert finished.code == 1
    assert finished.out.count("none up to 10,000") == 2
