"""`GET /ops/events`: the fleet as it goes, for dashboards, by the gateway's own kind of stream.

    event: fleet      at once, and then every few seconds: a whole document each time
    event: history    at once only: the samples of the last 15 minutes, as far as this worker knows
    event: sample     the latest events of this worker, at most once a second
    event: stream.close     the worker has ended

A watcher has a task of its own and a slot for each kind of event, in which what is newer replaces
what was not written yet. So nobody waits for a watcher, and none can hold more than one of each;
one that takes nothing for `CUT_SECONDS` is cut off. The fleet's documents are its heartbeat.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from gateway import clock
from gateway.core import frame
from gateway.core.concerns import concerns
from gateway.core.frame import CloseReason
from gateway.core.history import History
from gateway.errors import Overloaded
from gateway.ops.fleet import workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp.web_routedef import AbstractRouteDef

    from gateway.core.fleet import Fleet
    from gateway.core.history import Sample
    from gateway.ops.latest import Latest

MAX_WATCHERS = 32
"""Browsers of the people on call, and the screens on their walls."""

RETRY_MS = 2000
CUT_SECONDS = 10.0
RATE_TICKS = 10
"""Ticks of the worker between two writes of the latest events: a second."""


class Watcher:
    """What is to be written to one dashboard, by the kind of event."""

    def __init__(self) -> None:
        self._slots: dict[str, bytes] = {}
        self._news = asyncio.Event()
        self._ended = False

    def show(self, kind: str, data: bytes) -> None:
        """Have it written soon, instead of an older one that was not."""
        self._slots[kind] = data
        self._news.set()

    def end(self) -> None:
        """Have the response ended once all is written."""
        self._ended = True
        self._news.set()

    async def next(self) -> bytes:
        """Wait for what there is to write; nothing: it is over."""
        if not self._slots and not self._ended:
            await self._news.wait()
        self._news.clear()
        data, self._slots = b"".join(self._slots.values()), {}
        return data


class Board:
    """Keeps the history, and shows it and the fleet to whoever watches.

    `worker` is the name of this one, `problem` says why others are not to be seen.
    """

    def __init__(
        self, worker: str, fleet: Fleet, problem: Callable[[], str], latest: Latest
    ) -> None:
        self._worker = worker
        self._fleet = fleet
        self._problem = problem
        self._latest = latest
        self._history = History()
        self._watchers: set[Watcher] = set()
        self._number = 0

    def routes(self) -> Iterable[AbstractRouteDef]:
        """Return what the operations listener serves."""
        return (web.get("/ops/events", self._watch),)

    def sample(self) -> None:
        """Take a sample of the fleet and show it: once for each status of this worker."""
        moment = clock.now()
        sample = self._history.take(self._fleet.members(moment.monotonic), moment.wall)
        self._number += 1
        if self._watchers:
            data = self._document(sample)
            for watcher in self._watchers:
                watcher.show("fleet", data)

    def tick(self) -> None:
        """Show the latest events to those who watch."""
        if self._watchers and (events := self._latest.take()):
            data = frame.event_body("sample", msgspec.json.encode(events))
            for watcher in self._watchers:
                watcher.show("sample", data)

    def end(self) -> None:
        """End all responses: the worker ends."""
        for watcher in self._watchers:
            watcher.show("close", frame.close(CloseReason.DRAINING, RETRY_MS))
            watcher.end()

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        if len(self._watchers) >= MAX_WATCHERS:
            raise Overloaded(f"{MAX_WATCHERS} dashboards watch this worker", "watchers", 30)
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )
        watcher = Watcher()
        if self._history.samples:
            history = msgspec.json.encode(list(self._history.samples))
            watcher.show("history", frame.event_body("history", history))
            watcher.show("fleet", self._document(self._history.samples[-1]))
        self._watchers.add(watcher)
        self._latest.watched = True
        try:
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(CUT_SECONDS):
                    await response.prepare(request)
                    await response.write(frame.retry(RETRY_MS) + b"\n")
                while data := await watcher.next():
                    async with asyncio.timeout(CUT_SECONDS):
                        await response.write(data)
                return response
        finally:
            self._watchers.discard(watcher)
            self._latest.watched = bool(self._watchers)
        if request.transport is not None:
            request.transport.abort()
        return response

    def _document(self, sample: Sample) -> bytes:
        """Return the event `fleet`; its id counts, so that a log of a dashboard can be read."""
        moment, problem = clock.now(), self._problem()
        members = self._fleet.members(moment.monotonic)
        document = {
            "worker": self._worker,
            "workers": workers(self._fleet, moment.monotonic),
            "problem": problem,
            "concerns": concerns(members, self._history, moment.wall, problem),
            "sample": sample,
        }
        event_id = f"{self._worker}-{self._number}".encode()
        return frame.id_line(event_id) + frame.event_body("fleet", msgspec.json.encode(document))
