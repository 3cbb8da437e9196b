"""Collectors that redirect, flood or never end their answers."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult

from gateway.ops.collector_http import MAX_BYTES, collector_session
from tests.endless import OK, serving
from tests.eventually import DEADLINE
from tests.http.certificates import Files


@pytest.mark.parametrize(
    ("begin", "again"),
    [
        (b"HTTP/1.1 307 X\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n", b""),
        (OK + b"Content-Length: 100000000\r\n\r\n", b"x" * MAX_BYTES),
        (OK + b"Content-Length: 1000\r\n\r\n", b"x"),
        (OK, b"X: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"garbage\r\n\r\n", b""),
    ],
    ids=["redirect", "large", "slow body", "headers", "interim", "garbage"],
)
async def test_answer_that_is_not_a_collectors_is_a_failure(begin: bytes, again: bytes) -> None:
    async with serving(begin, again, 0.01) as url, asyncio.timeout(DEADLINE):
        exporter = OTLPSpanExporter(f"{url}v1/traces", timeout=0.3, session=collector_session())
        assert await asyncio.to_thread(exporter.export, []) is SpanExportResult.FAILURE


async def test_certificate_of_the_collector_is_verified(tmp_path: Path) -> None:
    files = Files(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certfile, files.keyfile)
    async with serving(OK + b"Content-Length: 2\r\n\r\n{}", context=context) as url:
        named = url.replace("127.0.0.1", "localhost")  # as the certificate has it

        def post(verify: bool | str) -> requests.Response:
            session = collector_session()
            assert session is not None
            return session.post(named, b"x", timeout=DEADLINE, verify=verify)

        answered = await asyncio.to_thread(post, str(files.certfile))
        assert (answered.status_code, answered.content) == (200, b"{}")
        with pytest.raises(requests.ConnectionError, match="certificate verify failed"):
            await asyncio.to_thread(post, verify=True)


def test_session_of_a_credential_provider_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(collector_session(), requests.Session)
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "gcp")
    assert collector_session() is None
