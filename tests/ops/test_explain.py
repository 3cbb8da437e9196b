from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from gateway import clock
from gateway.core.event_id import CursorEntry, encode, short_tag
from gateway.core.records import LogKind, OffsetPosition, TimePosition, TopicPartition, make_record
from gateway.core.source import Topic
from gateway.http.caller import Callers
from gateway.http.problem import problems
from gateway.ops.explain import id_routes
from tests.http.served import Served

TAG = b"tagA"
MARK = b"U\0"


@pytest.fixture
def hub() -> Any:
    """A hub that has read the offsets 100 to 109 of partition 2, and nothing of partition 1."""
    hub = Served().hub
    topic = Topic("user-events", LogKind.USER, TAG, 4, mark=MARK)
    log = TopicPartition("user-events", 2)
    hub.activate(hub.feed(log, topic), OffsetPosition(100, 0, False), clock.now())
    hub.dispatch({log: [make_record(n, 1000, b"a", b"{}") for n in range(100, 110)]}, clock.now())
    return hub


@pytest.mark.parametrize(
    ("mark", "verdict"),
    [
        (
            CursorEntry(LogKind.USER, TAG, 2, OffsetPosition(108, 1000, True)),
            "from memory, 2 offsets behind",
        ),
        (
            CursorEntry(LogKind.USER, TAG, 2, OffsetPosition(50, 1000, True)),
            "older than the records in memory",
        ),
        (
            CursorEntry(LogKind.USER, TAG, 2, OffsetPosition(111, 1000, True)),
            "beyond the newest record",
        ),
        (
            CursorEntry(LogKind.USER, TAG, 1, OffsetPosition(108, 1000, True)),
            "does not read the partition",
        ),
        (CursorEntry(LogKind.USER, b"tagB", 2, OffsetPosition(108, 1000, True)), "gap reset"),
        (CursorEntry(LogKind.USER, TAG, 2, TimePosition(1000)), "by its time"),
        (
            CursorEntry(LogKind.BROADCAST, TAG, 2, OffsetPosition(1, 0, False)),
            "reads no such log now",
        ),
        (
            CursorEntry(None, short_tag(MARK, TAG), 2, OffsetPosition(108, 1000, True)),
            "from memory, 2 offsets behind",
        ),
        (CursorEntry(None, MARK + b"old", 2, OffsetPosition(108, 1000, True)), "gap reset"),
        (CursorEntry(None, b"zzold", 2, TimePosition(1000)), "reads no such log now"),
    ],
)
async def test_an_id_is_explained(
    aiohttp_client: AiohttpClient, hub: Any, mark: CursorEntry, verdict: str
) -> None:
    app = web.Application(middlewares=[problems(Callers(()), metrics=None)])
    app.add_routes(id_routes(hub))
    client = await aiohttp_client(app)
    async with client.get("/ops/id", params={"id": encode([mark]).decode()}) as response:
        [shown] = (await response.json())["marks"]
    assert verdict in shown["verdict"]
    log = mark.kind or (LogKind.USER if mark.mark == MARK else None)
    assert (shown["log"], shown["partition"]) == (log, mark.partition)
    assert shown.get("topic") == ("user-events" if mark.mark == MARK else None)
    async with client.get("/ops/id") as response:
        assert response.status == 400
        assert "/ops/id?id=ID" in await response.text()
    async with client.get("/ops/id", params={"id": "garbage"}) as response:
        assert response.status == 400
        assert "a gap with reason invalid" in (await response.json())["detail"]
