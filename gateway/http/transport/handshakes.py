"""Bounds the TLS handshakes that the event loop computes in one turn.

The costly step of a handshake, a signature with the server's key, follows the last byte of the
client's hello. Clients may send all of a hello but its last byte and then that byte, all at the
same time. Every piece of a handshake therefore counts as one that may need a signature.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import socket
    import ssl

PIECES_PER_TURN = 4
"""A handshake has two. A signature takes 0.4 ms with an RSA key of 2048 bits, 4 ms with 4096."""


class Handshakes:
    """The handshakes of one listening socket: pieces beyond the bound wait for a later turn.

    The bound is renewed once a turn. A turn contains parts of at most two periods, so at most
    `2 * PIECES_PER_TURN` pieces.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = PIECES_PER_TURN
        self._held: deque[_Gate] = deque()
        self._renewal: asyncio.Handle | None = None

    async def make(
        self, sock: socket.socket, protocol: asyncio.Protocol, context: ssl.SSLContext
    ) -> None:
        """Make the handshake of an accepted connection, then pass it to `protocol`.

        Raises `OSError` if the client leaves or does not speak TLS. `protocol` may receive data
        before its transport.
        """
        raw, _ = await self._loop.connect_accepted_socket(_Silent, sock)
        upgrade = self._loop.create_task(
            self._loop.start_tls(raw, protocol, context, server_side=True)
        )
        try:
            await asyncio.sleep(0)  # `start_tls` sets its protocol, and reads from the next turn on
            gate = _Gate(self, raw)
            raw.set_protocol(gate)
            transport = await upgrade
            raw.set_protocol(gate.tls)
        finally:
            upgrade.cancel()
        assert transport is not None
        protocol.connection_made(transport)

    def received(self, gate: _Gate) -> None:
        """Let a connection use the piece that it has received, now or in a later turn."""
        if self._left and not self._held:
            self._use(gate)
        else:
            gate.raw.pause_reading()
            self._held.append(gate)
        self._renew_soon()

    def _use(self, gate: _Gate) -> None:
        self._left -= 1
        gate.use()

    def _renew_soon(self) -> None:
        if self._renewal is None:
            self._renewal = self._loop.call_soon(self._renew)

    def _renew(self) -> None:
        self._renewal = None
        self._left = PIECES_PER_TURN
        while self._left and self._held:
            gate = self._held.popleft()
            gate.raw.resume_reading()  # before the piece: TLS may pause again
            self._use(gate)
        if self._left < PIECES_PER_TURN:
            self._renew_soon()


class _Silent(asyncio.Protocol):
    """A connection before TLS, which is not read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()


class _Gate(asyncio.BufferedProtocol):
    """Stands before asyncio's protocol of TLS until the handshake has ended."""

    def __init__(self, handshakes: Handshakes, raw: asyncio.Transport) -> None:
        self._handshakes = handshakes
        self._size = 0
        self._lost = False
        self.raw = raw
        self.tls = cast("asyncio.BufferedProtocol", raw.get_protocol())

    def use(self) -> None:
        """Pass the held piece to the handshake."""
        if not self._lost:
            self.tls.buffer_updated(self._size)

    def get_buffer(self, sizehint: int) -> bytearray:
        return cast("bytearray", self.tls.get_buffer(sizehint))

    def buffer_updated(self, nbytes: int) -> None:
        self._size = nbytes
        self._handshakes.received(self)

    def eof_received(self) -> bool | None:
        return self.tls.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self.tls.connection_lost(exc)

    def pause_writing(self) -> None:
        self.tls.pause_writing()

    def resume_writing(self) -> None:
        self.tls.resume_writing()
