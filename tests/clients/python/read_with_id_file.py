"""A program that is killed and started again: it resumes from the id in its file."""

import asyncio
import sys

from gateway.client import Delivery, Event, EventStream, IdFile


async def main(url: str, token: str, path: str) -> None:
    file = IdFile(path, Delivery.AT_LEAST_ONCE)
    async with EventStream(url, token, resume=file) as stream:
        async for item in stream:
            if isinstance(item, Event):
                print(item.json()["n"], flush=True)
            else:
                print(repr(item), flush=True)


asyncio.run(main(*sys.argv[1:]))
