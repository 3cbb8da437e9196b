"""Listening sockets, and the limits on connections and requests.

asyncio accepts as many connections in one turn of the loop as the backlog holds, and open streams
would wait for all of them when thousands of clients reconnect. The acceptor takes a few in each
turn and delivers events between two turns. The kernel queues the others up to the backlog, without
CPU cost; a client beyond the backlog retries its SYN after a second (RFC 6298).
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.errors import GatewayError
from gateway.http.transport.acceptor import ACCEPTED_PER_TURN, Acceptor
from gateway.http.transport.new_connections import MAX_HEADERS, MAX_LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from ssl import SSLContext

    from aiohttp.http_parser import RawRequestMessage

    from gateway.http.transport.new_connections import Opener
    from gateway.settings.setting_types import Address

BACKLOG = 4096
"""Connections that the kernel may hold until they are taken; by default it allows no more itself
(`net.core.somaxconn`)."""

HEAD_SECONDS = 10.0
"""How long a connection may take to send a request's head, and may wait for its next request."""

REQUEST_LIMITS: dict[str, Any] = {
    "max_line_size": MAX_LINE_BYTES,
    "max_field_size": MAX_LINE_BYTES,
    "max_headers": MAX_HEADERS,
    "keepalive_timeout": HEAD_SECONDS,
}
"""For `web.AppRunner`; aiohttp answers larger requests with 400 or closes the connection."""


async def bind(address: Address, setting: str) -> list[socket.socket]:
    """Return a listening socket for every address of a host; `[::]` takes IPv4 too.

    Raises `GatewayError` for an address that cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    sockets = []
    with ExitStack() as failed:
        try:
            found = await loop.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, _, _, _, where in dict.fromkeys(found):
                both = where[0] == "::" and socket.has_dualstack_ipv6()
                sock = socket.create_server(
                    where, family=family, backlog=ACCEPTED_PER_TURN, dualstack_ipv6=both
                )
                failed.callback(sock.close)
                sockets.append(sock)
        except (OSError, UnicodeError) as error:  # the latter from a name that cannot be one
            reason = getattr(error, "strerror", None) or error
            raise GatewayError(
                f"cannot listen on {address}: {reason}; choose another with {setting}"
            ) from None
        failed.pop_all()
    return sockets


async def listen_on(
    runner: web.AppRunner,
    sockets: Iterable[socket.socket],
    context: SSLContext | None = None,
    opener: Opener | None = None,
) -> list[Acceptor]:
    """Return the sites that accept from listening sockets.

    With `opener`, requests for a stream are opened without aiohttp where nothing has to be waited
    for, and some files stay free for the rest of the process.
    """
    await runner.setup()
    assert runner.server is not None
    runner.server.request_factory = _without_expect(runner.server.request_factory)
    sites = []
    for sock in sockets:
        site = Acceptor(runner, sock, opener, context=context)
        await site.start()
        sites.append(site)
        sock.listen(BACKLOG)
    return sites


def _without_expect(make: Callable[..., web.BaseRequest]) -> Callable[..., web.BaseRequest]:
    """Return a request factory that drops the `Expect` header.

    aiohttp answers that header before any handler or route is asked, for a path that leads nowhere
    too: with a 500 if it is not UTF-8, and with a traceback in the log if its client has gone. No
    route here waits for a body, so the answer to the request is all that there is to say (RFC
    9110, §10.1.1).
    """

    def make_request(message: RawRequestMessage, *others: Any) -> web.BaseRequest:
        if hdrs.EXPECT in message.headers:
            headers = CIMultiDict(message.headers)
            headers.popall(hdrs.EXPECT)
            message = message._replace(headers=CIMultiDictProxy(headers))
        return make(message, *others)

    return make_request
