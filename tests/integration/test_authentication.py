"""Authentication: accepted tokens, responses to invalid ones, and token expiry."""

from __future__ import annotations

import base64
import json
import time

import aiohttp
import jwt
import pytest

from tests.http.raw_client import connected
from tests.integration.conftest import OpenStream, SetUp, open_expiring
from tests.integration.problems import expect_problem
from tests.tokens import SECRET, bearer, mint
from tests.worker import Worker


def unsigned(user: str) -> str:
    """Return a token with the algorithm `none`."""
    parts = [{"alg": "none", "typ": "JWT"}, {"sub": user, "exp": time.time() + 3600}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join([*encoded, b""]).decode()


REFUSED = {
    "no header": {},
    "no token": {"Authorization": "Bearer "},
    "another scheme": {"Authorization": "Basic dTpw"},
    "no token at all": {"Authorization": "Bearer nonsense"},
    "expired": bearer(mint("u", lifetime=-1)),
    "signed with another secret": bearer(mint("u", secret="another secret of 32 bytes or more")),
    "unsigned": bearer(unsigned("u")),
    "another algorithm": bearer(
        jwt.encode({"sub": "u", "exp": time.time() + 3600}, SECRET * 2, algorithm="HS512")
    ),
    "without exp": bearer(mint("u", exp=None)),
    "not valid yet": bearer(mint("u", nbf=time.time() + 1e6, lifetime=2e6)),
    "without a user": bearer(mint("u", sub=None)),
    "with an empty user": bearer(mint("")),
}


@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED.keys())
async def test_a_request_without_a_good_token_is_refused(
    worker: Worker, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    async with http.get(worker.events_url, headers=headers) as response:
        await expect_problem(response, 401)
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_refusal_does_not_say_which_check_failed(
    worker: Worker, http: aiohttp.ClientSession
) -> None:
    texts = set()
    for case in ("expired", "signed with another secret", "with an empty user"):
        async with http.get(worker.events_url, headers=REFUSED[case]) as response:
            text = await response.text()
            texts.add(text.replace(response.headers["X-Request-Id"], "the id"))
    assert len(texts) == 1


@pytest.mark.parametrize("place", ["query", "cookie"])
async def test_tokens_in_query_and_cookie_are_off_unless_switched_on(
    worker: Worker, user: str, http: aiohttp.ClientSession, place: str
) -> None:
    token = mint(user)
    options = (
        {"params": {"access_token": token}} if place == "query" else {"cookies": {"token": token}}
    )
    async with http.get(worker.events_url, **options) as response:  # type: ignore[arg-type]
        await expect_problem(response, 401)


async def test_browsers_can_send_the_token_as_cookie_or_query_and_it_is_never_logged(
    set_up: SetUp, user: str, http: aiohttp.ClientSession
) -> None:
    stage = await set_up(token_cookie="token", token_query="true", log_level="debug")
    token = mint(user)

    async with http.get(stage.worker.events_url, params={"access_token": token}) as response:
        assert response.status == 200
        assert "no-store" in response.headers["Cache-Control"]
    async with http.get(stage.worker.events_url, headers={"Cookie": f"token={token}"}) as response:
        assert response.status == 200

    told = ""
    for method, path, status in (
        ("GET", f"/api/v1/events?access_token={token}x", 401),
        ("GET", f"/api/v1/events?categories=weather&access_token={token}", 400),
        ("GET", f"/api/v1/events?since=yesterday&access_token={token}", 400),
        ("GET", f"/nothing?access_token={token}", 404),
        ("POST", f"/api/v1/events?access_token={token}", 405),
    ):
        async with http.request(method, f"{stage.worker.url}{path}") as response:
            await expect_problem(response, status)
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            told += await response.text()
    async with connected(
        stage.worker.port
    ) as client:  # no HTTP: aiohttp's answer quotes it, nothing else
        await client.send(f"GET /?access_token={token}\xff HTTP/1.1\r\n\r\n".encode("latin-1"))
        assert (await client.head()).startswith(b"HTTP/1.0 400 ")
    async with http.get(f"{stage.worker.ops_url}/metrics") as response:
        told += await response.text()
    stage.worker.end()
    told += stage.worker.log()
    assert "gateway_rejects_total" in told
    for part in token.split(".")[1:]:
        assert part not in told


async def test_issuer_audience_and_user_claim_can_be_required(
    set_up: SetUp, http: aiohttp.ClientSession
) -> None:
    stage = await set_up(jwt_issuer="https://id", jwt_audience="events", jwt_user_claim="uid")
    good = {"iss": "https://id", "aud": "events", "uid": "u"}
    for claims, status in (
        (good, 200),
        ({**good, "iss": "https://other"}, 401),
        ({**good, "aud": "other"}, 401),
        ({**good, "uid": None}, 401),
    ):
        headers = bearer(mint("somebody", **claims))
        async with http.get(stage.worker.events_url, headers=headers) as response:
            assert response.status == status, claims


async def test_stream_ends_when_its_token_expires_and_resumes_with_the_next_token(
    set_up: SetUp, open_stream: OpenStream, user: str
) -> None:
    stage = await set_up()
    stays = await stage.open(user)
    client, token = await open_expiring(open_stream, stage.worker, user)
    await stage.write.numbered(user, [0])

    await client.wait_for_end()

    claims = jwt.decode(token, options={"verify_signature": False})
    assert time.time() >= claims["exp"] - (claims["exp"] - claims["iat"]) / 10
    assert client.own("close") == ['{"reason":"token_expired"}']
    assert stays.is_open
    await stage.write.numbered(user, [1])
    await client.reconnect(token=mint(user))
    await client.wait_for(lambda client: len(client.data) == 2)
    await stage.write.numbered(user, [2])
    await client.wait_for(lambda client: len(client.data) == 3)
    assert client.numbers == [0, 1, 2]
    assert client.own("gap") == []


async def test_a_stream_ends_at_its_greatest_age_and_loses_nothing(
    set_up: SetUp, user: str
) -> None:
    stage = await set_up(max_stream_age_seconds=1)
    client = await stage.open(user)
    await stage.write.numbered(user, [0])

    await client.wait_for_end()

    assert client.own("close") == ['{"reason":"max_age"}']
    await stage.write.numbered(user, [1])
    while len(client.data) < 2:  # a busy machine may take a stream's whole life for its opening
        await client.reconnect()
        await client.wait_for(lambda client: len(client.data) == 2 or not client.is_open)
    assert client.numbers == [0, 1]
