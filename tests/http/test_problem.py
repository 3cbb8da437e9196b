from __future__ import annotations

import json

import pytest
from pytest_aiohttp.plugin import AiohttpClient

from gateway.errors import (
    BadRequest,
    HttpError,
    MethodNotAllowed,
    NotFound,
    NotReady,
    Unauthorized,
)
from gateway.http.problem import problem
from gateway.readiness import Readiness
from tests.http.raw_client import connected
from tests.http.served import Served
from tests.tokens import bearer, mint

EVENTS = "/api/v1/events"


@pytest.mark.parametrize(
    ("kind", "status", "title"),
    [
        (BadRequest, 400, "Bad Request"),
        (Unauthorized, 401, "Unauthorized"),
        (NotFound, 404, "Not Found"),
        (MethodNotAllowed, 405, "Method Not Allowed"),
        (NotReady, 503, "Service Unavailable"),
    ],
)
def test_error_is_sent_as_problem_details(kind: type[HttpError], status: int, title: str) -> None:
    answer = problem(kind('what is "wrong"'), "b7a1")
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body) == {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": 'what is "wrong"',
        "request_id": "b7a1",
    }
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers.get("Retry-After") == ("3" if status == 503 else None)


@pytest.mark.parametrize(
    ("method", "target", "authorized", "status", "headers"),
    [
        ("GET", EVENTS, False, 401, {"WWW-Authenticate": 'Bearer realm="gateway"'}),
        ("GET", f"{EVENTS}?categories=weather", True, 400, {}),
        ("GET", f"{EVENTS}?since=yesterday", True, 400, {}),
        ("GET", f"{EVENTS}/", True, 404, {}),
        ("GET", "/metrics", True, 404, {}),
        ("GET", "/demo", True, 404, {}),
        ("GET", "/api/v1", True, 404, {}),
        ("GET", "/%00", True, 404, {}),
        ("OPTIONS", "*", True, 404, {}),
        ("POST", EVENTS, True, 405, {"Allow": "GET"}),
        ("PUT", EVENTS, True, 405, {"Allow": "GET"}),
        ("DELETE", EVENTS, False, 405, {"Allow": "GET"}),
        ("PATCH", EVENTS, False, 405, {"Allow": "GET"}),
        ("POST", "/", True, 405, {"Allow": "GET, HEAD"}),
    ],
)
async def test_what_is_refused_and_how(
    served: Served,
    method: str,
    target: str,
    authorized: bool,
    status: int,
    headers: dict[str, str],
) -> None:
    async with connected(served.port) as client:
        await client.request(target, method=method, token=mint("alice") if authorized else None)
        head, _, body = (await client.response()).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0].startswith(f"HTTP/1.1 {status} ")
    assert "Content-Type: application/problem+json" in lines
    for name, value in headers.items():
        assert f"{name}: {value}" in lines
    assert json.loads(body).keys() == {"type", "title", "status", "detail", "request_id"}
    assert json.loads(body)["status"] == status
    assert len(served.hub.streams) == 0


async def test_a_head_request_for_a_stream_is_refused_without_a_body(
    served: Served, aiohttp_client: AiohttpClient
) -> None:
    client = await aiohttp_client(served.app)
    async with client.head(EVENTS, headers=bearer(mint("alice"))) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET"
        assert await response.read() == b""
    assert len(served.hub.streams) == 0


async def test_a_refused_request_can_be_followed_by_a_good_one_on_the_same_connection(
    served: Served,
) -> None:
    async with connected(served.port) as client:
        await client.request(EVENTS)
        assert (await client.response()).startswith(b"HTTP/1.1 401 ")
        await served.open(client)


async def test_worker_that_was_never_ready_sends_retry_after(
    aiohttp_client: AiohttpClient,
) -> None:
    client = await aiohttp_client(Served(readiness=Readiness()).app)
    async with client.get(EVENTS, headers=bearer(mint("alice"))) as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "3"
        assert response.headers["Content-Type"] == "application/problem+json"
        detail = (await response.json(content_type=None))["detail"]
        assert "has not reached Kafka yet" in detail


async def test_every_refusal_is_counted_by_its_name(served: Served) -> None:
    async with connected(served.port) as client:
        for target, token in (
            (EVENTS, None),
            (EVENTS, "nonsense"),
            (f"{EVENTS}?since=x", mint("alice")),
            ("/nothing", None),
        ):
            await client.request(target, token=token)
            await client.response()
        await client.request(EVENTS, method="PUT")
        await client.response()
    counted = {
        sample.labels["reason"]: sample.value
        for family in served.metrics.registry.collect()
        if family.name == "gateway_rejects"
        for sample in family.samples
        if sample.name == "gateway_rejects_total" and sample.value
    }
    assert counted == {"unauthorized": 2, "bad_request": 1, "not_found": 1, "method_not_allowed": 1}
