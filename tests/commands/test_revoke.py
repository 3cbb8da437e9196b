from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tests.child import free_port
from tests.commands.command import gateway, settings_of
from tests.conftest import Broker, MakeTopics
from tests.kafka.test_publisher import records_of


async def test_each_form_writes_its_record(broker: Broker, topics: MakeTopics) -> None:
    made = await topics(revocations=1)
    settings = {**settings_of(broker, made), "revocation_seconds": "60"}
    for arguments in (
        ["alice"],
        ["alice", "--session", "s1", "--ttl", "90"],
        ["alice", "--expires", "2222-01-31T12:00:00+01:00"],
        ["alice", "--session", "s1", "--lift"],
        ["alice", "--lift"],
    ):
        finished = await gateway("revoke", *arguments, settings=settings)
        assert finished.code == 0, finished.err
        assert finished.out == ""
    records = await records_of(broker, made.revocations, 1)
    assert [record.key for record in records] == [
        b"user:alice", b"session:s1", b"user:alice", b"session:s1", b"user:alice"
    ]  # fmt: skip
    assert [record.value for record in records[3:]] == [None, None]
    values = [json.loads(record.value) for record in records[:3]]
    lives = [value["expires_at"] - value["revoked_at"] for value in values]
    assert lives[0] == 60_000
    assert 60_000 < lives[1] <= 90_000
    end = datetime(2222, 1, 31, 11, tzinfo=UTC)
    assert values[2]["expires_at"] == end.timestamp() * 1000


@pytest.mark.parametrize(
    ("arguments", "text", "code"),
    [
        (["alice", "--ttl", "9", "--expires", "2222-01-31T12:00:00Z"], "one of --expires", 2),
        (["alice", "--lift", "--ttl", "9"], "one of --expires", 2),
        (["alice", "--expires", "tomorrow"], "a time with offset", 2),
        (["alice", "--expires", "2222-01-31T12:00:00"], "a time with offset", 2),
        (["alice", "--ttl", "0"], "--ttl", 2),
        (["alice", "--ttl", "99999999999999"], "year 9999", 2),
        ([], "USER", 2),
        (["alice"], "no Kafka broker answers at", 1),
    ],
)
async def test_failed_write_is_reported_without_a_traceback(
    arguments: list[str], text: str, code: int
) -> None:
    settings = {"kafka_bootstrap": f"127.0.0.1:{free_port()}"}
    finished = await gateway("revoke", *arguments, settings=settings)
    assert finished.code == code
    assert text in finished.err
    assert "Traceback" not in finished.err
