"""A schema registry for tests that change its answers: it serves schemas over HTTP or HTTPS."""

from __future__ import annotations

import asyncio
import json
import ssl
from base64 import b64encode
from typing import Self

from aiohttp import hdrs, web


class ServedRegistry:
    """Answers as a registry does; while `silent` it keeps requests, while `broken` it answers 503.

    `wanted` is the header `Authorization` that requests need.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.schemas: dict[str, dict[str, object]] = {}
        self.requests: list[str] = []
        self.silent = self.broken = False
        self.wanted = ""
        self._context = context
        self._runner = web.AppRunner(self._app(), shutdown_timeout=0.1)

    def add(self, path: str, text: str, kind: str = "AVRO", *references: object) -> None:
        """Serve a schema at `path`, such as `ids/7`."""
        document: dict[str, object] = {"schema": text}
        if kind != "AVRO":
            document["schemaType"] = kind
        if references:
            document["references"] = references
        self.schemas[path] = document

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._context).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        scheme = "http" if self._context is None else "https"
        return f"{scheme}://127.0.0.1:{self._runner.addresses[0][1]}/below"

    def basic(self, username: str, password: str) -> None:
        """Require a login."""
        self.wanted = f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}"

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/below/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        self.requests.append(path)
        if self.silent:
            await asyncio.Event().wait()
        if self.broken:
            return web.Response(status=503)
        if self.wanted and request.headers.get(hdrs.AUTHORIZATION) != self.wanted:
            return web.Response(status=401)
        found = self.schemas.get(path.removeprefix("schemas/"))
        if found is None:
            return web.json_response({"error_code": 40403, "message": "not found"}, status=404)
        return web.Response(body=json.dumps(found), content_type="application/json")
