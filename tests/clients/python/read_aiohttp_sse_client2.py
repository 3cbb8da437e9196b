"""aiohttp-sse-client2: reconnects when a stream ends in order, but not after an error."""

import asyncio
import sys
from pathlib import Path

from aiohttp import ClientError, ClientSession, ClientTimeout
from aiohttp_sse_client2.client import EventSource
from multidict import CIMultiDict


async def main(url: str, token_file: str, last_event_id: str) -> None:
    headers = CIMultiDict({"Last-Event-ID": last_event_id} if last_event_id else {})

    def authorize() -> None:
        headers["Authorization"] = f"Bearer {Path(token_file).read_text().strip()}"

    timeout = ClientTimeout(total=None, sock_connect=10, sock_read=90)
    async with ClientSession(timeout=timeout) as session:
        while True:
            authorize()
            try:
                async with EventSource(
                    url, session=session, headers=headers, on_error=authorize
                ) as source:
                    async for event in source:
                        headers["Last-Event-ID"] = event.last_event_id
                        text = f'"id":"{event.last_event_id}","data":{event.data}'
                        print(f'{{"type":"{event.type}",{text}}}', flush=True)
            except (ClientError, ConnectionError, TimeoutError) as error:
                print(repr(error), file=sys.stderr)
            await asyncio.sleep(0.1)


asyncio.run(main(*sys.argv[1:]))
