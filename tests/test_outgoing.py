"""Requests to servers that never end, flood, or speak something else."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from gateway.outgoing import (
    Answer,
    AnswerTooLarge,
    Exchange,
    InvalidAnswer,
    NoAnswer,
    answer,
    answer_now,
)
from tests.brokers.authority import Authority
from tests.endless import OK, serving
from tests.eventually import DEADLINE, eventually

CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


async def test_body_of_any_status_is_returned() -> None:
    async with serving(b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n{}") as url:
        assert await answer(Exchange(url, DEADLINE, 2)) == Answer(404, b"{}")
        with pytest.raises(AnswerTooLarge, match="more than 1 bytes"):
            await answer(Exchange(url, DEADLINE, 1))


@pytest.mark.parametrize(
    ("begin", "again", "pause"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01),
        (CHUNKED + b"1;", b"x" * 65_536, 0),
        (CHUNKED, b"1\r\nx\r\n", 0.01),
        (OK, b"X: y\r\n", 0.01),
        (b"", b"H", 0.01),
    ],
    ids=["interim flood", "interim", "chunk extension", "tiny chunks", "headers", "status line"],
)
async def test_response_without_an_end_is_abandoned_after_the_time_limit(
    begin: bytes, again: bytes, pause: float
) -> None:
    async with serving(begin, again, pause) as url:
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(NoAnswer):
                await answer(Exchange(url, 0.2, 1_000_000))


async def test_text_of_an_invalid_response_is_not_repeated() -> None:
    async with serving(b"secret \xff\x00 garbage\r\n\r\n") as url:
        with pytest.raises(InvalidAnswer) as caught:
            await answer(Exchange(url, DEADLINE, 1))
    assert str(caught.value) == "not valid HTTP (ClientResponseError)"


async def test_caller_may_leave_before_the_answer() -> None:
    async with serving(OK, b"X: y\r\n", 0.01) as url:
        waiting = asyncio.create_task(answer(Exchange(url, 0.2, 1)))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


async def test_event_loop_of_the_caller_does_no_work_for_a_request() -> None:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        # This blocks the event loop until the answer is complete.
        assert answer_now(Exchange(url, DEADLINE, 9, data=b"a body")) == Answer(200, b"a body")
        server.shutdown()


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.mark.parametrize("most", [2, 1])
async def test_tls_connection_is_closed_although_the_server_keeps_it(
    tmp_path: Path, most: int
) -> None:
    authority = Authority(tmp_path)
    pair = authority.pair("server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    with HTTPServer(("127.0.0.1", 0), Quiet) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        serving = threading.Thread(target=server.handle_request)
        serving.start()
        url = f"https://127.0.0.1:{server.server_port}/"
        trusted = ssl.create_default_context(cafile=authority.certificate)
        before = set(os.listdir("/proc/self/fd"))
        asked = answer(Exchange(url, DEADLINE, most, tls=trusted))
        if most == 2:
            assert await asked == Answer(200, b"{}")
        else:
            with pytest.raises(AnswerTooLarge):
                await asked
        await asyncio.to_thread(serving.join)  # the server has seen the end of the connection

        async def is_closed() -> bool:  # the thread closes its event loop after the answer
            return set(os.listdir("/proc/self/fd")) <= before

        await eventually("all sockets are closed", is_closed)
