"""gateway.client: nothing is left to do but to take the events."""

import asyncio
import sys
from pathlib import Path

from gateway.client import EventStream, Message


async def main(url: str, token_file: str, last_event_id: str) -> None:
    def token() -> str:
        return Path(token_file).read_text().strip()

    async with EventStream(url, token, resume=last_event_id) as stream:
        async for item in stream:
            if isinstance(item, Message):
                text = f'"type":"{item.type}","id":"{item.id}","data":{item.data}'
                print(f"{{{text}}}", flush=True)


asyncio.run(main(*sys.argv[1:]))
