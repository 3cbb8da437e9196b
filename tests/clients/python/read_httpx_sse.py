"""httpx-sse: a loop around it connects again, and skips what the standard would not deliver."""

import asyncio
import sys
from pathlib import Path

import httpx
from httpx_sse import SSEError, aconnect_sse


def bearer(token_file: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {Path(token_file).read_text().strip()}"}


async def main(url: str, token_file: str, last_event_id: str) -> None:
    wait = 3.0
    timeout = httpx.Timeout(10, read=90)
    async with httpx.AsyncClient(timeout=timeout, follow_redirects=True) as client:
        while True:
            headers = bearer(token_file)
            if last_event_id:
                headers["Last-Event-ID"] = last_event_id
            try:
                async with aconnect_sse(client, "GET", url, headers=headers) as source:
                    async for event in source.aiter_sse():
                        last_event_id = event.id or last_event_id
                        if event.retry is not None:
                            wait = event.retry / 1000
                        if event.data:  # none: an id alone, which is kept and no event
                            text = f'"type":"{event.event}","id":"{event.id}","data":{event.data}'
                            print(f"{{{text}}}", flush=True)
            except (httpx.TransportError, SSEError) as error:
                print(repr(error), file=sys.stderr)
            await asyncio.sleep(wait)


asyncio.run(main(*sys.argv[1:]))
