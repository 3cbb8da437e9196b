"""A client that drops, stalls and resumes at random on any worker, and records its events.

It uses plain asyncio streams, because a run has hundreds of clients. Chunk framing is skipped, not
decoded: an event split across chunks would count as lost.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from tests.tokens import mint
from tests.tools.chaos.verdict import Told
from tests.worker import Worker

OPEN_SECONDS = 3.0
"""Limit for a response; then the client tries another worker."""

SILENCE_SECONDS = 4.0
"""Limit for silence of a stream; heartbeats come once a second."""

RETRY_SECONDS = 0.5
READ_BYTES = 65_536


class Refused(Exception):
    """A worker did not open a stream."""


class Delay(NamedTuple):
    """An event that arrived late."""

    since: float
    """Earliest possible arrival: `time.monotonic()` of its acknowledgement or of the reconnect."""
    seconds: float
    cut: bool
    """Whether the connection broke in between."""


class ChaosClient:
    """One user's client. `had` has the numbers of its events and its gaps, in order."""

    def __init__(self, user: str, workers: Sequence[Worker], chance: random.Random) -> None:
        self.user = user
        self.had: list[int | Told] = []
        self.came: dict[int, float] = {}
        """First arrival of each number."""
        self.back: list[float] = [time.monotonic()]
        """Time of the reconnect after a deliberate disconnect."""
        self.cuts: list[float] = []
        """Time of a broken connection or an abandoned worker."""
        self.resumes = self.stalls = 0
        self.following = asyncio.Event()
        """Set as soon as the stream is live."""
        self._workers = workers
        self._chance = chance
        self._token = mint(user)
        self._last_event_id = b""
        self._rest = b""

    async def run(self, calm: asyncio.Event) -> None:
        """Connect and disconnect until cancelled; after `calm` stay connected."""
        while True:
            try:
                await self._visit(calm)
            except (OSError, TimeoutError, EOFError, Refused):
                self.cuts.append(time.monotonic())
                await asyncio.sleep(self._chance.uniform(0, RETRY_SECONDS))

    async def _visit(self, calm: asyncio.Event) -> None:
        """Stay connected for a while, then disconnect; raise if no stream opens."""
        async with asyncio.timeout(OPEN_SECONDS):
            port = self._chance.choice(self._workers).port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(self._request())
            async with asyncio.timeout(OPEN_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise Refused(head[:20])
            self.resumes += bool(self._last_event_id)
            self._rest = b""
            await self._read_for(reader, self._chance.uniform(4, 20), calm)
            while not calm.is_set() and self._chance.random() < 0.5:
                self.stalls += 1
                await asyncio.sleep(self._chance.uniform(0.5, 3))
                self.back.append(time.monotonic())
                await self._read_for(reader, self._chance.uniform(4, 20), calm)
        finally:
            writer.transport.abort()
        await asyncio.sleep(self._chance.uniform(0, 3))
        self.back.append(time.monotonic())

    def _request(self) -> bytes:
        resume = b"Last-Event-ID: %b\r\n" % self._last_event_id if self._last_event_id else b""
        return (
            b"GET /api/v1/events HTTP/1.1\r\nHost: chaos\r\nAccept: text/event-stream\r\n"
            b"Authorization: Bearer %b\r\n%b\r\n" % (self._token.encode(), resume)
        )

    async def _read_for(
        self, reader: asyncio.StreamReader, seconds: float, calm: asyncio.Event
    ) -> None:
        end = time.monotonic() + seconds
        while calm.is_set() or time.monotonic() < end:
            async with asyncio.timeout(SILENCE_SECONDS):
                data = await reader.read(READ_BYTES)
            if not data:
                raise EOFError
            *blocks, self._rest = (self._rest + data).split(b"\n\n")
            for block in blocks:
                self._take(block)

    def _take(self, block: bytes) -> None:
        fields: dict[bytes, bytes] = {}
        for line in block.split(b"\n"):
            name, _, value = line.partition(b": ")
            fields[name] = value
        if b"data" in fields:
            payload = json.loads(fields[b"data"])
            if fields[b"event"] == b"stream.gap":
                self.had.append(Told(payload["reason"]))
            elif fields[b"event"] != b"stream.close":
                self.had.append(payload["n"])
                self.came.setdefault(payload["n"], time.monotonic())
        if b"id" in fields:
            self._last_event_id = fields[b"id"]
            self.following.set()

    def delays(self, acknowledged: dict[int, float], more_than: float) -> list[Delay]:
        """Return the late events, from the acknowledgement times."""
        found = []
        for number, came in self.came.items():
            since = acknowledged.get(number, came)
            with suppress(ValueError):
                since = max(since, max(back for back in self.back if back <= came))
            if came - since > more_than:
                cut = any(since <= moment <= came for moment in self.cuts)
                found.append(Delay(since, came - since, cut))
        return found
