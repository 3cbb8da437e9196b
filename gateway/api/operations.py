"""OpenAPI 3.1 of the operations listener. Schemas are those of the structs that are sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS

from gateway.api.parts import (
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
    info,
    json_answer,
    responses,
    schema,
    schemas,
)
from gateway.core import event_id
from gateway.fleet.history import Sample
from gateway.fleet.issues import Issue
from gateway.fleet.status import Status
from gateway.ops.dashboard import MAX_WATCHERS
from gateway.ops.explain import ShownMark
from gateway.ops.latest import LatestEvent
from gateway.ops.listener import OPEN_PATHS, SIGN_IN_PATHS
from gateway.ops.page import ASSETS
from gateway.ops.session import COOKIE
from gateway.ops.streams import ShownStream
from gateway.readiness import NotReadyReason

if TYPE_CHECKING:
    from gateway.config import Settings

_DESCRIPTION = """\
Health, metrics, the fleet and its streams, of one worker. Never for the public: it listens on
loopback, or asks for a token."""

_STRUCTS = (ShownStream, ShownMark, Status, Sample, Issue, LatestEvent)


def operations_document(settings: Settings) -> Json:
    """Return the description of the operations listener of a worker with these settings."""
    ways: Json = {}
    if settings.ops_token is not None:
        ways = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "GATEWAY_OPS_TOKEN"},
            "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
        }
    paths: Json = {
        "/healthz": {"get": _probe("health", "Whether the process runs", _healthy())},
        "/readyz": {"get": _probe("readiness", "Whether to send clients here", _readiness())},
        "/version": {"get": _version()},
        "/metrics": {"get": _metrics()},
        "/ops": {"get": _page()},
        "/ops/assets/{name}": {"get": _asset()},
        "/ops/fleet": {"get": _fleet()},
        "/ops/events": {"get": _events()},
        "/ops/streams": {"get": _streams(), "delete": _end_all()},
        "/ops/streams/{stream}": {"delete": _end_one()},
        "/ops/id": {"get": _explain()},
        "/ops/drain": {"post": _drain()},
        "/openapi.json": {"get": document_operation("describeOperations", "this listener")},
        "/asyncapi.json": {"get": document_operation("describeEvents", "its topics and events")},
    }
    if ways:
        paths["/ops/session"] = {"post": _sign_in(), "delete": _sign_out()}
    for path, methods in paths.items():
        if path in OPEN_PATHS:
            continue
        for operation in methods.values():
            if not ways:
                operation["responses"]["403"] = failure(
                    "A page of another site asks, or by another name than an address or localhost."
                )
            elif path.replace("{name}", ASSETS[0]) not in SIGN_IN_PATHS:
                operation["security"] = [{way: []} for way in ways]
                operation["responses"]["401"] = failure("Without the token.", CHALLENGE)
    return {
        "openapi": OPENAPI,
        "info": info("Kafka SSE gateway, operations", _DESCRIPTION),
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM, "Member": _MEMBER, **schemas(*_STRUCTS)},
            "securitySchemes": ways,
        },
    }


_MEMBER: Json = {
    "description": "A worker, by its last status.",
    "allOf": [
        schema("Status"),
        {
            "type": "object",
            "required": ["age_seconds"],
            "properties": {"age_seconds": {"type": "number", "minimum": 0}},
        },
    ],
}

_TEXT: Json = {"schema": {"type": "string"}}
_USER: Json = {
    "name": "user",
    "in": "query",
    "required": True,
    "description": "The user id.",
    "schema": {"type": "string", "minLength": 1},
}


def _object(**properties: Json) -> Json:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(item: Json) -> Json:
    return {"type": "array", "items": item}


def _operation(name: str, summary: str, found: dict[int, Json], *parameters: Json) -> Json:
    operation: Json = {"operationId": name, "summary": summary, "responses": responses(found)}
    if parameters:
        operation["parameters"] = list(parameters)
    return operation


def _probe(name: str, summary: str, found: dict[int, Json]) -> Json:
    return _operation(name, f"{summary}; needs no token", found)


def _healthy() -> dict[int, Json]:
    return {200: json_answer("It is.", _object(status={"const": "ok"}))}


def _readiness() -> dict[int, Json]:
    reason = _object(reason={"enum": list(NotReadyReason)}, detail={"type": "string"})
    report = _object(ready={"type": "boolean"}, reasons=_list(reason))
    return {200: json_answer("Ready.", report), 503: json_answer("Not ready, and why.", report)}


def _version() -> Json:
    text: Json = {"type": "string"}
    found = json_answer("The versions.", _object(version=text, python=text))
    return _operation("version", "Version of the worker and of Python", {200: found})


def _metrics() -> Json:
    content = answer(
        "Prometheus' text format, or OpenMetrics where `Accept` asks for it.",
        CONTENT_TYPE_LATEST,
        _TEXT,
    )
    content["content"][OPENMETRICS] = _TEXT
    return _operation("metrics", "All metrics", {200: content})


def _page() -> Json:
    return _operation("dashboard", "The dashboard", {200: answer("A page.", "text/html", _TEXT)})


def _asset() -> Json:
    name: Json = {
        "name": "name",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": list(ASSETS)},
    }
    shown = answer("A file.", "text/css", _TEXT)
    shown["content"]["text/javascript"] = _TEXT
    found = {200: shown, 404: failure("Not a file of the dashboard.")}
    return _operation("dashboardFile", "What the dashboard is made of", found, name)


def _fleet() -> Json:
    content = _object(workers=_list(schema("Member")), problem={"type": "string"})
    shown = json_answer("Every worker; `problem` says why other workers are not visible.", content)
    return _operation("fleet", "Every worker, by its last status", {200: shown})


def _events() -> Json:
    shown = answer(
        "The fleet as it goes: `fleet`, `history` (an array of `Sample`), `sample` (an array of"
        " `LatestEvent`), and `stream.close` when the worker ends.",
        "text/event-stream",
        _TEXT,
    )
    full = failure(f"{MAX_WATCHERS} dashboards watch this worker.", RETRY_AFTER)
    return _operation("watch", "The data of the dashboard", {200: shown, 503: full})


def _streams() -> Json:
    content = _object(partition={"type": ["integer", "null"]}, streams=_list(schema("ShownStream")))
    found = {
        200: json_answer("The user's partition, if it is known, and open streams.", content),
        400: failure("No user was named."),
    }
    return _operation("userStreams", "A user's streams at this worker", found, _USER)


def _ended() -> Json:
    return json_answer("How many were ended.", _object(ended={"type": "integer", "minimum": 0}))


def _end_all() -> Json:
    found = {200: _ended(), 400: failure("No user was named.")}
    return _operation("endUserStreams", "End a user's streams at this worker", found, _USER)


def _end_one() -> Json:
    name: Json = {
        "name": "stream",
        "in": "path",
        "required": True,
        "description": "As `userStreams` names it.",
        "schema": {"type": "string"},
    }
    found = {200: _ended(), 404: failure("This worker has no such stream.")}
    return _operation("endStream", "End a stream", found, name)


def _explain() -> Json:
    an_id: Json = {
        "name": "id",
        "in": "query",
        "required": True,
        "schema": {"type": "string", "pattern": event_id.FORM, "examples": [EXAMPLE_ID]},
    }
    found = {
        200: json_answer("The position in each log.", _object(marks=_list(schema("ShownMark")))),
        400: failure("Not a valid event id."),
    }
    return _operation("explainId", "Explain an event id", found, an_id)


def _drain() -> Json:
    content = json_answer("It has begun.", _object(status={"const": "draining"}))
    return _operation("drain", "End the worker as SIGTERM does", {202: content})


def _sign_in() -> Json:
    done: Json = {
        "description": "Signed in.",
        "headers": {**REQUEST_ID, "Set-Cookie": {"schema": {"type": "string"}}},
    }
    operation = _operation(
        "signIn",
        "Get a cookie for the token, as the dashboard does",
        {
            204: done,
            400: failure("The body is not of this form."),
            401: failure("It is not the token."),
            403: failure("A page of another site asks."),
        },
    )
    form = _object(token={"type": "string"})
    operation["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": form}},
    }
    return operation


def _sign_out() -> Json:
    done: Json = {"description": "The cookie is gone.", "headers": REQUEST_ID}
    return _operation("signOut", "Have the cookie removed", {204: done})
