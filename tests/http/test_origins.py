from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gateway.http.origins import Origins
from gateway.http.public import EVENTS
from tests.http.raw_client import GREETING, RawClient, connected
from tests.http.served import Served, serving
from tests.tokens import mint

APP = "https://app.example.com"
HOST = "gateway.test"

ALLOWED = {
    "Access-Control-Allow-Origin": APP,
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": "Retry-After, WWW-Authenticate, X-Request-Id",
}

STRANGE = [
    "https://app.example.com.evil.test",
    "https://evil.test",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://APP.example.com",
    "https://app.example.com/",
    "https://app.example.com https://evil.test",
    "null",
    "*",
    "",
    "https://[",
]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(cors_origins=(APP,), token_cookie="token", token_query=True) as it:
        yield it


def headers_of(answer: bytes) -> dict[str, str]:
    lines = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    found = dict(line.split(": ", 1) for line in lines)
    assert len(found) == len(lines), "a header is sent twice"
    return found


def cors(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("Access-Control")}


async def test_a_page_that_is_allowed_may_read_a_stream(client: RawClient) -> None:
    await client.request(EVENTS, token=mint("alice"), headers={"Origin": APP})
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 200 ")
    headers = headers_of(head)
    assert cors(headers) == ALLOWED
    assert headers["Vary"] == "Origin"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-cache, no-transform"
    assert GREETING.match(await client.chunk())


@pytest.mark.parametrize("origin", [None, *STRANGE])
async def test_no_other_page_may_read_a_stream(client: RawClient, origin: str | None) -> None:
    """Its token lets it open one, but the browser keeps the answer from it."""
    headers = {} if origin is None else {"Origin": origin}
    await client.request(EVENTS, token=mint("alice"), headers=headers)
    found = headers_of(await client.head())
    assert cors(found) == {}
    assert found["Vary"] == "Origin"


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [
        (EVENTS, "GET", 401),
        (f"{EVENTS}?categories=weather", "GET", 400),
        ("/nothing", "GET", 404),
        (EVENTS, "POST", 405),
        ("/", "GET", 200),
    ],
)
async def test_allowed_page_may_read_the_error(
    client: RawClient, target: str, method: str, status: int
) -> None:
    token = None if status == 401 else mint("alice")
    await client.request(target, method=method, token=token, headers={"Origin": APP})
    answer = await client.response()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    headers = headers_of(answer)
    assert cors(headers) == ALLOWED
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    if status >= 400:
        assert headers["Cache-Control"] == "no-store"
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == status


async def test_preflight_response_lists_the_allowed_methods_and_headers(client: RawClient) -> None:
    await client.request(
        EVENTS,
        method="OPTIONS",
        headers={
            "Origin": APP,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization,last-event-id",
        },
    )
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 204 ")
    headers = headers_of(head)
    assert cors(headers) == {
        **ALLOWED,
        "Access-Control-Allow-Methods": "GET",
        "Access-Control-Allow-Headers": (
            "Authorization, Cache-Control, Last-Event-ID, Traceparent, Tracestate"
        ),
        "Access-Control-Max-Age": "7200",
    }
    assert headers["Vary"] == "Origin"


@pytest.mark.parametrize("origin", STRANGE)
async def test_preflight_of_a_foreign_origin_gets_no_cors_headers(
    client: RawClient, origin: str
) -> None:
    headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    await client.request(EVENTS, method="OPTIONS", headers=headers)
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 204 ")
    assert cors(headers_of(head)) == {}


async def test_preflight_without_an_allow_list_gets_405() -> None:
    async with serving() as served, connected(served.port) as client:
        headers = {"Origin": APP, "Access-Control-Request-Method": "GET"}
        await client.request(EVENTS, method="OPTIONS", headers=headers)
        answer = await client.response()
        assert answer.startswith(b"HTTP/1.1 405 ")
        assert "Vary" not in headers_of(answer)


async def test_a_stream_whose_token_is_in_the_url_is_not_stored(client: RawClient) -> None:
    await client.request(f"{EVENTS}?access_token={mint('alice')}")
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert headers_of(head)["Cache-Control"] == "no-cache, no-store, no-transform"


TRUSTED: list[dict[str, str]] = [
    {},  # no browser, or an old one on the page's own origin
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": f"https://{HOST}"},
    {"Origin": f"https://{HOST}", "Sec-Fetch-Site": "same-origin"},
    {"Origin": APP},
    {"Origin": APP, "Sec-Fetch-Site": "cross-site"},
    {"Origin": APP, "Sec-Fetch-Site": "same-site"},
]

STRANGERS: list[dict[str, str]] = [
    *({"Origin": origin} for origin in STRANGE),
    *({"Origin": origin, "Sec-Fetch-Site": "cross-site"} for origin in STRANGE),
    {"Origin": "https://other.gateway.test", "Sec-Fetch-Site": "same-site"},
    {"Origin": f"https://{HOST}:8443", "Sec-Fetch-Site": "same-site"},
    {"Origin": f"https://{HOST}.evil.test"},
    {"Origin": f"https://evil.test/{HOST}"},
    {"Origin": f"https://{HOST}@evil.test"},
    # A page of this host over plain HTTP, which a man in the middle can replace.
    {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "cross-site"},
    # An image, a frame, a link: without an origin.
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    {"Sec-Fetch-Site": "something-new"},
    {"Sec-Fetch-Site": ""},
]


@pytest.mark.parametrize("headers", TRUSTED, ids=str)
async def test_a_cookie_counts_where_no_other_site_is_in_play(
    served: Served, client: RawClient, headers: dict[str, str]
) -> None:
    await client.request(EVENTS, headers={"Cookie": f"token={mint('alice')}", **headers})
    assert (await client.head()).startswith(b"HTTP/1.1 200 ")
    await served.until_open(1)


@pytest.mark.parametrize("headers", STRANGERS, ids=str)
async def test_another_site_cannot_even_open_a_stream_with_a_cookie(
    served: Served, client: RawClient, headers: dict[str, str]
) -> None:
    await client.request(EVENTS, headers={"Cookie": f"token={mint('alice')}", **headers})
    answer = await client.response()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert cors(headers_of(answer)) == {}
    assert b"a cookie is not accepted from another origin" in answer
    assert not served.hub.openings


async def test_token_that_a_page_sends_is_valid_from_any_origin(
    served: Served, client: RawClient
) -> None:
    """Another site that knows the token needs no cookie."""
    headers = {
        "Cookie": f"token={mint('bob')}",
        "Origin": "https://evil.test",
        "Sec-Fetch-Site": "cross-site",
    }
    await client.request(f"{EVENTS}?access_token={mint('alice')}", headers=headers)
    assert (await client.head()).startswith(b"HTTP/1.1 200 ")
    assert [opening.user for opening in served.hub.openings] == [b"alice"]


def test_a_request_without_a_host_trusts_no_origin() -> None:
    """HTTP/1.0 needs none."""
    for origin in ("https://", "null", ""):
        request = make_mocked_request("GET", EVENTS, CIMultiDict({"Origin": origin}))
        assert not Origins(()).trust(request)
