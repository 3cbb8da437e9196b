"""The descriptions that a worker serves, with settings that change them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from gateway.api.documents import operations_documents, public_documents
from gateway.config import Settings, load_settings
from gateway.core.registry import Registry
from tests.tokens import SECRET

Json = dict[str, Any]

EVERYTHING: dict[str, object] = {
    "token_cookie": "session",
    "token_query": True,
    "sharding": "redirect",
    "cors_origins": "https://app.example.com",
    "ops_token": "a token",
}
"""Settings that extend the descriptions."""

VARIANTS: list[dict[str, object]] = [
    {},
    EVERYTHING,
    {"broadcast_topic": "", "revocations_topic": "", "workers_topic": ""},
]


def settings(**changed: object) -> Settings:
    return load_settings(None, **{"jwt_secret": SECRET, **changed})


def _as_sent(document: Mapping[str, object]) -> Json:
    return cast("Json", json.loads(json.dumps(document)))


def _public(path: str, changed: Mapping[str, object]) -> Json:
    return _as_sent(public_documents(settings(**changed), Registry.built_in())[path])


def _operations(path: str, changed: Mapping[str, object]) -> Json:
    return _as_sent(operations_documents(settings(**changed), Registry.built_in())[path])


def of_requests(**changed: object) -> Json:
    return _public("/openapi.json", changed)


def of_operations(**changed: object) -> Json:
    return _operations("/openapi.json", changed)


def of_events(**changed: object) -> Json:
    return _public("/asyncapi.json", changed)


def of_topics(**changed: object) -> Json:
    return _operations("/asyncapi.json", changed)


EACH: list[Callable[..., Json]] = [of_requests, of_operations, of_events, of_topics]


def references(part: object) -> Iterator[str]:
    """Yield all references of a part of a document."""
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for inner in part.values():
            yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def resolve(document: Json, reference: str) -> Any:
    """Return the target of a reference. Raises `KeyError` without one."""
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step.replace("~1", "/").replace("~0", "~")]
    return found
