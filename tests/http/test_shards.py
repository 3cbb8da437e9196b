from __future__ import annotations

import json
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_aiohttp.plugin import AiohttpClient

from gateway.http.public import EVENTS
from gateway.http.shards import location
from gateway.readiness import Readiness
from tests.http.raw_client import RawClient, connected
from tests.http.served import SHARD, Served, serving
from tests.http.test_origins import ALLOWED, APP, cors, headers_of
from tests.tokens import bearer, mint

HERE = f"{EVENTS}?shard={SHARD}"
ELSEWHERE = ["", "?", "?shard=", "?shard=7", "?shard=00", "?shard=-1", "?shard=7&shard=0",
             "?SHARD=0", "?shard=0%20", "?shard=%EF%BC%90", "?shard=//evil.test"]  # fmt: skip


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(sharding="redirect", token_query=True, cors_origins=(APP,)) as it:
        yield it


async def ask(client: RawClient, target: str) -> dict[str, str]:
    """Return the headers of a redirect."""
    await client.request(target, token=mint("alice"), headers={"Origin": APP})
    answer = await client.response()
    assert answer.startswith(b"HTTP/1.1 307 ")
    return headers_of(answer)


@pytest.mark.parametrize("query", ELSEWHERE)
async def test_a_request_without_its_shard_is_sent_to_the_same_url_with_it_and_then_served(
    served: Served, client: RawClient, query: str
) -> None:
    headers = await ask(client, EVENTS + query)
    url = urlsplit(urljoin(f"http://gateway.test{EVENTS}{query}", headers["Location"]))
    assert (url.netloc, url.path) == ("gateway.test", EVENTS)
    assert served.asking == 0
    assert b"gateway_redirects_total 1.0" in served.metrics.text()
    await served.open(client, f"{url.path}?{url.query}")
    assert b"gateway_redirects_total 1.0" in served.metrics.text()


@pytest.mark.parametrize("query", ["?shard=0", "?shard=0&shard=7", "?categories=ai&shard=0"])
async def test_who_brings_the_right_shard_is_served(
    served: Served, client: RawClient, query: str
) -> None:
    await served.open(client, EVENTS + query)


async def test_all_else_of_the_query_stays_as_it_is(client: RawClient) -> None:
    query = "categories=ai%2Cimport&since=2026-01-31T12:00:00%2B01:00&access_token=a.b-c&x=%zz&&=&"
    there = await ask(client, f"{EVENTS}?{query}&shard=4&sh%61rd=5")
    kept = query.replace("&&", "&").rstrip("&")
    assert there["Location"] == f"events?shard=0&{kept}"


async def test_redirect_keeps_the_query_token_and_forbids_caching(client: RawClient) -> None:
    token = mint("alice")
    await client.request(f"{EVENTS}?access_token={token}")
    answer = await client.response()
    assert answer.startswith(b"HTTP/1.1 307 ")
    headers = headers_of(answer)
    assert headers["Location"] == f"events?shard=0&access_token={token}"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert token.encode() not in answer.partition(b"\r\n\r\n")[2]


async def test_a_page_that_is_allowed_may_follow(client: RawClient) -> None:
    headers = await ask(client, EVENTS)
    assert cors(headers) == ALLOWED
    assert headers["Vary"] == "Origin"


async def test_a_browser_that_asks_first_is_answered_at_any_shard(client: RawClient) -> None:
    asking = {"Origin": APP, "Access-Control-Request-Method": "GET"}
    for target in (EVENTS, HERE, f"{EVENTS}?shard=7"):
        await client.request(target, method="OPTIONS", headers=asking)
        assert (await client.head()).startswith(b"HTTP/1.1 204 ")


@pytest.mark.parametrize(
    ("token", "query", "status"),
    [
        (None, "", 401),
        ("x.y.z", "?shard=7", 401),
        (mint("alice", lifetime=1e6), "?categories=weather", 400),
    ],
)
async def test_rejected_client_is_answered_without_redirect(
    served: Served, client: RawClient, token: str | None, query: str, status: int
) -> None:
    """The user decides the partition, and only a good token names the user."""
    await client.request(EVENTS + query, token=token)
    answer = await client.response()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == status
    assert "Location" not in headers_of(answer)


async def test_worker_that_was_never_ready_does_not_redirect(
    aiohttp_client: AiohttpClient,
) -> None:
    client = await aiohttp_client(Served(readiness=Readiness(), sharding="redirect").app)
    async with client.get(EVENTS, headers=bearer(mint("alice"))) as response:
        assert response.status == 503


async def test_without_sharding_any_shard_is_served() -> None:
    async with serving() as served, connected(served.port) as client:
        await served.open(client, f"{EVENTS}?shard=7")


async def test_characters_invalid_in_a_url_are_returned_encoded(client: RawClient) -> None:
    headers = await ask(client, f'{EVENTS}?x=<\\">')
    assert headers["Location"] == "events?shard=0&x=%3C%5C%22%3E"


@given(st.text(), st.integers(0, 10**6).map(str))
def test_a_reference_never_leaves_the_path_and_names_one_shard(query: str, shard: str) -> None:
    reference = location(f"{EVENTS}?{query}", shard)
    assert reference.isascii()
    assert reference.isprintable()
    url = urlsplit(urljoin(f"https://gateway.test{EVENTS}", reference))
    assert (url.scheme, url.netloc, url.path, url.fragment) == ("https", "gateway.test", EVENTS, "")
    fields = parse_qsl(url.query, keep_blank_values=True)
    assert fields[0] == ("shard", shard)
    assert "shard" not in [name for name, _ in fields[1:]]
    assert location(url.path + "?" + url.query, shard) == reference
