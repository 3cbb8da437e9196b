from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from gateway.http.transport.malformed import server_log
from gateway.http.transport.new_connections import MAX_LINE_BYTES
from tests.http.raw_client import connected
from tests.http.served import serving
from tests.tokens import mint


def heads(token: str) -> Iterator[str]:
    yield f"GET /api/v1/events?access_token={token}&x=\xff HTTP/1.1\r\n"
    yield f"GET / HTTP/1.1\r\nAuthorization: Bearer {token}{'x' * MAX_LINE_BYTES}\r\n"
    yield f"GET /{'x' * MAX_LINE_BYTES} HTTP/1.1\r\nAuthorization: Bearer {token}\r\n"
    yield f"GET / HTTP/1.1\r\nAuthorization Bearer {token}\r\n"
    yield f"GET / HTTP/1.1\r\nContent-Length: {token}\r\n"
    yield f"GET http://x:99999/?access_token={token} HTTP/1.1\r\n"


@pytest.mark.parametrize("number", range(6))
async def test_a_malformed_request_is_refused_and_counted_but_never_logged(
    number: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    head = list(heads(mint("alice")))[number]
    async with serving() as served, connected(served.port) as client:
        await client.send(f"{head}Host: x\r\n\r\n".encode("latin-1"))
        answer = await client.head()
        assert answer.split()[1] == b"400"
        assert b"aiohttp" not in answer
        assert b'gateway_rejects_total{reason="bad_request"} 1.0' in served.metrics.text()
    assert caplog.records == []


def test_anything_else_that_a_server_logs_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    log = server_log(None)
    try:
        raise RuntimeError("a defect")
    except RuntimeError:
        log.exception("Error handling request")
    log.error("without an exception")
    assert [record.getMessage() for record in caplog.records] == [
        "Error handling request",
        "without an exception",
    ]


def test_each_server_has_a_separate_log() -> None:
    assert server_log(None) is not server_log(None)
