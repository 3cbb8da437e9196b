"""A site of another origin: it serves the programs to pages, and streams as a test wants them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

PROGRAMS = Path(__file__).parent / "programs"
HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Authorization, Last-Event-ID, Cache-Control, Pragma",
    "Access-Control-Expose-Headers": "Retry-After",
    "Cache-Control": "no-store",
}


class Answer(NamedTuple):
    """What the site answers to one request for a stream; a stream of text stays open."""

    status: int = 200
    text: str = "retry: 10\nid: 1\n\n"
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    ends: bool = False


class Site:
    """Serves `answers` in order and then repeats the last one; `requests` holds all requests."""

    def __init__(self, library: Path | None) -> None:
        self.url = ""
        self.answers: list[Answer] = [Answer()]
        self.requests: list[tuple[float, dict[str, str]]] = []
        self._library = library
        self.app = web.Application()
        self.app.router.add_get("/programs/{name}", self._program)
        self.app.router.add_get("/library/{name}", self._module)
        self.app.router.add_route("*", "/events", self._events)

    async def _program(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(PROGRAMS / request.match_info["name"], headers=HEADERS)

    async def _module(self, request: web.Request) -> web.FileResponse:
        """Serve a module of a library that leaves endings to a bundler."""
        assert self._library is not None
        name = request.match_info["name"].removesuffix(".js")
        return web.FileResponse(self._library / f"{name}.js", headers=HEADERS)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return web.Response(headers=HEADERS)
        now = asyncio.get_running_loop().time()
        self.requests.append((now, {name.lower(): text for name, text in request.headers.items()}))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        headers = {**HEADERS, **answer.headers}
        if answer.status != 200:
            return web.json_response({"detail": "no"}, status=answer.status, headers=headers)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **headers})
        await response.prepare(request)
        await response.write(answer.text.encode())
        if not answer.ends:
            await asyncio.sleep(3600)
        return response


@asynccontextmanager
async def serving(library: Path | None = None) -> AsyncIterator[Site]:
    site = Site(library)
    runner = web.AppRunner(site.app, access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        site.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield site
    finally:
        await runner.cleanup()
