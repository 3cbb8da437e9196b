"""The fleet: `GET /ops/fleet` once, and `GET /ops/events` for dashboards.

`GET /ops/fleet` has the latest status of every worker that this worker knows, itself included.
`problem` is the reason why other workers are not visible, and the remedy; empty where they are.

`GET /ops/events` has the same as Server-Sent Events:

    event: fleet      at once and every few seconds: the whole document each time
    event: history    at once only: the samples of the last 15 minutes
    event: sample     the latest events of this worker, at most once a second
    event: stream.close     the worker has stopped

Served by aiohttp-sse, with its pings and its timeout for clients that do not read. Each watcher has
a slot for each kind of event, in which a new event replaces one that was not written yet: nothing
waits for a watcher, and a watcher holds at most one event of each kind.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
from aiohttp import web
from aiohttp_sse import EventSourceResponse

from gateway import clock
from gateway.core import frame
from gateway.core.gap import CloseReason
from gateway.errors import Overloaded
from gateway.fleet.history import History, Sample
from gateway.fleet.issues import find_issues
from gateway.ops.streams import answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp.web_routedef import AbstractRouteDef

    from gateway.fleet.members import Fleet
    from gateway.ops.latest import Latest

MAX_WATCHERS = 32
"""Dashboards that one worker serves."""

RETRY_MS = 2000
CUT_SECONDS = 10.0
"""Longest time that one write to a dashboard may take before its connection is aborted."""

PING_SECONDS = 15.0


class Shown(NamedTuple):
    """One event for a dashboard."""

    event: str
    data: str
    id: str | None = None


class Watcher:
    """The events to be written to one dashboard, one for each kind."""

    def __init__(self) -> None:
        self._slots: dict[str, Shown] = {}
        self._news = asyncio.Event()
        self._ended = False

    def show(self, shown: Shown) -> None:
        """Queue an event; it replaces one of its kind that was not written yet."""
        self._slots[shown.event] = shown
        self._news.set()

    def end(self) -> None:
        """End the response once everything is written."""
        self._ended = True
        self._news.set()

    async def next(self) -> list[Shown]:
        """Return the queued events, at least one; an empty list: the response ends."""
        if not self._slots and not self._ended:
            await self._news.wait()
        self._news.clear()
        shown, self._slots = list(self._slots.values()), {}
        return shown


class FleetView(Protocol):
    """The fleet as this worker sees it."""

    @property
    def fleet(self) -> Fleet:
        """The members and their statuses."""

    def problem(self) -> str:
        """Return why other workers are not visible; empty if they are."""


class DashboardFeed:
    """Keeps the history, and shows it and the fleet to dashboards.

    `worker` is the name of this worker, `name` that of the fleet; `describe` returns the command
    that shows the leaders of a topic.
    """

    def __init__(
        self,
        worker: str,
        view: FleetView,
        latest: Latest,
        describe: Callable[[str], str],
        name: str,
    ) -> None:
        self._worker = worker
        self._view = view
        self._fleet = view.fleet
        self._latest = latest
        self._describe = describe
        self._name = name
        self._history = History()
        self._watchers: set[Watcher] = set()
        self._number = 0

    def routes(self) -> Iterable[AbstractRouteDef]:
        """Return the routes for the operations listener."""
        return (
            web.get("/ops/fleet", self._show_fleet),
            web.get("/ops/events", self._watch, allow_head=False),
        )

    def sample(self) -> None:
        """Take a sample of the fleet and show it: once for each status of this worker."""
        moment = clock.now()
        sample = self._history.add_sample(self._fleet.members(moment.monotonic), moment.wall)
        self._number += 1
        if self._watchers:
            self._show(self._document(sample))

    def tick(self) -> None:
        """Show the latest events to dashboards: once a second."""
        if self._watchers and (events := self._latest.drain()):
            self._show(Shown("sample", _json(events)))

    def end(self) -> None:
        """End all responses: the worker stops."""
        self._show(Shown("stream.close", _json({"reason": CloseReason.DRAINING})))
        for watcher in self._watchers:
            watcher.end()

    def _show(self, shown: Shown) -> None:
        for watcher in self._watchers:
            watcher.show(shown)

    async def _show_fleet(self, _: web.Request) -> web.Response:
        members = workers(self._fleet, clock.now().monotonic)
        return answer({"workers": members, "problem": self._view.problem()})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        if len(self._watchers) >= MAX_WATCHERS:
            raise Overloaded(f"{MAX_WATCHERS} dashboards watch this worker", "watchers", 30)
        response = EventSourceResponse(
            sep="\n", send_timeout=CUT_SECONDS, ping_interval=PING_SECONDS
        )
        response.headers["Cache-Control"] = "no-cache, no-transform"
        response.headers["Incremental"] = "?1"
        watcher = Watcher()
        if self._history.samples:
            watcher.show(Shown("history", _json(list(self._history.samples))))
            watcher.show(self._document(self._history.samples[-1]))
        self._watchers.add(watcher)
        self._latest.watched = True
        try:
            await response.prepare(request)
            with suppress(ConnectionError, TimeoutError):
                async with response:
                    await response.write(frame.retry(RETRY_MS) + b"\n")
                    while shown := await watcher.next():
                        for event in shown:
                            await response.send(event.data, id=event.id, event=event.event)
        finally:
            self._watchers.discard(watcher)
            self._latest.watched = bool(self._watchers)
        return response

    def _document(self, sample: Sample) -> Shown:
        """Return the event `fleet`; its id counts samples, to make logs of dashboards readable."""
        moment, problem = clock.now(), self._view.problem()
        members = self._fleet.members(moment.monotonic)
        document = {
            "fleet_name": self._name,
            "worker": self._worker,
            "workers": workers(self._fleet, moment.monotonic),
            "problem": problem,
            "concerns": find_issues(members, self._history, moment.wall, problem, self._describe),
            "sample": sample,
        }
        return Shown("fleet", _json(document), f"{self._worker}-{self._number}")


def workers(fleet: Fleet, now: float) -> list[dict[str, Any]]:
    """Return the statuses, each with its age in seconds."""
    return [
        {**msgspec.to_builtins(status), "age_seconds": round(age, 1)}
        for status, age, _ in fleet.members(now)
    ]


def _json(facts: object) -> str:
    return msgspec.json.encode(facts).decode()
