"""Requests for streams that belong to another worker process of the machine.

The acceptor asks before a request is parsed (`destination`): the user is read from the token,
without verifying it, once for each token. A request that comes in pieces, or on a connection that
has served others, is passed on by its handler (`pass_on`), with its head rebuilt from the request
that aiohttp has parsed.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from gateway.http.transport.handover import Arrival
from gateway.http.transport.http_handler import HttpHandler

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.config import Settings
    from gateway.http.auth.tokens import Authenticator
    from gateway.http.transport.handover import Handover

MOST_USERS = 10_000
"""Tokens whose users are kept; then all are dropped and read again."""

_TOKEN = rb"([\w-]+\.[\w-]+\.[\w-]+)"


class Siblings:
    """Hands requests over to other processes with their connections, by `handover`."""

    def __init__(
        self, settings: Settings, authenticator: Authenticator, handover: Handover
    ) -> None:
        self._authenticator = authenticator
        self.handover = handover
        places = [rb"(?i:\r\nauthorization: *bearer +)"]
        if settings.token_cookie is not None:
            places.append(rb"[ ;]" + re.escape(settings.token_cookie.encode()) + rb'="?')
        if settings.token_query:
            places.append(rb"[?&]access_token=")
        self._places = [re.compile(place + _TOKEN) for place in places]
        # By Python's hash of the token: no token stays in memory. Two tokens with the same hash
        # cost a connection at the wrong worker, which serves it.
        self._users: dict[int, bytes] = {}

    def destination(self, data: bytes) -> int | None:
        """Return the slot of a connection after reading `data`; None: it is served here."""
        for place in self._places:
            if found := place.search(data):
                user = self._user(found[1])
                return None if user is None else self.handover.destination(user)
        return None

    def pass_on(self, request: web.Request, user: bytes) -> bool:
        """Hand a request's connection over; return whether aiohttp no longer has it.

        TLS connections and connections from another worker stay here.
        """
        handler, transport = request.protocol, request.transport
        if (
            not isinstance(handler, HttpHandler)
            or handler.settled
            or handler.half_closed
            or transport is None
            or transport.is_closing()
            or transport.get_extra_info("sslcontext") is not None
        ):
            return False
        slot = self.handover.destination(user)
        arrival = Arrival(transport.get_extra_info("socket"), None, _head(request))
        if slot is None or not self.handover.send(slot, [arrival]):
            return False
        handler.transport = None
        handler.connection_lost(None)
        transport.set_protocol(asyncio.Protocol())
        transport.abort()  # closes this process's copy of the socket without sending
        return True

    def _user(self, token: bytes) -> bytes | None:
        """Return the user that a token names, unverified; None where it cannot be read."""
        hashed = hash(token)
        user = self._users.get(hashed)
        if user is None:
            claimed = self._authenticator.claimed_user(token.decode())
            if claimed is None:
                return None
            if len(self._users) >= MOST_USERS:
                self._users.clear()
            user = self._users[hashed] = claimed.encode()
        return user


def _head(request: web.Request) -> bytes:
    """Return the request's head with its headers unchanged."""
    path = request.raw_path.encode(errors="surrogateescape")
    version = b"HTTP/%d.%d" % (request.version.major, request.version.minor)
    lines = [b"%s %s %s" % (request.method.encode(), path, version)]
    lines += [b"%s: %s" % header for header in request.raw_headers]
    return b"\r\n".join([*lines, b"", b""])
