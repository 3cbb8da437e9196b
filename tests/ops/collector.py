"""An OpenTelemetry collector for OTLP over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.child import free_port


class Collector:
    """Accepts requests at `path`; a subclass keeps their content."""

    path: str
    response: Any
    """The type of the answer's message."""

    def __init__(self) -> None:
        self.port = free_port()
        self.resource: dict[str, Any] = {}

    def keep(self, body: bytes) -> None:
        """Keep the content of a request."""
        raise NotImplementedError

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        app = web.Application()
        app.add_routes([web.post(self.path, self._receive)])
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self.port).start()
            yield
        finally:
            await runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        self.keep(await request.read())
        body = self.response().SerializeToString()
        return web.Response(body=body, content_type="application/x-protobuf")


def values_of(attributes: Any) -> dict[str, Any]:
    """Return attributes as a dictionary."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
