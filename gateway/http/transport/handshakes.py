"""TLS of clients: bounds the handshakes of a turn of the event loop, and a connection's memory.

The costly step of a handshake, a signature with the server's key, follows the last byte of the
client's hello. Clients may send all of a hello but its last byte, and then that byte, all at the
same time. Every piece of a handshake therefore counts as one that may need a signature.
"""

from __future__ import annotations

import asyncio
from asyncio.sslproto import SSLProtocol
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    import ssl

PIECES_PER_TURN = 4
"""A handshake has two. A signature takes 0.4 ms with an RSA key of 2048 bits, 4 ms with 4096."""

READ_BYTES = 16_384
"""Buffer of each connection, the size of a TLS record. asyncio's own are 262,144 bytes: 280 KB for
a stream, instead of 40."""


class Handshakes:
    """The handshakes of one listening socket: pieces beyond the bound wait for a later turn.

    The bound is renewed once a turn. A turn contains parts of at most two periods, so at most
    `2 * PIECES_PER_TURN` pieces.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = PIECES_PER_TURN
        self._held: deque[_ClientTls] = deque()
        self._renewal: asyncio.Handle | None = None

    async def make(
        self, sock: socket.socket, protocol: asyncio.Protocol, context: ssl.SSLContext
    ) -> None:
        """Make the handshake of an accepted connection, which then begins `protocol`.

        Raises `OSError` if the client leaves or does not speak TLS.
        """
        raw, _ = await self._loop.connect_accepted_socket(_Silent, sock)
        ended = self._loop.create_future()
        tls = _ClientTls(self, raw, protocol, context, ended)
        raw.set_protocol(tls)
        tls.connection_made(raw)
        raw.resume_reading()
        try:
            await ended
        except BaseException:
            raw.close()
            raise
        tls.counted = False

    def received(self, tls: _ClientTls) -> None:
        """Let a connection use the piece that it has received, now or in a later turn."""
        if self._left and not self._held:
            self._left -= 1
            tls.use()
        else:
            tls.raw.pause_reading()
            self._held.append(tls)
        self._renew_soon()

    def _renew_soon(self) -> None:
        if self._renewal is None:
            self._renewal = self._loop.call_soon(self._renew)

    def _renew(self) -> None:
        self._renewal = None
        self._left = PIECES_PER_TURN
        while self._left and self._held:
            tls = self._held.popleft()
            self._left -= 1
            tls.raw.resume_reading()  # before the piece: TLS may pause again
            tls.use()
        if self._left < PIECES_PER_TURN:
            self._renew_soon()


class _Silent(asyncio.Protocol):
    """A connection before TLS, which is not read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()


class _ClientTls(SSLProtocol):
    """asyncio's TLS of one client, whose pieces are counted until the handshake has ended."""

    max_size = READ_BYTES

    def __init__(
        self,
        handshakes: Handshakes,
        raw: asyncio.Transport,
        protocol: asyncio.Protocol,
        context: ssl.SSLContext,
        ended: asyncio.Future[None],
    ) -> None:
        super().__init__(asyncio.get_running_loop(), protocol, context, ended, server_side=True)
        self.raw = raw
        self.counted = True
        self._handshakes = handshakes
        self._piece = 0

    def buffer_updated(self, nbytes: int) -> None:
        if self.counted:
            self._piece = nbytes
            self._handshakes.received(self)
        else:
            super().buffer_updated(nbytes)

    def use(self) -> None:
        """Use the piece that was received; without effect if the connection is lost."""
        if not self.raw.is_closing():
            super().buffer_updated(self._piece)
