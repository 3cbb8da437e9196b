"""`GET /ops/id?id=`: the fields of an event id, as far as this worker knows without asking Kafka.

`gateway id` asks Kafka too, and reports the result of a resume from the id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from gateway.core.event_id import CursorEntry, is_current, owner, parse
from gateway.core.records import LogKind, OffsetPosition
from gateway.errors import BadRequest, EventIdError
from gateway.ops.reporter import rfc3339
from gateway.ops.streams import answer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.web_routedef import AbstractRouteDef

    from gateway.core.hub import Hub
    from gateway.core.source import Topic


class ShownMark(msgspec.Struct, frozen=True, omit_defaults=True):
    """The entry of one partition in an event id."""

    log: LogKind | None
    """None in an id of version 2 whose topic this worker does not read."""
    partition: int
    offset: int | None
    """The next offset; None where the position is a time."""
    time: str
    tag: str
    verdict: str
    """How this worker would resume from it."""
    topic: str = ""
    """The name of the topic in an id of version 2."""


def id_routes(hub: Hub) -> Iterable[AbstractRouteDef]:
    """Return the routes for the operations listener."""

    async def explain(request: web.Request) -> web.Response:
        if "id" not in request.query:
            raise BadRequest("say which id: /ops/id?id=ID")
        try:
            marks = parse(request.query["id"])
        except EventIdError as error:
            effect = "a client that sends this one gets a gap with reason invalid"
            raise BadRequest(f"{error}; {effect}") from None
        return answer({"marks": [_show(mark, hub) for mark in marks]})

    return (web.get("/ops/id", explain),)


def _show(mark: CursorEntry, hub: Hub) -> ShownMark:
    place = mark.position
    offset = place.offset if isinstance(place, OffsetPosition) else None
    time = rfc3339(place.timestamp)
    topics = list({feed.topic.name: feed.topic for feed in hub.feeds.values()}.values())
    topic = owner(mark, topics)
    kind, name = (topic.kind, topic.name) if mark.kind is None and topic else (mark.kind, "")
    verdict = _verdict(mark, offset, hub, topic)
    return ShownMark(kind, mark.partition, offset, time, mark.tag.hex(), verdict, name)


def _verdict(mark: CursorEntry, offset: int | None, hub: Hub, topic: Topic | None) -> str:
    if topic is None:
        return "this worker reads no such log now; gateway id asks Kafka"
    if not is_current(mark, topic):
        return "it is of another topic or cluster: gap reset"
    if offset is None:
        return "looked up in Kafka by its time"
    for log, feed in hub.feeds.items():
        if log.topic == topic.name and log.partition == mark.partition and feed.tail is not None:
            if offset > feed.tail.head.offset:
                return f"beyond the newest record that was read ({feed.tail.head.offset - 1})"
            if offset >= feed.tail.base.offset:
                return f"served from memory, {feed.tail.head.offset - offset} offsets behind"
            return "older than the records in memory: a replay from Kafka"
    return "this worker does not read the partition now: a replay from Kafka"
