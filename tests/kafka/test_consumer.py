from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest

from gateway.kafka.consumer import QUIET_FETCHES, QUIET_WAIT_MS, _Client
from gateway.kafka.screen import ignore

if TYPE_CHECKING:
    import pytest


async def test_fetches_are_held_for_longer_where_nothing_comes_but_by_the_patient_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = b""

    async def send(client: object, node: int, request: object, *, group: object) -> Any:
        return SimpleNamespace(topics=[("topic", [(0, 0, records)])])

    monkeypatch.setattr(AIOKafkaClient, "send", send)
    client = _Client(ignore, bootstrap_servers="127.0.0.1:1")

    async def held() -> int:
        request = FetchRequest(500, 1, 1 << 20, 1, [("topic", [(0, 0, 1 << 20)])])
        await client.send(0, request)
        return int(request._max_wait_ms)  # noqa: SLF001

    assert {await held() for _ in range(2 * QUIET_FETCHES)} == {500}
    client.patient = True
    assert await held() == QUIET_WAIT_MS
    records = b"a batch"
    assert await held() == QUIET_WAIT_MS, "it was on its way"
    records = b""
    assert [await held() for _ in range(QUIET_FETCHES)] == [500] * QUIET_FETCHES
    assert await held() == QUIET_WAIT_MS
    await client.close()
