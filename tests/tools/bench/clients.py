"""A helper that keeps many streams open, one for each user, and checks every event.

It reports the number of open streams and then answers the questions of `questions`.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec

from tests.tools.bench.helper import questions, say
from tests.tools.bench.load import user_name
from tests.tools.bench.questions import Count, Leave, Return, Served
from tests.tools.bench.server import Dialect
from tests.tools.bench.stream import Place, Stream
from tests.tools.bench.tally import Tally

OPENING = 50
"""Concurrent openings: limited, not a reconnect storm."""

OPEN_SECONDS = 180.0

RETRY_SECONDS = 1.0

LOOK_SECONDS = 0.002
"""Poll interval for missed events."""


class Clients:
    """The users of this process, their streams, and the tally since the last question."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._tally = Tally()
        self._places: dict[str, Place] = {}
        self._streams: list[Stream] = []

    async def arrive(self, port: int, users: range) -> None:
        """Open the first stream of each user."""
        for begin in range(users.start, users.stop, OPENING):
            names = map(user_name, range(begin, min(begin + OPENING, users.stop)))
            await asyncio.gather(*(self._open(port, name) for name in names))

    def leave(self) -> int:
        """Drop all streams; return their number."""
        for stream in self._streams:
            stream.leave()
        left, self._streams = len(self._streams), []
        return left

    async def come_back(self, question: Return) -> Served:
        """Resume all streams; return when they have their missed events."""
        begin = time.monotonic()
        wanted = question.missed * len(self._places)
        async with asyncio.TaskGroup() as group:
            wait = question.spread / len(self._places)
            for number, user in enumerate(self._places):
                group.create_task(
                    self._return(question.port, user, number * wait)
                    if wait
                    else self._open(question.port, user)
                )
            for _ in range(round(question.seconds / LOOK_SECONDS)):
                if self._tally.events >= wanted:
                    break
                await asyncio.sleep(LOOK_SECONDS)
        return Served(time.monotonic() - begin)

    def take_tally(self) -> Tally:
        """Return the tally and reset it."""
        taken, self._tally = self._tally, Tally()
        return taken

    async def _return(self, port: int, user: str, wait: float) -> None:
        """Return when the user's stream is live; retry a connection that breaks before."""
        while True:
            await asyncio.sleep(wait)
            try:
                return await self._open(port, user)
            except ConnectionError:
                wait = RETRY_SECONDS

    async def _open(self, port: int, user: str) -> None:
        """Return when the user's stream is live. Raises `ConnectionError` if none opens."""
        place = self._places.setdefault(user, Place())
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        request = self._dialect.request(user, place.last_id)
        stream = Stream(
            request,
            self._dialect.greeting,
            place,
            opened,
            lambda: self._tally,
            self._dialect.read,
        )
        self._streams.append(stream)
        await loop.create_connection(lambda: stream, "127.0.0.1", port)
        await opened


async def main(port: int, first: int, count: int, dialect: Dialect) -> None:
    """Open the streams, report them, and answer questions until the bench ends."""
    clients = Clients(dialect)
    async with asyncio.timeout(OPEN_SECONDS):
        await clients.arrive(port, range(first, first + count))
    say(count)
    async for line in questions():
        match msgspec.json.decode(line, type=Count | Leave | Return):
            case Count():
                say(clients.take_tally())
            case Leave():
                say(clients.leave())
            case Return() as question:
                say(await clients.come_back(question))


if __name__ == "__main__":
    port, first, count = map(int, sys.argv[1:4])
    asyncio.run(main(port, first, count, Dialect.named(sys.argv[4])))
