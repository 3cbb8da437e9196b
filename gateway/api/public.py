"""OpenAPI 3.1 of the public listener: parameters and every response of the stream.

It is public, so it names no topic, no broker and no limit on streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.api.parts import (
    ALLOW,
    CHALLENGE,
    EXAMPLE_ID,
    OPENAPI,
    PROBLEM,
    REQUEST_ID,
    RETRY_AFTER,
    Json,
    answer,
    document_operation,
    failure,
    file_operation,
    info,
    json_answer,
    responses,
)
from gateway.core import event_id, frame
from gateway.core.admission import Refusal
from gateway.errors import NotReady, TooMany
from gateway.http.admission import MAX_HEAD_BYTES, MAX_URL, refused
from gateway.http.client_files import BASE, TYPES
from gateway.http.origins import HEADERS, METHODS
from gateway.http.public import EVENTS
from gateway.http.query import EXAMPLES, LATEST_SINCE
from gateway.http.refusals import metadata_path
from gateway.http.request_reader import NEVER_READY
from gateway.http.shards import PARAMETER
from gateway.http.transport.acceptor import MAX_HEADERS, MAX_LINE_BYTES

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.core.registry import Registry

_DESCRIPTION = """\
Each user's events, live, and resumed after the id in `Last-Event-ID`. `/asyncapi.json` describes
the events of the stream.

