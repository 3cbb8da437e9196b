from __future__ import annotations

import re
from pathlib import Path

import pytest

import gateway.http
from gateway import errors
from gateway.core.admission import Refusal
from gateway.core.registry import Registry
from gateway.errors import HttpError, NotReady
from gateway.http.public import EVENTS, public_app
from gateway.http.shards import PARAMETER
from tests.api.described import EVERYTHING, Json, of_requests, settings
from tests.http.served import Served

REMEDY = "describe it in gateway/api/public.yaml"

NOT_PUBLIC = {errors.Forbidden}
"""Responses of the operations listener only."""

ELSEWHERE = {404: "NotFound", 405: "MethodNotAllowed"}
"""Responses to undescribed requests, which belong to no operation."""


def of_stream(**changed: object) -> Json:
    operation = of_requests(**changed)["paths"][EVENTS]["get"]
    assert isinstance(operation, dict)
    return operation


def query(operation: Json) -> set[str]:
    return {found["name"] for found in operation["parameters"] if found["in"] == "query"}


def kinds(root: type[HttpError]) -> list[type[HttpError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in kinds(child))]


def test_every_query_parameter_that_the_code_reads_is_described() -> None:
    source = "".join(
        path.read_text(encoding="utf-8")
        for folder in gateway.http.__path__
        for path in Path(folder).rglob("*.py")
    )
    read = set(re.findall(r'query\.get(?:all)?\(\s*"([^"]+)"', source))
    assert read >= {"categories", "types", "since", "access_token"}
    document = of_requests(**EVERYTHING)
    described = query(document["paths"][EVENTS]["get"])
    described |= {
        way["name"]
        for way in document["components"]["securitySchemes"].values()
        if way.get("in") == "query"
    }
    assert described == {*read, PARAMETER}, REMEDY


@pytest.mark.parametrize(
    "kind",
    [kind for kind in kinds(HttpError) if hasattr(kind, "status") and kind not in NOT_PUBLIC],
)
def test_every_status_of_the_tree_of_errors_is_described(kind: type[HttpError]) -> None:
    responses = of_stream()["responses"]
    if kind.status in ELSEWHERE:
        responses = of_requests()["components"]["responses"]
    response = responses[ELSEWHERE.get(kind.status, str(kind.status))]
    assert "application/problem+json" in response["content"], REMEDY
    if kind.status in (429, 503):
        assert response["headers"]["Retry-After"]["required"]
    if kind.status == 401:
        assert response["headers"]["WWW-Authenticate"]["required"]


def test_every_rejection_reason_has_an_example() -> None:
    responses = of_stream()["responses"]
    shown = {
        reason: example["value"]["status"]
        for status in ("429", "503")
        for reason, example in responses[status]["content"]["application/problem+json"][
            "examples"
        ].items()
    }
    assert shown.keys() == {*Refusal, NotReady.reason}, REMEDY
    assert shown["user_streams"] == 429
    assert shown["worker_streams"] == 503


def test_categories_are_those_of_the_registry() -> None:
    parameter = next(found for found in of_stream()["parameters"] if found["name"] == "categories")
    assert parameter["schema"]["items"]["enum"] == list(Registry.built_in().categories)


def test_only_enabled_features_are_described() -> None:
    plain, full = of_requests(), of_requests(**EVERYTHING)
    assert set(plain["components"]["securitySchemes"]) == {"bearer"}
    assert set(full["components"]["securitySchemes"]) == {"bearer", "cookie", "query"}
    assert full["components"]["securitySchemes"]["cookie"]["name"] == "session"
    assert PARAMETER not in query(of_stream())
    assert "307" not in of_stream()["responses"]
    assert "307" in of_stream(**EVERYTHING)["responses"]
    assert "options" not in plain["paths"][EVENTS]
    assert "options" in full["paths"][EVENTS]


def test_the_public_description_hides_the_backend() -> None:
    made = settings()
    text = str(of_requests())
    for hidden in (made.topic, made.broadcast_topic, *made.kafka_bootstrap, made.listen):
        assert str(hidden) not in text


def test_metadata_and_refusals_by_a_stream_are_described_where_they_are_enabled() -> None:
    path = "/.well-known/oauth-protected-resource/api/v1/events"
    assert path not in of_requests()["paths"]
    url = "https://events.example.com/api/v1/events"
    assert path in of_requests(resource_url=url)["paths"]
    text = of_stream(refuse_by_stream=True)["responses"]["200"]["description"]
    assert "stream.close` with the" in text
    assert text.startswith(of_stream()["responses"]["200"]["description"])


async def test_every_route_of_the_public_listener_is_described() -> None:
    served = Served()
    app = public_app(served.endpoint, served.origins, served.middlewares)
    routes = {resource.canonical for resource in app.router.resources()}
    assert routes <= of_requests()["paths"].keys(), REMEDY
