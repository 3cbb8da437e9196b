"""A helper for Pushpin: the HTTP server behind it, which subscribes each stream to its channel.

The path is the channel. Pushpin keeps the stream open and needs no further answer of this server.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

from tests.tools.bench.helper import questions, say

GREETING = b": held\n\n"


async def hold(request: web.Request) -> web.Response:
    """Return the start of the stream, and the headers that tell Pushpin to hold it (GRIP)."""
    headers = {"Grip-Hold": "stream", "Grip-Channel": request.match_info["channel"]}
    return web.Response(body=GREETING, content_type="text/event-stream", headers=headers)


async def main(port: int) -> None:
    """Serve until the bench ends."""
    app = web.Application()
    app.router.add_get("/{channel}", hold)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    say(port)
    async for _ in questions():
        pass
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
