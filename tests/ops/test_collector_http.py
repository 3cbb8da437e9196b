"""Collectors that redirect, flood or never end their answers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult

from gateway.ops.collector_http import MAX_BYTES, collector_session
from tests.eventually import DEADLINE
from tests.http.certificates import Files

OK = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def collecting(
    begin: bytes, again: bytes = b"", context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Yield the address of a server that sends `begin`, then `again` without end, or closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(begin)
            while again:
                writer.write(again)
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


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
    async with collecting(begin, again) as address, asyncio.timeout(DEADLINE):
        exporter = OTLPSpanExporter(
            f"http://{address}/v1/traces", timeout=0.3, session=collector_session()
        )
        assert await asyncio.to_thread(exporter.export, []) is SpanExportResult.FAILURE


async def test_certificate_of_the_collector_is_verified(tmp_path: Path) -> None:
    files = Files(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certfile, files.keyfile)
    async with collecting(OK + b"Content-Length: 2\r\n\r\n{}", context=context) as address:
        host = address.replace("127.0.0.1", "localhost")  # as the certificate has it

        def post(verify: bool | str) -> requests.Response:
            session = collector_session()
            assert session is not None
            return session.post(f"https://{host}", b"x", timeout=DEADLINE, verify=verify)

        answered = await asyncio.to_thread(post, str(files.certfile))
        assert (answered.status_code, answered.content) == (200, b"{}")
        with pytest.raises(requests.ConnectionError, match="certificate verify failed"):
            await asyncio.to_thread(post, verify=True)


def test_session_of_a_credential_provider_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(collector_session(), requests.Session)
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "gcp")
    assert collector_session() is None
