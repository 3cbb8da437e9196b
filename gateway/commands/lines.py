"""Read lines from a file descriptor in an event loop.

A daemon thread reads. `connect_read_pipe` does not support regular files, and a thread of the
loop's pool that is blocked on an idle pipe would prevent Ctrl-C from ending the process.
"""

from __future__ import annotations

import asyncio
import os
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHUNK = 1 << 16


async def read_lines(descriptor: int) -> AsyncIterator[bytes]:
    """Yield each line without its line end, including an unterminated last line.

    Reads at most two chunks ahead.
    """
    chunks: asyncio.Queue[bytes] = asyncio.Queue(1)
    loop = asyncio.get_running_loop()

    def read() -> None:
        chunk = b"\n"
        while chunk:
            chunk = os.read(descriptor, CHUNK)
            asyncio.run_coroutine_threadsafe(chunks.put(chunk), loop).result()

    Thread(target=read, name="lines", daemon=True).start()
    rest = b""
    while chunk := await chunks.get():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
    if rest:
        yield rest