Any other path gets 404 and any other method 405 (`NotFound` and `MethodNotAllowed` among the
responses of this document). Errors are problem details (RFC 9457)."""

_STREAM = """\
The stream. It stays open until the client disconnects or the gateway sends an event
`stream.close`; an event `stream.gap` reports lost events. The first bytes are `retry:` and a block
with only an `id:`. Heartbeats are comments with the current id."""

_REFUSED_BY_STREAM = """
At a limit, or while no worker is ready, the stream has only `retry:` and `stream.close` with the
reason, and ends."""


def public_document(settings: Settings, registry: Registry) -> Json:
    """Return the description of the public listener of a worker with these settings."""
    ways = _security(settings)
    paths: Json = {
        "/": {
            "get": {
                "operationId": "welcome",
                "summary": "Where the streams are",
                "responses": {"200": answer("A line of text.", "text/plain", _TEXT)},
            }
        },
        EVENTS: {"get": _open_stream(settings, registry, list(ways))},
        f"{BASE}/client.js": {
            "get": file_operation(
                "clientModule", "The JavaScript client, a module", TYPES["client.js"], _TEXT
            )
        },
        f"{BASE}/client.d.ts": {
            "get": file_operation("clientTypes", "Its types", TYPES["client.d.ts"], _TEXT)
        },
        "/openapi.json": {"get": document_operation("describeRequests", "its requests")},
        "/asyncapi.json": {"get": document_operation("describeEvents", "its events")},
    }
    if settings.cors_origins:
        paths[EVENTS]["options"] = _preflight()
    if settings.resource_url is not None:
        paths[metadata_path(settings.resource_url)] = {
            "get": {
                "operationId": "describeResource",
                "summary": "Metadata of the protected resource (RFC 9728)",
                "responses": {"200": json_answer("The metadata.", {"type": "object"})},
            }
        }
    return {
        "openapi": OPENAPI,
        "info": info("Kafka SSE gateway", _DESCRIPTION),
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM},
            "securitySchemes": ways,
            "responses": {
                "NotFound": failure("The path does not exist (404)."),
                "MethodNotAllowed": failure("The path does not support the method (405).", ALLOW),
            },
        },
    }


_YEARS = r"^(19[7-9]|[2-5]\d)\d-"
"""Times before 1970 or far in the future are mistakes."""

_TEXT: Json = {"schema": {"type": "string"}}

_EVENT: Json = {
    "type": "object",
    "description": "Each event of the stream, by its fields.",
    "required": ["event", "data"],
    "properties": {
        "id": {"type": "string", "maxLength": event_id.MAX_LENGTH},
        "event": {"type": "string", "minLength": 1},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "retry": {"type": "integer"},
    },
}
"""OpenAPI 3.1 cannot describe items of a stream; tools read this form (3.2: `itemSchema`)."""


def _open_stream(settings: Settings, registry: Registry, ways: list[str]) -> Json:
    refusals = [refused(refusal) for refusal in Refusal]
    found = {
        200: _stream(settings),
        400: _bad_request(registry),
        401: failure(
            "No token, or one that is not accepted or is revoked; which, it does not say.",
            CHALLENGE,
        ),
        403: failure(
            "The token is valid, and its scopes do not allow a requested category.", CHALLENGE
        ),
        414: failure(f"Path and query have more than {MAX_URL} characters."),
        429: failure(
            "The user or the address has reached a limit. Open streams are not affected.",
            RETRY_AFTER,
            [error for error in refusals if isinstance(error, TooMany)],
        ),
        431: failure(f"The headers have more than {MAX_HEAD_BYTES} bytes."),
        500: failure("A defect of the gateway; its log has the cause under the request id."),
        503: failure(
            "This worker is full or was never ready; another worker may serve the request now.",
            RETRY_AFTER,
            [
                *(error for error in refusals if not isinstance(error, TooMany)),
                NotReady(NEVER_READY),
            ],
        ),
    }
    if settings.sharding == "redirect":
        found[307] = {
            "description": "The stream is at the same URL with the shard of the user.",
            "headers": {
                **REQUEST_ID,
                "Location": {
                    "description": "Relative to the requested URL.",
                    "required": True,
                    "schema": {"type": "string", "pattern": rf"^events\?{PARAMETER}=\d"},
                },
            },
            "content": {"text/plain": _TEXT},
        }
    return {
        "operationId": "openStream",
        "summary": "Open the stream of the token's user",
        "security": [{way: []} for way in ways],
        "parameters": _parameters(settings, registry),
        "responses": responses(found),
    }


def _stream(settings: Settings) -> Json:
    first = frame.retry(settings.retry_ms) + frame.id_block(EXAMPLE_ID.encode())
    shown = first + frame.id_line(EXAMPLE_ID.encode())
    shown += frame.event_body("import.completed", b'{"rows": 9}')
    shown += frame.heartbeat(EXAMPLE_ID.encode())
    headers = {
        "Cache-Control": {
            "description": "`no-cache, no-transform`; with a token in the URL `no-store` as well.",
            "schema": {"type": "string"},
        },
        "X-Accel-Buffering": {
            "description": "Makes proxies forward events at once.",
            "schema": {"const": "no"},
        },
        "Incremental": {
            "description": "Asks every intermediary to forward events at once (RFC 10036).",
            "schema": {"const": "?1"},
        },
    }
    content = {"schema": _EVENT, "example": shown.decode()}
    description = _STREAM + _REFUSED_BY_STREAM if settings.refuse_by_stream else _STREAM
    return answer(description, "text/event-stream", content, headers)


def _bad_request(registry: Registry) -> Json:
    response = failure(
        f"A category that there is not (there are {', '.join(registry.categories)}), or a `since`"
        f" that is no time. What is no HTTP, has a line of more than {MAX_LINE_BYTES} bytes or more"
        f" than {MAX_HEADERS} headers gets a line of text, without a request id.",
    )
    response["content"]["text/plain"] = _TEXT
    return response


def _parameters(settings: Settings, registry: Registry) -> list[Json]:
    an_id: Json = {"type": "string", "examples": [EXAMPLE_ID]}
    found: list[Json] = [
        {
            "name": "Last-Event-ID",
            "in": "header",
            "description": "Resume behind this id; it wins over those of the query. Ids of this"
            f" gateway have at most {event_id.MAX_LENGTH} characters. One that cannot be read is no"
            " error: the stream begins with a gap.",
            "schema": an_id,
        },
        *(
            _query(name, "The same, for clients that cannot set headers.", an_id)
            for name in ("Last-Event-ID", "last_event_id")
        ),
        {
            **_query(
                "categories",
                "Only events of these; repeated, or with commas. None: all events, also those of"
                " types that no category holds.",
                {"type": "array", "items": {"type": "string", "enum": list(registry.categories)}},
            ),
            "style": "form",
            "explode": True,
        },
        _query(
            "since",
            f"Start in the past: {EXAMPLES}. An id wins over it, a time to come means now, and what"
            " is older than the replay limits begins with a gap.",
            {
                "oneOf": [
                    {"type": "string", "format": "date-time", "pattern": _YEARS},
                    {"type": "integer", "minimum": 0, "maximum": LATEST_SINCE - 1},
                ]
            },
        ),
    ]
    if settings.sharding == "redirect":
        found.append(
            _query(
                PARAMETER,
                "What a load balancer sends the request by. The right one comes with a 307.",
                {"type": "string"},
            )
        )
    return found


def _query(name: str, description: str, content: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": content}


def _security(settings: Settings) -> Json:
    """Return the ways to send a token, by precedence."""
    ways: Json = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    if settings.token_cookie is not None:
        ways["cookie"] = {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.token_cookie,
            "description": "Accepted only from pages of allowed origins.",
        }
    if settings.token_query:
        ways["query"] = {
            "type": "apiKey",
            "in": "query",
            "name": "access_token",
            "description": "For an `EventSource`; give such a token a short life.",
        }
    return ways


def _preflight() -> Json:
    return {
        "operationId": "preflight",
        "summary": "Preflight of a browser for custom headers (CORS)",
        "responses": {
            "204": {
                "description": "Allowed methods and headers, for an allowed origin.",
                "headers": {
                    **REQUEST_ID,
                    "Access-Control-Allow-Methods": {"schema": {"const": METHODS}},
                    "Access-Control-Allow-Headers": {"schema": {"const": HEADERS}},
                },
            }
        },
    }
