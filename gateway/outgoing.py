"""Requests to HTTP servers of others: key sets, schemas, tokens, telemetry.

    await answer(Exchange(url, seconds, most))    from the event loop
    answer_now(Exchange(url, seconds, most))      from a thread that may block

Each request runs in a daemon thread with its own event loop. A server that sends a flood of
tiny chunks or of interim responses (RFC 9110, §15.2) keeps the parser busy for hundreds of
milliseconds at a time, which would delay all streams; and the end of the process waits for no
answer. A request takes `seconds` in all, from the look-up of the name to the last byte, and the
body of its response has at most `most` bytes. Redirects are not followed, because they could lead
to an address that the settings do not allow. Compressed responses are neither requested nor
unpacked: a few bytes could stand for any number.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import aiohttp

from gateway.errors import GatewayError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from aiohappyeyeballs import AddrInfoType

RECEIVE_BUFFER = 8_192
"""Bytes of a response that the kernel may hold, and so about what the parser gets at a time: it is
C code, which keeps all threads waiting until it returns."""

CLOSING_TURNS = 100
"""Turns of the event loop in which a connection is closed; it takes about five."""


class NoAnswer(GatewayError):
    """The server did not answer in time, or cannot be reached; the text is the cause."""


class InvalidAnswer(NoAnswer):
    """The response is not valid HTTP."""


class AnswerTooLarge(NoAnswer):
    """The body of the response has more bytes than allowed."""


class Exchange(NamedTuple):
    """A request and the bounds of its response: a POST with `data`, else a GET."""

    url: str
    seconds: float
    most: int
    headers: Mapping[str, str] = {}
    data: bytes | None = None
    tls: ssl.SSLContext | None = None
    proxy: str | None = None


class Answer(NamedTuple):
    """The status and the body of a response."""

    status: int
    body: bytes


async def answer(exchange: Exchange) -> Answer:
    """Return the server's answer. Raises `NoAnswer`."""
    return await asyncio.wrap_future(_begun(exchange))


def answer_now(exchange: Exchange) -> Answer:
    """Block until the server has answered, and return the answer. Raises `NoAnswer`."""
    return _begun(exchange).result()


def _begun(exchange: Exchange) -> Future[Answer]:
    done: Future[Answer] = Future()
    done.set_running_or_notify_cancel()  # a caller that is cancelled leaves the thread to its end
    threading.Thread(
        target=lambda: asyncio.run(_run(exchange, done)), name="outgoing request", daemon=True
    ).start()
    return done


async def _run(exchange: Exchange, done: Future[Answer]) -> None:
    try:
        done.set_result(await _ask(exchange))
    except NoAnswer as error:
        done.set_exception(error)
    finally:
        if not done.done():  # by a defect, which the thread reports
            done.set_exception(NoAnswer("the request failed; report this defect"))


async def _ask(exchange: Exchange) -> Answer:
    sockets: list[socket.socket] = []
    try:
        return await _exchange(exchange, partial(_small_socket, sockets))
    except TimeoutError:
        raise NoAnswer(f"it does not answer within {exchange.seconds:g} s") from None
    except (aiohttp.ClientConnectionError, OSError) as error:
        raise NoAnswer(cause(error)) from None
    except (aiohttp.ClientError, ValueError) as error:
        raise InvalidAnswer(f"not valid HTTP ({type(error).__name__})") from None
    finally:
        await _closed(sockets)


async def _exchange(
    exchange: Exchange, make_socket: Callable[[AddrInfoType], socket.socket]
) -> Answer:
    async with (
        aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=max(exchange.seconds, 0.001)),  # 0: none
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(
                ssl=exchange.tls or True, force_close=True, socket_factory=make_socket
            ),
        ) as session,
        session.request(
            "GET" if exchange.data is None else "POST",
            exchange.url,
            data=exchange.data,
            headers=exchange.headers,
            allow_redirects=False,
            proxy=exchange.proxy,
        ) as response,
    ):
        body = bytearray()
        async for part in response.content.iter_any():
            body += part
            if len(body) > exchange.most:
                raise AnswerTooLarge(f"its answer has more than {exchange.most} bytes")
        return Answer(response.status, bytes(body))


async def _closed(sockets: list[socket.socket]) -> None:
    """Wait until the sockets are closed: a TLS connection waits for its server's farewell."""
    for sock in sockets:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
    for _ in range(CLOSING_TURNS):
        if all(sock.fileno() < 0 for sock in sockets):
            break
        await asyncio.sleep(0)


def cause(error: Exception) -> str:
    """Return why a connection failed, in one line; aiohttp's text would list TLS options."""
    if type(error) in (aiohttp.ClientConnectorError, aiohttp.ClientConnectorDNSError):
        failure = cast("aiohttp.ClientConnectorError", error)
        code = failure.os_error.errno or 0  # negative: of the name lookup
        reason = os.strerror(code) if code > 0 else failure.os_error.strerror
        return f"cannot connect to {failure.host}:{failure.port}: {reason}"
    return str(error) or type(error).__name__


def _small_socket(sockets: list[socket.socket], address: AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    sockets.append(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return sock
