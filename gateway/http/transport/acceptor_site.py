"""An acceptor as a site of aiohttp's runner."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from aiohttp import web

from gateway.http.transport.acceptor import DEFER_SECONDS, Acceptor

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Iterable
    from ssl import SSLContext

    from gateway.http.transport.acceptor import Opener
    from gateway.http.transport.handover import Arrival


class AcceptorSite(web.BaseSite):
    """An acceptor as a site of aiohttp's runner, which closes the site on cleanup.

    Call `cut_off` after the cleanup to abort the remaining connections.
    """

    def __init__(
        self,
        runner: web.BaseRunner,
        listening: socket.socket,
        opener: Opener | None,
        defer: int = DEFER_SECONDS,
        context: SSLContext | None = None,
    ) -> None:
        super().__init__(runner, ssl_context=context)
        self._listening = listening
        self._opener = opener
        self._defer = defer
        self._context = context
        self._acceptor: Acceptor | None = None

    @property
    def name(self) -> str:
        """Where it listens."""
        host, port = self._listening.getsockname()[:2]
        return f"{'http' if self._context is None else 'https'}://{host}:{port}"

    async def start(self) -> None:
        """Begin to take connections."""
        await super().start()
        server = self._runner.server
        assert server is not None
        self._acceptor = Acceptor(self._listening, self._opener, server, self._defer, self._context)
        self._server = cast("asyncio.AbstractServer", self._acceptor)  # as far as a site needs one

    def receive(self, arrivals: Iterable[Arrival]) -> None:
        """Serve connections that other worker processes accepted."""
        assert self._acceptor is not None
        self._acceptor.receive(arrivals)

    def cut_off(self) -> None:
        """Abort the connections that belong to neither a stream nor aiohttp."""
        if self._acceptor is not None:
            self._acceptor.cut_off()
