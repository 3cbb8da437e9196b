from __future__ import annotations

import json
from collections.abc import AsyncIterator, MutableMapping
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import clock, log
from gateway.core.gap import CloseReason
from gateway.core.stream import State
from tests.eventually import eventually
from tests.http.raw_client import connected
from tests.http.served import Served, serving
from tests.tokens import mint

EVENTS = "/api/v1/events"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(log_users="plain") as it:
        yield it


def closed(lines: list[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [line for line in lines if line["event"] == "stream closed"]


async def test_a_stream_leaves_one_line_with_its_life(served: Served) -> None:
    begin = datetime.now(UTC)
    with capture_logs() as lines:
        async with connected(served.port) as client:
            token = mint("alice", sid="s-1")
            headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
            await client.request(EVENTS, token=token, headers=headers)
            head = await client.head()
            first = await client.chunk()
            served.publish(b'"secret"', b"2")
            served.hub.close(served.stream, CloseReason.MAX_AGE, clock.now())
            rest = await client.rest()
    (line,) = closed(lines)
    sent = len(head) + len(b"%x\r\n%b\r\n" % (len(first), first)) + len(rest)
    assert begin.timestamp() - 1 <= datetime.fromisoformat(line["opened_at"]).timestamp()
    assert 0 <= line["seconds"] < 60
    request_id = head.partition(b"X-Request-Id: ")[2].partition(b"\r\n")[0].decode()
    assert line.items() >= {
        "log_level": "info", "reason": "max_age", "events": 2, "state": "live", "lag_seconds": 0,
        "user": "alice", "session": "s-1", "address": "127.0.0.1", "request_id": request_id,
        "trace_id": TRACE,
    }.items()  # fmt: skip
    # The last chunk follows its log line and is empty.
    assert line["bytes"] == sent
    assert "secret" not in json.dumps(lines)


async def test_closed_client_is_logged_with_its_reason(served: Served) -> None:
    with capture_logs() as lines:
        async with connected(served.port) as client:
            await served.open(client)
        await served.until_open(0)
    (line,) = closed(lines)
    assert line["reason"] == "client"
    assert "session" not in line
    assert "trace_id" not in line


async def test_a_stream_that_did_not_keep_up_tells_how_far_it_was_behind(served: Served) -> None:
    with capture_logs() as lines:
        async with connected(served.port) as client:
            await served.open(client)
            served.publish(*[b'"%s"' % (b"x" * 2000)] * 200)
            await eventually("the stream is stuck", lambda: served.stream.state is State.STUCK)
            begin = clock.now()
            await eventually("time passes", lambda: clock.now().wall > begin.wall + 50)
            served.publish(b"1")
        await served.until_open(0)
    (line,) = closed(lines)
    assert line["state"] == "stuck"
    assert 0.05 <= line["lag_seconds"] < 60
    assert line["events"] == 200


@pytest.mark.parametrize(
    ("level", "events"),
    [("debug", ["stream opened", "stream closed"]), ("info", ["stream closed"]), ("warning", [])],
)
async def test_each_level_has_its_lines(
    level: str, events: list[str], capsys: pytest.CaptureFixture[str], logging_as_it_was: None
) -> None:
    log.configure("json", level)
    async with serving() as served:
        async with connected(served.port) as client:
            await served.open(client)
        await served.until_open(0)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in told] == events
    assert len({(line["user"], line["request_id"]) for line in told}) == min(len(told), 1)
    assert "alice" not in json.dumps(told)
