"""The topics in AsyncAPI: keys, headers and values of the records that go through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.event import MAX_RECORD_BYTES
from gateway.core.registry import MAX_NAME_BYTES, RESERVED_PREFIX
from gateway.fleet.status import Status
from gateway.revocation.record import MIN_TIME, REVOKED_TYPE

if TYPE_CHECKING:
    from gateway.api.parts import Json
    from gateway.config import Settings

SHAPES = ("envelope", "typed", "cloudEvent", "cloudEventDocument")
"""The shapes of a record, in words that may be names of messages."""

_BINDING = "0.5.0"

_JSON_PAYLOAD: Json = {"description": "Any JSON value; it is delivered unchanged."}
_RAW_PAYLOAD: Json = {"description": "Any bytes, not empty; they are delivered unchanged."}

_TYPE: Json = {
    "type": "string",
    "description": f"The event's type, at most {MAX_NAME_BYTES} bytes. It has no control"
    f" characters and does not begin with `{RESERVED_PREFIX}`. {REVOKED_TYPE} also revokes the"
    " session that its payload names in `session_id`.",
    "minLength": 1,
    "not": {"pattern": f"^{RESERVED_PREFIX[:-1]}\\."},
}

_CATEGORY: Json = {
    "type": "string",
    "description": "Overrides the category that the registry gives to the type.",
}


def topic_channels(settings: Settings) -> Json:
    """Return a channel for each topic that is not switched off."""
    shapes = {name: {"$ref": f"#/components/messages/{name}"} for name in SHAPES}
    channels = {
        "userEvents": _channel(
            settings.topic,
            "Events of users: the key is the user id in UTF-8, as the token's claim"
            f" `{settings.jwt_user_claim}` has it, and gives the partition"
            f" ({settings.partitioner}). Read with read_committed; records of more than"
            f" {MAX_RECORD_BYTES} bytes are skipped.",
            shapes,
        ),
        "broadcastEvents": _channel(
            settings.broadcast_topic,
            "Broadcasts: one partition, keys are ignored.",
            shapes,
            {"partitions": 1},
        ),
        "revocations": _channel(
            settings.revocations_topic,
            "Revocations: the last record of each key is in force.",
            {"revocation": {"$ref": "#/components/messages/revocation"}},
            {"topicConfiguration": {"cleanup.policy": ["compact"]}},
        ),
        "workers": _channel(
            settings.workers_topic,
            "Status of each worker; a tombstone means that it has stopped.",
            {"status": {"$ref": "#/components/messages/status"}},
            {"topicConfiguration": {"cleanup.policy": ["compact"]}},
        ),
    }
    return {name: channel for name, channel in channels.items() if channel["address"]}


def topic_operations(settings: Settings) -> Json:
    """Return the operations of a worker on each topic."""
    there = topic_channels(settings)
    wanted = {
        "readUserEvents": ("receive", "userEvents", "Deliver a record to its user's streams"),
        "readBroadcasts": ("receive", "broadcastEvents", "Deliver a record to every stream"),
        "readRevocations": ("receive", "revocations", "End the streams that are revoked"),
        "writeRevocations": ("send", "revocations", f"Record the revocation of a {REVOKED_TYPE}"),
        "readFleet": ("receive", "workers", "Read the status of other workers"),
        "writeStatus": ("send", "workers", "Write the status of this worker"),
    }
    return {
        name: {
            "action": action,
            "summary": summary,
            "channel": {"$ref": f"#/channels/{channel}"},
        }
        for name, (action, channel, summary) in wanted.items()
        if channel in there
    }


def topic_messages() -> Json:
    """Return the messages of all topics."""
    user = "The user id; in the broadcast topic anything, or nothing."
    return {
        "envelope": _message(
            "The type and the payload in a JSON object; no header is needed",
            user,
            {"$ref": "#/components/schemas/Envelope"},
            {"category": _CATEGORY},
        ),
        "typed": _message(
            "The type in a header; the value is the payload",
            user,
            _RAW_PAYLOAD,
            {
                "event_type": _TYPE,
                "event_id": {"type": "string"},
                "occurred_at": {"type": "string"},
                "category": _CATEGORY,
            },
            "event_type",
        ),
        "cloudEvent": _message(
            "A CloudEvent in binary mode; the value is the payload",
            user,
            _RAW_PAYLOAD,
            {
                "ce_specversion": {"const": "1.0"},
                "ce_type": _TYPE,
                "ce_id": {"type": "string"},
                "ce_source": {"type": "string"},
                "content-type": {"type": "string"},
                "category": _CATEGORY,
            },
            *("ce_specversion", "ce_type"),
        ),
        "cloudEventDocument": {
            **_message(
                "A CloudEvent in structured mode",
                user,
                {"$ref": "#/components/schemas/CloudEvent"},
                {
                    "content-type": {
                        "type": "string",
                        "pattern": "^application/cloudevents\\+json",
                    },
                    "category": _CATEGORY,
                },
                "content-type",
            ),
            "contentType": "application/cloudevents+json",
        },
        "revocation": _message(
            "Revokes a session or all that a user has; a tombstone lifts it",
            "`session:<session id>`, or `user:<user id>`.",
            {"$ref": "#/components/schemas/Revocation"},
        ),
        "status": _message(
            "Status of a worker, every few seconds",
            "The worker's name.",
            {"$ref": f"#/components/schemas/{Status.__name__}"},
        ),
    }


def topic_schemas(settings: Settings) -> Json:
    """Return the schemas of record values, the status excepted."""
    return {
        "Envelope": {
            "type": "object",
            "required": ["event_type", "data"],
            "properties": {
                "event_type": _TYPE,
                "data": _JSON_PAYLOAD,
                "event_id": {"description": "For other readers; any JSON value."},
                "user_id": {
                    "type": ["string", "integer", "null"],
                    "description": "If present, equal to the record's key.",
                },
                "occurred_at": {"description": "For other readers; any JSON value."},
            },
        },
        "CloudEvent": {
            "type": "object",
            "required": ["specversion", "type"],
            "properties": {
                "specversion": {"const": "1.0"},
                "type": _TYPE,
                "id": {"type": "string"},
                "source": {"type": "string"},
                "data": _JSON_PAYLOAD,
                "data_base64": {"type": "string", "contentEncoding": "base64"},
            },
            "oneOf": [{"required": ["data"]}, {"required": ["data_base64"]}],
        },
        "Revocation": {
            "type": ["object", "null"],
            "properties": {
                "user_id": {
                    "type": ["string", "integer", "null"],
                    "description": "Whose session it is; required where the key names a session.",
                },
                "revoked_at": {
                    "type": ["integer", "null"],
                    "minimum": MIN_TIME,
                    "description": "Unix ms; without, the record's timestamp.",
                },
                "expires_at": {
                    "type": ["integer", "null"],
                    "minimum": MIN_TIME,
                    "description": "Unix ms; without, this many seconds later:"
                    f" {settings.revocation_seconds:g}.",
                },
            },
        },
    }


def _channel(address: str, description: str, messages: Json, kafka: Json | None = None) -> Json:
    binding = {"topic": address, **(kafka or {}), "bindingVersion": _BINDING}
    return {
        "address": address,
        "description": description,
        "messages": messages,
        "bindings": {"kafka": binding},
    }


def _message(
    summary: str, key: str, payload: Json, headers: Json | None = None, *required: str
) -> Json:
    message: Json = {
        "summary": summary,
        "payload": payload,
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": key},
                "bindingVersion": _BINDING,
            }
        },
    }
    if headers:
        message["headers"] = {
            "type": "object",
            "required": list(required),
            "properties": headers,
        }
    return message
