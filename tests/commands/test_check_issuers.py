"""The rows of `gateway check` about OpenID issuers: one for each, with cause and remedy."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import pytest
from aiohttp import web

from tests.child import free_port
from tests.commands.command import gateway
from tests.issuer import SigningKey, key_set

Answer: TypeAlias = "tuple[int, Mapping[str, object] | bytes]"


@asynccontextmanager
async def site(answers: Mapping[str, Answer]) -> AsyncIterator[str]:
    """Serve each path's answer on loopback; `URL` in it is the address, which is returned."""
    url = ""

    async def show(request: web.Request) -> web.Response:
        status, body = answers[request.path]
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(status=status, body=text.replace(b"URL", url.encode()))

    app = web.Application()
    for path in answers:
        app.router.add_get(path, show)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield url
    finally:
        await runner.cleanup()


def discovery(name: str, **members: object) -> Answer:
    return 200, {"issuer": f"URL/{name}", "jwks_uri": f"URL/{name}/keys", **members}


def settings_of(*issuers: str, **others: str) -> dict[str, str]:
    """Return the settings of `gateway check` with these issuers, and no Kafka."""
    entries = [
        {"issuer": issuer, "audience": "gateway", "user": f"{number}:{{sub}}"}
        for number, issuer in enumerate(issuers)
    ]
    kafka = f"127.0.0.1:{free_port()}"
    return {"oidc_issuers": json.dumps(entries), "kafka_bootstrap": kafka, **others}


def rows(table: str, label: str) -> list[tuple[str, str]]:
    """Return the rows of a label, each with the remedy below it."""
    found: list[tuple[str, str]] = []
    current = ""
    for line in table.splitlines():
        if not line.startswith(" "):
            current = line.split()[0]
            if current == label:
                found.append((line, ""))
        elif current == label:
            found[-1] = (found[-1][0], line.strip())
    return found


async def test_each_issuer_has_a_row_with_cause_and_remedy() -> None:
    where = "/.well-known/openid-configuration"
    key = key_set(SigningKey("RS256", "k1"))
    answers = {
        f"/good{where}": discovery("good"),
        "/good/keys": (200, key),
        f"/renamed{where}": discovery("other"),
        f"/absent{where}": (404, {}),
        f"/page{where}": (200, b"<html>"),
        f"/moved{where}": (302, {}),
        f"/empty{where}": discovery("empty"),
        "/empty/keys": (200, key_set()),
        f"/open{where}": discovery("open", jwks_uri="http://keys.example.com/keys"),
    }
    away = f"http://127.0.0.1:{free_port()}/away"
    async with site(answers) as url:
        names = ("good", "renamed", "absent", "page", "moved", "empty", "open")
        issuers = [*(f"{url}/{name}" for name in names), away]
        finished = await gateway("check", settings=settings_of(*issuers))
    assert finished.code == 1
    expected = [
        ("RS256 from {}; kid k1", ""),
        (f"names the issuer '{url}/other'", "write that one exactly"),
        ("answers 404", "set the URL that the provider states"),
        ("is not a discovery document", "set jwks_url"),
        ("redirects (302)", "set the URL that it redirects to"),
        ("lacks a key for RS256, ES256, EdDSA", "set the accepted algorithms"),
        ("jwks_uri 'http://keys.example.com/keys' is not https", "GATEWAY_OIDC_HTTP_HOSTS"),
        ("Connection refused", "start the provider, or set its URL"),
    ]
    found = rows(finished.out, "key")
    assert len(found) == len(issuers), finished.out
    for issuer, row, (cause, remedy) in zip(issuers, found, expected, strict=True):
        text = " ".join(row)
        assert text.split()[1] == ("ok" if issuer.endswith("/good") else "failed"), text
        assert issuer in text
        assert cause.format(f"{issuer}{where}") in text
        assert remedy in text


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        (
            [{"issuer": "http://id.example.com", "audience": "a"}],
            "http:// is for loopback and for the hosts of GATEWAY_OIDC_HTTP_HOSTS",
        ),
        (
            [
                {"issuer": "https://a.example.com", "audience": "a"},
                {"issuer": "https://b.example.com", "audience": "a", "user": "b:{sub}"},
            ],
            "could be the same; give each its own prefix, such as a:{sub} and b:{sub}",
        ),
        (
            [{"issuer": "https://a.example.com", "audience": "a", "user": "x"}],
            "user",
        ),
    ],
)
async def test_issuers_that_are_not_allowed_fail_as_settings(
    entries: list[dict[str, str]], text: str
) -> None:
    finished = await gateway("check", settings={"oidc_issuers": json.dumps(entries)})
    assert finished.code == 1
    [(row, _)] = rows(finished.out, "settings")
    assert "failed" in row
    assert "GATEWAY_OIDC_ISSUERS" in row
    assert text in row


async def test_named_host_may_be_reached_by_http() -> None:
    """The row of the issuer says that the host is away, and not that `http` is refused."""
    issuer = "http://keycloak.invalid:8080/realms/shop"
    settings = settings_of(issuer, oidc_http_hosts="keycloak.invalid")
    finished = await gateway("check", settings=settings)
    [(row, remedy)] = rows(finished.out, "key")
    assert "cannot connect to keycloak.invalid:8080: " in row
    assert "start the provider, or set its URL" in remedy
