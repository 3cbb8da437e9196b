"""Streams for operators: list one user's streams with their positions, and close them.

    GET /ops/streams?user=U          {"partition": P, "streams": [{"stream", "user", "cursor", …}]}
    DELETE /ops/streams?user=U       ends all of the user's with `closed`
    DELETE /ops/streams/{stream}     ends one

A worker knows its own streams only. A client reconnects after its stream was closed; to keep it
away, revoke its session or user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog
from aiohttp import web

from gateway import clock
from gateway.core.gap import CloseReason
from gateway.core.records import LogKind, OffsetPosition
from gateway.core.stream import State
from gateway.errors import BadRequest, NotFound
from gateway.http.transport.connection import Connection
from gateway.ops.reporter import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp.web_routedef import AbstractRouteDef

    from gateway.core.feed import PartitionFeed
    from gateway.core.records import Moment, TopicPartition
    from gateway.core.stream import Stream
    from gateway.parts import Parts

_log = structlog.stdlib.get_logger(__name__)


class ShownPosition(msgspec.Struct, frozen=True):
    """The position of a stream in one partition."""

    log: LogKind
    topic: str
    partition: int
    offset: int | None
    """The next offset; None while the position is a time that was not looked up yet."""
    time: str | None
    """The time of the previous record or of the position: RFC 3339; None: unknown."""
    lag: int | None
    """Upper bound of the records up to the end of the partition; None: unknown."""


class ShownStream(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stream. Only `user` and `address` hold data of the client or its proxy."""

    stream: str
    user: str
    state: State
    worker: str
    partition: int | None
    """The user's partition in the first user topic; None without one."""
    since: str
    address: str
    events: int
    bytes: int | None
    """Acknowledged by the client's kernel; None where the system does not report it."""
    waiting_bytes: int
    """Written, but not accepted by the kernel of this machine yet."""
    lag: int | None
    stuck_seconds: float | None
    categories: list[str] | None
    types: list[str] | None
    id: str
    """Its cursor as an event id."""
    cursor: list[ShownPosition]
    groups: dict[str, list[str]] = msgspec.field(default_factory=dict)
    """The record keys of the user's groups, by topic; omitted without groups."""


class Streams:
    """The routes of the worker with this name."""

    def __init__(self, worker: str, parts: Parts) -> None:
        self._worker = worker
        self._hub = parts.hub
        self._kafka = parts.kafka

    def routes(self) -> Iterable[AbstractRouteDef]:
        """Return the routes for the operations listener."""
        return (
            web.get("/ops/streams", self._list),
            web.delete("/ops/streams", self._end_all),
            web.delete("/ops/streams/{stream}", self._end_one),
        )

    async def _list(self, request: web.Request) -> web.Response:
        moment, lags = clock.now(), self._kafka.lags()
        shown = [self.show(stream, lags, moment) for stream in self._of(request)]
        partition = self._kafka.partition(_user(request))
        return answer({"partition": partition, "streams": shown})

    async def _end_all(self, request: web.Request) -> web.Response:
        return self._end(list(self._of(request)))

    async def _end_one(self, request: web.Request) -> web.Response:
        name = request.match_info["stream"]
        found = [stream for stream in self._hub.streams if self.name(stream) == name]
        if not found:
            raise NotFound(
                f"{self._worker} has no such stream; its own begin with {self._worker}-, others are"
                " ended at their worker"
            )
        return self._end(found)

    def _end(self, streams: list[Stream]) -> web.Response:
        self._hub.close_all(streams, CloseReason.CLOSED, clock.now())
        if streams:
            _log.info("streams ended by an operator", streams=len(streams))
        return answer({"ended": len(streams)})

    def _of(self, request: web.Request) -> Iterable[Stream]:
        return self._hub.open_streams.user(_user(request))

    def name(self, stream: Stream) -> str:
        """Return the name of a stream, unique in the fleet."""
        return f"{self._worker}-{stream.number}"

    def show(
        self, stream: Stream, lags: Mapping[TopicPartition, int], moment: Moment
    ) -> ShownStream:
        """Return the stream as it is now."""
        cursor = [_position(stream, feed, lags) for feed in stream.feeds]
        known = [position.lag for position in cursor if position.lag is not None]
        sink = stream.sink if isinstance(stream.sink, Connection) else None
        age_ms = int((moment.monotonic - stream.opened) * 1000)
        stuck, chosen = stream.stuck_since, stream.filter
        return ShownStream(
            stream=self.name(stream),
            user=stream.key.decode(),
            state=stream.state,
            worker=self._worker,
            partition=_partition(stream),
            since=rfc3339(moment.wall - age_ms),
            address=stream.address or ("" if sink is None else sink.peer),
            events=stream.sent,
            bytes=None if sink is None else sink.acknowledged_bytes,
            waiting_bytes=0 if sink is None else sink.waiting_bytes,
            lag=sum(known) if len(known) == len(cursor) else None,
            stuck_seconds=None if stuck is None else round(moment.monotonic - stuck, 1),
            categories=None if chosen is None else chosen.categories,
            types=None if chosen is None else chosen.types,
            id=stream.id().decode(),
            cursor=cursor,
            groups={
                topic: [key.decode(errors="replace") for key in keys]
                for topic, keys in stream.groups.items()
            },
        )


def _user(request: web.Request) -> bytes:
    user = request.query.get("user", "")
    if not user:
        raise BadRequest("say whose streams: /ops/streams?user=ID")
    return user.encode(errors="replace")  # no token has text that is not UTF-8


def _partition(stream: Stream) -> int | None:
    partitions = (f.log.partition for f in stream.feeds if f.topic.kind is LogKind.USER)
    return next(partitions, None)


def answer(facts: object) -> web.Response:
    """Return facts as JSON with `Cache-Control: no-store`."""
    return web.Response(
        body=msgspec.json.encode(facts),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _position(
    stream: Stream, feed: PartitionFeed, lags: Mapping[TopicPartition, int]
) -> ShownPosition:
    place = stream.position(feed)
    offset = place.offset if isinstance(place, OffsetPosition) else None
    lag = None
    if offset is not None and feed.tail is not None and feed.log in lags:
        lag = max(0, feed.tail.head.offset - offset) + lags[feed.log]
    time = rfc3339(place.timestamp) if place.timestamp else None
    return ShownPosition(feed.topic.kind, *feed.log, offset, time, lag)
