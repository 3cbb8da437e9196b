from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web

from gateway.errors import GatewayError
from gateway.http.transport.acceptor import ACCEPTED_PER_TURN
from gateway.http.transport.listen import bind, listen_on
from gateway.settings.setting_types import Address
from tests.http.raw_client import connected
from tests.http.served import serving
from tests.tokens import mint

HEAD = b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n"
IMPATIENT = 0.9
"""Less than a second, from which on the kernel waits for the first byte."""


@asynccontextmanager
async def running(address: str) -> AsyncIterator[web.AppRunner]:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.add_routes([web.get("/", hello)])
    runner = web.AppRunner(app, access_log=None)
    try:
        await listen_on(runner, await bind(Address(address), "GATEWAY_LISTEN"))
        yield runner
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
async def test_server_listens_on_the_configured_address(host: str) -> None:
    async with running(f"{host}:0") as runner, connected(runner.addresses[0][1]) as client:
        await client.request("/")
        assert (await client.response()).endswith(b"hello")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_the_address_of_all_ipv6_interfaces_takes_ipv4_too(host: str) -> None:
    async with running("[::]:0") as runner:
        reader, writer = await asyncio.open_connection(host, runner.addresses[0][1])
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        assert (await reader.read()).endswith(b"hello")
        writer.close()


@pytest.mark.parametrize("address", ["192.0.2.1:0", "a..b:80"])
async def test_foreign_host_is_reported_in_one_line_with_its_setting(address: str) -> None:
    with pytest.raises(GatewayError, match=rf"cannot listen on {address}: .* with GATEWAY_LISTEN"):
        async with running(address):
            pass


async def test_kernel_queues_clients_while_accepting_is_paused() -> None:
    """Many more than are taken at once connect before the loop has turned, and all are served."""
    async with running("127.0.0.1:0") as runner, AsyncExitStack() as stack:
        port = runner.addresses[0][1]
        clients = [
            await stack.enter_async_context(connected(port)) for _ in range(8 * ACCEPTED_PER_TURN)
        ]
        for client in clients:
            await client.request("/")
        for client in clients:
            assert (await client.response()).endswith(b"hello")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [("GET", "/", b"200"), ("GET", "/nowhere", b"404"), ("OPTIONS", "*", b"404")],
)
@pytest.mark.parametrize("expected", ["100-continue", "x", "\xff"])
async def test_an_expectation_is_passed_over(
    method: str, target: str, status: bytes, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running("127.0.0.1:0") as runner, connected(runner.addresses[0][1]) as client:
        await client.request(target, method=method, headers={"Expect": expected})
        assert (await client.head()).split()[1] == status
    assert caplog.records == []


async def test_a_connection_that_does_not_send_its_head_in_time_is_closed() -> None:
    async with serving(head_seconds=IMPATIENT) as served, AsyncExitStack() as stack:
        silent = await stack.enter_async_context(connected(served.port))
        slow = await stack.enter_async_context(connected(served.port))
        begin = time.monotonic()

        async def trickle() -> None:
            for byte in HEAD % mint("alice").encode():
                await slow.send(bytes([byte]))
                await asyncio.sleep(IMPATIENT / 30)

        trickling = asyncio.create_task(trickle())
        try:
            assert await silent.rest() == b""
            assert await slow.rest() == b""
        except ConnectionResetError:  # a byte was on its way
            pass
        finally:
            trickling.cancel()
            await asyncio.gather(trickling, return_exceptions=True)
        assert time.monotonic() - begin >= IMPATIENT * 0.9
        assert served.hub.openings == []


async def test_a_connection_that_waits_after_an_answer_is_closed_and_a_stream_is_not() -> None:
    async with serving(head_seconds=IMPATIENT) as served, AsyncExitStack() as stack:
        idle = await stack.enter_async_context(connected(served.port))
        stream = await stack.enter_async_context(connected(served.port))
        await served.open(stream)
        await idle.request("/")
        await idle.response()
        assert await idle.rest() == b""
        served.publish(b"1")
        assert b"data: 1\n" in await stream.chunk()
