"""What the descriptions have in common: answers, headers, problem details, and who made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from gateway import __version__
from gateway.http.problem import facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.errors import HttpError

Json = dict[str, Any]

OPENAPI = "3.1.0"

EXAMPLE_ID = "1uxBR5cAAABAAAAAAAAASwAzgn2TwBbJYST8QAAAAAAAAAAAAAMAzgn1nzh"

_REQUEST_ID = "5d0f1b7c2a9e4c3381d2f0a6"

REQUEST_ID: Json = {
    "X-Request-Id": {
        "description": "The request's id, as the gateway's log has it.",
        "schema": {"type": "string"},
    }
}

RETRY_AFTER: Json = {
    "Retry-After": {
        "description": "Seconds to wait; random, so that clients do not return together.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}

CHALLENGE: Json = {
    "WWW-Authenticate": {
        "description": "A bearer challenge (RFC 6750).",
        "required": True,
        "schema": {"type": "string"},
    }
}

ALLOW: Json = {
    "Allow": {
        "description": "The supported methods.",
        "required": True,
        "schema": {"type": "string"},
    }
}

PROBLEM: Json = {
    "type": "object",
    "description": "Problem details (RFC 9457).",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"const": "about:blank"},
        "title": {"type": "string", "description": "The name of the status."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong and what to do, for people."},
        "request_id": {"type": "string", "description": "That of the header X-Request-Id."},
    },
}


def info(title: str, description: str) -> Json:
    """Return title, version and licence of a description."""
    return {
        "title": title,
        "version": __version__,
        "summary": "Server-Sent Events from Kafka",
        "description": description,
        "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
    }


def schema(name: str) -> Json:
    """Return a reference to a schema of the same document."""
    return {"$ref": f"#/components/schemas/{name}"}


def schemas(*structs: type[msgspec.Struct]) -> Json:
    """Return the schemas of structs and of all that is in them, by name."""
    _, found = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    return cast("Json", msgspec.json.decode(msgspec.json.encode(found)))  # defaults may be tuples


def answer(description: str, media_type: str, content: Json, headers: Json | None = None) -> Json:
    """Return a response with a body."""
    return {
        "description": description,
        "headers": {**REQUEST_ID, **(headers or {})},
        "content": {media_type: content},
    }


def json_answer(description: str, content: Json) -> Json:
    """Return a response whose body is JSON of this schema."""
    return answer(description, "application/json", {"schema": content})


def failure(
    description: str, headers: Json | None = None, errors: Iterable[HttpError] = ()
) -> Json:
    """Return a response with problem details; `errors` are shown as examples, by their reason."""
    content: Json = {"schema": schema("Problem")}
    examples = {
        error.reason or type(error).__name__: {"value": facts(error, _REQUEST_ID)}
        for error in errors
    }
    if examples:
        content["examples"] = examples
    return answer(description, "application/problem+json", content, headers)


def responses(found: Mapping[int, Json]) -> Json:
    """Return responses by their status, as OpenAPI wants it: in text."""
    return {str(status): response for status, response in sorted(found.items())}


def document_operation(name: str, of: str) -> Json:
    """Return the operation that gives a description."""
    content: Json = {"schema": {"type": "object"}}
    return file_operation(name, f"This worker's description of {of}", "application/json", content)


def file_operation(name: str, summary: str, media_type: str, content: Json) -> Json:
    """Return the operation that gives a text which stays the same while the worker runs."""
    etag: Json = {"ETag": {"description": "Of this text.", "schema": {"type": "string"}}}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [
            {
                "name": "If-None-Match",
                "in": "header",
                "description": "The ETag of the text that the client has.",
                "schema": {"type": "string"},
            }
        ],
        "responses": responses(
            {
                200: answer("The text.", media_type, content, etag),
                304: {"description": "The client has it.", "headers": {**REQUEST_ID, **etag}},
            }
        ),
    }
