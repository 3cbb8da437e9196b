from __future__ import annotations

import asyncio
import json
import socket
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from gateway import clock
from gateway.fleet.members import Fleet
from gateway.fleet.status import Status, WorkerState
from gateway.http.caller import Callers
from gateway.http.problem import problems
from gateway.ops import dashboard as module
from gateway.ops.dashboard import MAX_WATCHERS, DashboardFeed, Shown, Watcher
from gateway.ops.latest import Latest
from tests.eventually import DEADLINE, eventually
from tests.sse import EventStreamParser, ReceivedEvent


class View(NamedTuple):
    """A fleet all of which is visible."""

    fleet: Fleet

    def problem(self) -> str:
        return ""


class Stage:
    """A board that shows a fleet of one worker, `a`."""

    def __init__(self) -> None:
        self.fleet = Fleet("a")
        self.latest = Latest(lambda _: "somebody")
        self.board = DashboardFeed("a", View(self.fleet), self.latest, str, "")
        self.number = 0

    def report(self, **facts: Any) -> None:
        """Report the next status of the worker."""
        self.number += 1
        known = {"number": self.number, "state": WorkerState.READY, "at": clock.now().wall}
        self.fleet.set_own(Status(worker="a", **{**known, **facts}))
        self.board.sample()

    def app(self) -> web.Application:
        app = web.Application(middlewares=[problems(Callers(()), metrics=None)])
        app.add_routes(self.board.routes())
        return app


async def read(response: aiohttp.ClientResponse, count: int) -> list[ReceivedEvent]:
    """Return the next events, at least so many."""
    parser = EventStreamParser()
    events: list[ReceivedEvent] = []
    async with asyncio.timeout(DEADLINE):
        while len(events) < count:
            events += parser.feed(await response.content.readany())
    return events


async def test_dashboard_gets_the_whole_state_first_and_then_changes(
    aiohttp_client: AiohttpClient,
) -> None:
    stage = Stage()
    stage.report(streams=3)
    stage.report(streams=4)
    client = await aiohttp_client(stage.app())
    async with client.get("/ops/events") as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-cache, no-transform"
        history, fleet = await read(response, 2)
        assert [sample["streams"] for sample in json.loads(history.data)] == [3, 4]
        document = json.loads(fleet.data)
        assert (fleet.type, document["worker"], document["problem"]) == ("fleet", "a", "")
        assert document["workers"][0]["streams"] == document["sample"]["streams"] == 4
        assert document["concerns"] == []

        stage.report(streams=9, streams_stuck=0, cpu_share=0.99)
        [news] = await read(response, 1)
        document = json.loads(news.data)
        assert document["sample"]["streams"] == 9
        assert [concern["kind"] for concern in document["concerns"]] == ["busy"]

        stage.board.end()
        [last] = await read(response, 1)
        assert (last.type, json.loads(last.data)) == ("stream.close", {"reason": "draining"})
        assert await response.content.read() == b""


async def test_dashboard_is_idle_without_watchers(
    aiohttp_client: AiohttpClient,
) -> None:
    stage = Stage()
    client = await aiohttp_client(stage.app())
    async with client.get("/ops/events") as response:
        assert response.status == 200
        assert stage.latest.watched

    async def unwatched() -> bool:
        stage.report()
        return not stage.latest.watched

    await eventually("the dashboard is missed", unwatched)


async def test_only_so_many_watch(aiohttp_client: AiohttpClient) -> None:
    stage = Stage()
    client = await aiohttp_client(stage.app())
    watching = [await client.get("/ops/events") for _ in range(MAX_WATCHERS)]
    async with client.get("/ops/events") as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "30"
    for each in watching:
        each.close()
    stage.board.end()


async def test_dashboard_that_does_not_read_is_disconnected_without_delaying_others(
    aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CUT_SECONDS", 0.2)
    stage = Stage()
    client = await aiohttp_client(stage.app())
    assert client.port is not None
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.connect(("127.0.0.1", client.port))
        silent.sendall(b"GET /ops/events HTTP/1.1\r\nHost: x\r\n\r\n")

        async def cut_off() -> bool:
            stage.report(version="x" * 1_000_000)  # no socket holds many of these
            return stage.number > 5 and not stage.latest.watched

        await eventually("it is cut off", cut_off)


async def test_new_event_replaces_one_of_its_kind_that_was_not_written_yet() -> None:
    watcher = Watcher()
    watcher.show(Shown("fleet", "old"))
    watcher.show(Shown("sample", "sample"))
    watcher.show(Shown("fleet", "new"))
    assert [shown.data for shown in await watcher.next()] == ["new", "sample"]
    watcher.show(Shown("fleet", "last"))
    watcher.end()
    assert [shown.data for shown in await watcher.next()] == ["last"]
    assert await watcher.next() == []


async def test_pings_keep_a_quiet_stream_open(
    aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PING_SECONDS", 0.05)
    client = await aiohttp_client(Stage().app())
    async with asyncio.timeout(DEADLINE), client.get("/ops/events") as response:
        await response.content.readuntil(b": ping\n\n")
