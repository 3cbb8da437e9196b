"""Tokens for the login at Kafka: where they come from, and when they are renewed."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from aiokafka.errors import SaslAuthenticationFailed

from gateway.config import Settings, load_settings
from gateway.errors import SettingsError
from gateway.kafka.client.login import BearerAuthenticator, token_provider
from gateway.kafka.client.shared_token import (
    RETRY_SECONDS,
    Token,
    TokenProvider,
    TokenUnavailable,
)
from tests.eventually import eventually


class Endpoint:
    """A token endpoint on loopback that keeps its requests."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, dict[str, list[str]]]] = []
        self.status = 200
        self.answer: object = {"access_token": "t1", "expires_in": 100}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer.asked.append((self.headers.get("Authorization"), parse_qs(body)))
                data = json.dumps(outer.answer).encode()
                self.send_response(outer.status)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/token"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.end()


def settings(**values: object) -> Settings:
    prefix = "kafka_sasl_oauthbearer_"
    own = {f"{prefix}{name}": value for name, value in values.items()}
    login = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "OAUTHBEARER"}
    return load_settings(None, **login, **own)


async def token_of(made: Settings) -> str:
    provider = token_provider(made)
    assert provider is not None
    return await provider.token()


async def test_client_credentials_are_sent_as_in_rfc_6749(endpoint: Endpoint) -> None:
    made = settings(
        token_endpoint_url=endpoint.url,
        client_id="a:b",
        client_secret="s ü",
        scope="kafka.read kafka.write",
        extensions="logicalCluster=lkc-1,identityPoolId=pool-2",
    )
    provider = token_provider(made)
    assert provider is not None
    assert await provider.token() == "t1"
    assert provider.extensions() == {"logicalCluster": "lkc-1", "identityPoolId": "pool-2"}
    [(authorization, form)] = endpoint.asked
    assert authorization is not None
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"a%3Ab:s%20%C3%BC"
    assert form == {"grant_type": ["client_credentials"], "scope": ["kafka.read kafka.write"]}


async def test_secret_and_assertion_are_read_again_for_each_token(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    file = tmp_path / "assertion"
    made = settings(token_endpoint_url=endpoint.url, assertion_file=file)
    for text in ("one", "two"):
        file.write_text(f"{text}\n")
        await token_of(made)
    assert [form["assertion"] for _, form in endpoint.asked] == [["one"], ["two"]]
    assert endpoint.asked[0][1]["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    assert endpoint.asked[0][0] is None

    secret = tmp_path / "secret"
    secret.write_text("first\n")
    made = settings(token_endpoint_url=endpoint.url, client_id="a", client_secret_file=secret)
    secret.write_text("second\n")
    await token_of(made)
    assert base64.b64decode((endpoint.asked[-1][0] or "")[6:]) == b"a:second"


@pytest.mark.parametrize(
    ("status", "answer", "found", "setting"),
    [
        (401, {"error": "invalid_client"}, "answers 401 (invalid_client)", "CLIENT_SECRET"),
        (400, {"error": "invalid_scope"}, "answers 400 (invalid_scope)", "SCOPE"),
        (500, "x", "answers 500", "TOKEN_ENDPOINT_URL"),
        (302, {}, "answers 302", "TOKEN_ENDPOINT_URL"),
        (200, "x", "is not a JSON object", "TOKEN_ENDPOINT_URL"),
        (200, {"id_token": "x"}, "has no access_token", "TOKEN_ENDPOINT_URL"),
        (200, {"access_token": "a\x01b"}, "has no access_token", "TOKEN_ENDPOINT_URL"),
        (200, {"access_token": "a.eyJleHAiOjF9.b"}, "an expired token", "TOKEN_ENDPOINT_URL"),
    ],
)
async def test_refusal_of_the_endpoint_names_the_setting(
    endpoint: Endpoint, status: int, answer: object, found: str, setting: str
) -> None:
    endpoint.status, endpoint.answer = status, answer
    made = settings(token_endpoint_url=endpoint.url, client_id="a", client_secret="hunter2")
    with pytest.raises(TokenUnavailable) as refused:
        await token_of(made)
    assert found in refused.value.found
    assert f"GATEWAY_KAFKA_SASL_OAUTHBEARER_{setting}" in refused.value.advice
    assert "hunter2" not in str(refused.value)


async def test_token_file_is_read_again_and_an_expired_or_missing_one_is_reported(
    tmp_path: Path,
) -> None:
    file = tmp_path / "token"
    made = settings(token_file=file)
    with pytest.raises(TokenUnavailable, match="cannot be read"):
        await token_of(made)
    file.write_text("opaque\n")
    assert await token_of(made) == "opaque"
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() - 1}).encode()).decode()
    file.write_text(f"a.{claims}.b")
    with pytest.raises(TokenUnavailable, match="has expired"):
        await token_of(made)


