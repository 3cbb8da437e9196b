"""AsyncAPI 3: the records that go in by Kafka, and the events that come out by streams.

Two documents. The public one has the stream, all that a client needs; topics and brokers are
nobody's business there. The one for operators, and for those who write producers, has both.

AsyncAPI knows no event streams, so a message's headers stand for the fields of an event: `id`,
`event`, `retry`; and its payload for what `data` holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.api.parts import EXAMPLE_ID, Json, info, schemas
from gateway.api.topics import topic_channels, topic_messages, topic_operations, topic_schemas
from gateway.core import event_id
from gateway.core.gap import CloseReason, GapReason
from gateway.core.records import LogKind
from gateway.core.registry import RESERVED_PREFIX
from gateway.fleet.status import Status
from gateway.http.public import EVENTS

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.core.registry import Registry

ASYNCAPI = "3.0.0"

_GAPS = {
    GapReason.EXPIRED: "retention has removed what followed the id",
    GapReason.RESET: "the topic is not the one of the id; some events may come again",
    GapReason.INVALID: "the id cannot be read",
    GapReason.LIMIT: "more was missed than the replay limits allow",
}

_CLOSES = {
    CloseReason.DRAINING: "the worker is being stopped: connect again",
    CloseReason.TOKEN_EXPIRED: "get a new token, then connect with it and the last id",
    CloseReason.REVOKED: "log in again",
    CloseReason.REPLACED: "a newer stream has taken the place of this one, which did not answer",
    CloseReason.SLOW: "the client has not read for too long: connect again",
    CloseReason.MAX_AGE: "the stream is as old as it may get: connect again",
    CloseReason.CLOSED: "an operator has ended it: connect again",
}


def public_events(settings: Settings, registry: Registry) -> Json:
    """Return the description of a stream's events."""
    return _document(
        settings,
        "What the stream of `GET " + EVENTS + "` holds. How to open one is at `/openapi.json`.",
        {"components": {"messages": _messages(), "schemas": _schemas(registry)}},
    )


def all_events(settings: Settings, registry: Registry) -> Json:
    """Return the description of a stream's events, and of every topic that the settings name."""
    document = _document(
        settings,
        "The records that a worker reads and writes, and the stream that clients read.",
        {
            "components": {
                "messages": {**_messages(), **topic_messages()},
                "schemas": {
                    **_schemas(registry),
                    **topic_schemas(settings),
                    **schemas(Status),
                },
            }
        },
    )
    secure = settings.kafka_security_protocol.endswith("SSL")
    for number, broker in enumerate(settings.kafka_bootstrap, 1):
        document["servers"][f"kafka{number}"] = {
            "host": broker,
            "protocol": "kafka-secure" if secure else "kafka",
            "description": "A broker that is asked first.",
        }
    document["channels"].update(topic_channels(settings))
    document["operations"].update(topic_operations(settings))
    return document


def _document(settings: Settings, description: str, more: Json) -> Json:
    about = info("Kafka SSE gateway, events", description)
    del about["summary"]
    about["license"] = {"name": "Apache License 2.0"}
    return {
        "asyncapi": ASYNCAPI,
        "info": about,
        "defaultContentType": "application/json",
        "servers": {
            "gateway": {
                "host": "{host}",
                "protocol": "http" if settings.tls_certfile is None else "https",
                "description": "Where this was found, most often behind a load balancer.",
                "variables": {"host": {"default": "localhost:8080"}},
            }
        },
        "channels": {
            "stream": {
                "address": EVENTS,
                "title": "A stream",
                "description": "`text/event-stream`; ends with the connection; the next one resumes"
                " it by `Last-Event-ID`.",
                "servers": [{"$ref": "#/servers/gateway"}],
                "messages": {
                    name: {"$ref": f"#/components/messages/{name}"} for name in _messages()
                },
            }
        },
        "operations": {
            "stream": {
                "action": "send",
                "summary": "Send a user its events and the broadcasts, in the order of their logs",
                "channel": {"$ref": "#/channels/stream"},
            }
        },
        **more,
    }


def _messages() -> Json:
    return {
        "event": _message(
            "An event of the user, or a broadcast",
            {"$ref": "#/components/schemas/Type"},
            {"description": "The payload of the producer, byte for byte except for line breaks."},
        ),
        "gap": _message(
            "Events were lost: fetch the state again",
            {"const": f"{RESERVED_PREFIX}gap"},
            {"$ref": "#/components/schemas/Gap"},
        ),
        "close": {
            **_message(
                "The server ends the stream",
                {"const": f"{RESERVED_PREFIX}close"},
                {"$ref": "#/components/schemas/Close"},
            ),
            "headers": {
                "type": "object",
                "required": ["event"],
                "properties": {
                    "event": {"const": f"{RESERVED_PREFIX}close"},
                    "retry": {"$ref": "#/components/schemas/Retry"},
                },
            },
        },
        "place": {
            "summary": "A block without data: it fires nothing, and sets the client's last id",
            "description": "The first block, with `retry`; the end of a replay; and each heartbeat,"
            " behind a comment, when nothing else was written.",
            "headers": {
                "type": "object",
                "properties": {
                    "id": {"$ref": "#/components/schemas/EventId"},
                    "retry": {"$ref": "#/components/schemas/Retry"},
                },
            },
            "payload": {"type": "null"},
        },
    }


def _message(summary: str, event: Json, payload: Json) -> Json:
    return {
        "summary": summary,
        "headers": {
            "type": "object",
            "required": ["id", "event"],
            "properties": {"id": {"$ref": "#/components/schemas/EventId"}, "event": event},
        },
        "payload": payload,
    }


def _schemas(registry: Registry) -> Json:
    types: dict[str, list[str]] = {name: [] for name in registry.categories}
    for event_type, category in registry.types.items():
        types[category].append(event_type)
    return {
        "EventId": {
            "type": "string",
            "description": "Position of the stream after this block: opaque, to be sent back.",
            "maxLength": event_id.MAX_LENGTH,
            "examples": [EXAMPLE_ID],
        },
        "Retry": {
            "type": "integer",
            "minimum": 0,
            "description": "Milliseconds to wait before connecting again.",
        },
        "Type": {
            "description": "The type of an event: one of a category, or another, which streams"
            " without a filter get.",
            "anyOf": [
                *(
                    {"title": category, "description": f"Category `{category}`.", "enum": known}
                    for category, known in types.items()
                ),
                {"type": "string", "not": {"pattern": f"^{RESERVED_PREFIX[:-1]}\\."}},
            ],
        },
        "Gap": _gap(),
        "Close": {
            "type": "object",
            "required": ["reason"],
            "properties": {"reason": _reasons(_CLOSES)},
        },
    }


def _gap() -> Json:
    return {
        "type": "object",
        "required": ["reason"],
        "properties": {
            "reason": _reasons(_GAPS),
            "log": {"enum": list(LogKind)},
            "partition": {"type": "integer", "minimum": 0},
            "from": {"type": "integer", "description": "The first offset that cannot be seen."},
            "to": {"type": "integer", "description": "The offset at which the stream continues."},
            "since": {
                "type": "string",
                "format": "date-time",
                "description": "Start of the time from which events may be missing.",
            },
        },
        "additionalProperties": False,
    }


def _reasons(meanings: dict[GapReason, str] | dict[CloseReason, str]) -> Json:
    return {"oneOf": [{"const": reason, "description": text} for reason, text in meanings.items()]}
