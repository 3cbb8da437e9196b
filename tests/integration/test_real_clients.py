"""Clients that people have: curl, and httpx with httpx-sse."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import httpx
import pytest
from httpx_sse import aconnect_sse

from tests.tokens import bearer, mint

if TYPE_CHECKING:
    from tests.records import RecordWriter
    from tests.worker import Worker


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_shows_each_event_as_it_comes(
    worker: Worker, user: str, write: RecordWriter
) -> None:
    curl = await asyncio.create_subprocess_exec(
        *("curl", "-N", "-s", "-H", f"Authorization: Bearer {mint(user)}", worker.events_url),
        stdout=asyncio.subprocess.PIPE,
    )
    assert curl.stdout is not None
    try:
        async with asyncio.timeout(15):
            assert (await curl.stdout.readuntil(b"\n\n")).startswith(b"retry: 3000\nid: ")
            for number in range(3):
                await write.numbered(user, [number])
                event = await curl.stdout.readuntil(b"\n\n")
                assert event.endswith(b'data: {"n":%d}\n\n' % number)
    finally:
        curl.terminate()
        await curl.wait()


async def test_httpx_sse_gets_events_and_resumes_with_their_ids(
    worker: Worker, user: str, write: RecordWriter
) -> None:
    got: list[str] = []
    last_event_id = ""
    async with httpx.AsyncClient(headers=bearer(mint(user)), timeout=15) as client:
        for begin in (0, 3):
            headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
            async with aconnect_sse(client, "GET", worker.events_url, headers=headers) as source:
                source.response.raise_for_status()
                async for event in source.aiter_sse():
                    last_event_id = event.id or last_event_id
                    if not event.data:  # a block without data, which the standard ignores
                        if event.id and begin == 0:
                            await write.numbered(user, range(3))
                        continue
                    got.append(event.data)
                    if len(got) == begin + 3:
                        break
            await write.numbered(user, range(begin + 3, begin + 6))
    assert got == [f'{{"n":{number}}}' for number in range(6)]