async def test_token_is_renewed_in_the_background_and_a_failure_leaves_the_old_one() -> None:
    now, tokens, fetched = 0.0, iter([Token("one", 100), Token("two", 100)]), 0

    def fetch() -> Token:
        nonlocal fetched
        fetched += 1
        token = next(tokens, None)
        if token is None:
            raise TokenUnavailable("away", "start it")
        return token

    provider = TokenProvider(fetch, monotonic=lambda: now)
    assert await asyncio.gather(*[provider.token() for _ in range(3)]) == ["one"] * 3
    assert fetched == 1, "connections share the token"
    now = 79.0
    assert (await provider.token(), fetched) == ("one", 1)
    now = 81.0
    assert await provider.token() == "one", "at once, while the next one is fetched"
    await eventually("the token is renewed", lambda: _gives(provider, "two"))
    assert fetched == 2

    now = 165.0
    assert await provider.token() == "two"
    await eventually("the endpoint is asked", lambda: _is(fetched == 3))
    await eventually("it has failed", lambda: provider._failure is not None)  # noqa: SLF001
    now += RETRY_SECONDS / 2
    assert (await provider.token(), fetched) == ("two", 3), "not asked again so soon"
    now = 200.0
    with pytest.raises(TokenUnavailable, match="away"):
        await provider.token()
    assert fetched == 4


async def test_lifetimes_of_a_moment_and_of_forever() -> None:
    now, fetched = 0.0, 0

    def endless() -> Token:
        nonlocal fetched
        fetched += 1
        return Token(str(fetched), float("inf"))

    short = TokenProvider(lambda: Token("short", 1e-9))
    assert [await short.token() for _ in range(3)] == ["short"] * 3
    provider = TokenProvider(endless, monotonic=lambda: now)
    assert await provider.token() == "1"
    now = 86_400.0
    assert await provider.token() == "2"


@pytest.mark.parametrize("exp", ["1" + "0" * 400, "null", '"x"', "[]", "{}"])
async def test_expiry_that_is_not_a_time_counts_as_unknown(endpoint: Endpoint, exp: str) -> None:
    claims = base64.urlsafe_b64encode(f'{{"exp":{exp}}}'.encode()).decode()
    endpoint.answer = {"access_token": f"a.{claims}.b"}
    made = settings(token_endpoint_url=endpoint.url, client_id="a", client_secret="hunter2")
    assert await token_of(made) == f"a.{claims}.b"


async def _gives(provider: TokenProvider, token: str) -> bool:
    return await provider.token() == token


async def _is(fact: bool) -> bool:
    return fact


async def test_broker_that_refuses_a_token_fails_the_login() -> None:
    authenticator = BearerAuthenticator(
        sasl_oauth_token_provider=TokenProvider(lambda: Token("t", 9), {"a": "b"})
    )
    assert await authenticator.step(None) == (b"n,,\x01auth=Bearer t\x01a=b\x01\x01", True)
    with pytest.raises(SaslAuthenticationFailed, match="invalid_token"):
        await authenticator.step(b'{"status":"invalid_token"}')


def test_login_lacks_a_setting_or_has_one_too_many() -> None:
    url = "https://id.example.com/token"
    for values, word in [
        ({}, "needs one of"),
        ({"token_file": "/t", "token_endpoint_url": url}, "needs one of"),
        ({"token_endpoint_url": url}, "needs either"),
        ({"token_endpoint_url": url, "client_id": "a"}, "needs either"),
        ({"token_endpoint_url": url, "client_id": "a", "assertion_file": "/a"}, "needs either"),
        ({"token_file": "/t", "extensions": "a b=c"}, "not a SASL extension"),
        ({"token_file": "/t", "extensions": "auth=c"}, "not a SASL extension"),
    ]:
        with pytest.raises(SettingsError, match=word) as refused:
            settings(**values)
        assert len(str(refused.value).splitlines()) == 1
    for mechanism, word in [("AWS_MSK_IAM", "GATEWAY_KAFKA_AWS_REGION")]:
        with pytest.raises(SettingsError, match=word):
            load_settings(None, kafka_security_protocol="SASL_SSL", kafka_sasl_mechanism=mechanism)
    with pytest.raises(SettingsError, match="SASL_SSL"):
        load_settings(None, kafka_sasl_mechanism="GSSAPI")
