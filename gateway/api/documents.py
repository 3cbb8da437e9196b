"""API descriptions of both listeners: `/openapi.json` and `/asyncapi.json`.

Built once, at the start, from the YAML files in this package. The public ones need no token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS

from gateway import __version__
from gateway.api.sources import add_sources, event_types, kinds
from gateway.api.template import Json, render
from gateway.core import event_id, frame
from gateway.core.admission import Refusal
from gateway.core.event import MAX_RECORD_BYTES
from gateway.core.filter import MAX_PATTERNS
from gateway.core.registry import MAX_NAME_BYTES, Registry
from gateway.errors import HttpError, NotReady, TooMany
from gateway.fleet.history import Sample
from gateway.fleet.issues import Issue
from gateway.fleet.status import Status
from gateway.http.admission import MAX_HEAD_BYTES, MAX_URL, refused
from gateway.http.origins import HEADERS, METHODS
from gateway.http.problem import facts
from gateway.http.query import EXAMPLES, LATEST_SINCE
from gateway.http.refusals import metadata_path
from gateway.http.request_reader import NEVER_READY
from gateway.http.transport.new_connections import MAX_HEADERS, MAX_LINE_BYTES
from gateway.ops.dashboard import MAX_WATCHERS
from gateway.ops.explain import ShownMark
from gateway.ops.latest import LatestEvent
from gateway.ops.page import ASSETS
from gateway.ops.session import COOKIE
from gateway.ops.streams import ShownStream
from gateway.readiness import NotReadyReason
from gateway.revocation.record import MIN_TIME, REVOKED_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.config import Settings

EXAMPLE_ID = "1uxBR5cAAABAAAAAAAAASwAzgn2TwBbJYST8QAAAAAAAAAAAAAMAzgn1nzh"

_REQUEST_ID = "5d0f1b7c2a9e4c3381d2f0a6"

_REFUSED_STREAM = (
    "At a limit, or while no worker is ready, the stream has only `retry:` and `stream.close` with"
    " the reason, and ends."
)


def public_documents(settings: Settings, registry: Registry) -> dict[str, Json]:
    """Return the documents of the public listener, by path."""
    about = "Events of the stream `GET /api/v1/events`; `/openapi.json` describes how to open one."
    return {
        "/openapi.json": _requests(settings, registry),
        "/asyncapi.json": _events(settings, registry, about, ()),
    }


def operations_documents(settings: Settings, registry: Registry) -> dict[str, Json]:
    """Return the documents of the operations listener, by path."""
    return {"/openapi.json": _operations(settings), "/asyncapi.json": _topics(settings, registry)}


def _requests(settings: Settings, registry: Registry) -> Json:
    refusals = [refused(refusal) for refusal in Refusal]
    features = {
        "cookie": settings.token_cookie is not None,
        "query": settings.token_query,
        "shards": settings.sharding == "redirect",
        "cors": bool(settings.cors_origins),
        "metadata": settings.resource_url is not None,
    }
    example = EXAMPLE_ID.encode()
    stream = (
        frame.retry(settings.retry_ms)
        + frame.id_block(example)
        + frame.id_line(example)
        + frame.event_body("import.completed", b'{"rows": 9}')
        + frame.heartbeat(example)
    )
    values = {
        "version": __version__,
        "example_id": EXAMPLE_ID,
        "example_stream": stream.decode(),
        "id_length": _id_length(settings),
        "categories": list(registry.categories),
        "category_names": ", ".join(registry.categories),
        "type_patterns": MAX_PATTERNS,
        "since_examples": EXAMPLES,
        "latest_since": LATEST_SINCE - 1,
        "line_bytes": MAX_LINE_BYTES,
        "header_count": MAX_HEADERS,
        "url_length": MAX_URL,
        "head_bytes": MAX_HEAD_BYTES,
        "too_many_examples": _examples(e for e in refusals if isinstance(e, TooMany)),
        "unavailable_examples": _examples(
            [*(e for e in refusals if not isinstance(e, TooMany)), NotReady(NEVER_READY)]
        ),
        "cors_methods": METHODS,
        "cors_headers": HEADERS,
        "cookie": settings.token_cookie,
        "metadata_path": metadata_path(settings.resource_url) if settings.resource_url else "",
        "refused_stream": _REFUSED_STREAM if settings.refuse_by_stream else "",
    }
    return render("public", values, [name for name, enabled in features.items() if enabled])


def _operations(settings: Settings) -> Json:
    values = {
        "version": __version__,
        "example_id": EXAMPLE_ID,
        "id_form": event_id.FORM
        if settings.sources is None
        else f"{event_id.FORM}|{event_id.FORM_2}",
        "not_ready_reasons": list(NotReadyReason),
        "prometheus_type": CONTENT_TYPE_LATEST,
        "openmetrics_type": OPENMETRICS,
        "assets": list(ASSETS),
        "watchers": MAX_WATCHERS,
        "ops_cookie": COOKIE,
    }
    token = "no token" if settings.ops_token is None else "token"
    document = render("operations", values, [token])
    shown = _schemas(ShownStream, ShownMark, Status, Sample, Issue, LatestEvent)
    document["components"]["schemas"].update(shown)
    return document


def _topics(settings: Settings, registry: Registry) -> Json:
    simple = settings.sources is None
    features = {
        "topics": True,
        "users": simple,
        "broadcasts": simple and settings.broadcast_topic,
        "revocations": settings.revocations_topic,
        "workers": settings.workers_topic,
    }
    about = "Records that a worker reads and writes, and the stream that clients read."
    document = _events(
        settings, registry, about, [name for name, topic in features.items() if topic]
    )
    if not simple:
        add_sources(document, settings.event_sources)
    document["components"]["schemas"].update(_schemas(Status))
    secure = settings.kafka_security_protocol.endswith("SSL")
    for number, broker in enumerate(settings.kafka_bootstrap, 1):
        document["servers"][f"kafka{number}"] = {
            "host": broker,
            "protocol": "kafka-secure" if secure else "kafka",
            "description": "A bootstrap server.",
        }
    return document


def _events(settings: Settings, registry: Registry, about: str, features: Iterable[str]) -> Json:
    sources = settings.event_sources
    other = {"type": "string", "not": {"pattern": r"^stream\."}}
    values = {
        "version": __version__,
        "about": about,
        "protocol": "http" if settings.tls_certfile is None else "https",
        "example_id": EXAMPLE_ID,
        "id_length": _id_length(settings),
        "name_bytes": MAX_NAME_BYTES,
        "record_bytes": MAX_RECORD_BYTES,
        "revoked_type": REVOKED_TYPE,
        "types": [*event_types(registry, sources), other],
        "log_kinds": kinds(sources),
        "topic": settings.topic,
        "broadcast_topic": settings.broadcast_topic,
        "revocations_topic": settings.revocations_topic,
        "workers_topic": settings.workers_topic,
        "user_claim": settings.jwt_user_claim,
        "partitioner": settings.partitioner,
        "min_time": MIN_TIME,
        "revocation_seconds": f"{settings.revocation_seconds:g}",
    }
    return render("events", values, tuple(features))


def _id_length(settings: Settings) -> int:
    return event_id.MAX_LENGTH if settings.sources is None else event_id.MAX_LENGTH_2


def _examples(errors: Iterable[HttpError]) -> Json:
    """Return each error as an example of problem details, by its reason."""
    return {
        error.reason or type(error).__name__: {"value": facts(error, _REQUEST_ID)}
        for error in errors
    }


def _schemas(*structs: type[msgspec.Struct]) -> Json:
    """Return the schemas of structs, and of all structs inside them, by name."""
    _, found = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    return cast("Json", msgspec.json.decode(msgspec.json.encode(found)))  # defaults may be tuples
