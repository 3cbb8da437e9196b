"""Tokens of a real OpenID provider: discovery, several issuers, scopes, reasons of refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.child import free_port
from tests.conftest import MakeTopics, StartWorker
from tests.eventually import DEADLINE
from tests.identity.provider import Provider
from tests.integration.conftest import SetUp
from tests.integration.problems import expect_problem
from tests.programs import require
from tests.tokens import bearer
from tests.worker import Worker

CLAIMS: dict[str, dict[str, Any]] = {
    "customers": {
        "aud": ["gateway"],
        "customer_id": 42,
        "realm_access": {"roles": ["events:portfolio", "unrelated"]},
    },
    "staff": {"aud": ["gateway"], "scp": ["events:ai"]},
    "strangers": {"aud": ["gateway"]},
    "misfits": {"aud": ["account"]},
}


@pytest_asyncio.fixture
async def provider(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    require("java", "mvn")
    async with Provider(tmp_path, CLAIMS) as it:
        yield it


def issuers(provider: Provider, *more: dict[str, Any]) -> str:
    return json.dumps(
        [
            {
                "issuer": provider.issuer("customers"),
                "audience": "gateway",
                "user": "customer:{customer_id}",
                "scope_claim": "realm_access.roles",
            },
            {
                "issuer": provider.issuer("staff"),
                "audience": ["gateway", "other"],
                "user": "staff:{sub}",
                "scope_claim": "scp",
            },
            {"issuer": provider.issuer("misfits"), "audience": "gateway", "user": "misfit:{sub}"},
            *more,
        ]
    )


async def test_two_issuers_with_the_same_sub_never_meet(
    set_up: SetUp, provider: Provider, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    away = {
        "issuer": f"http://127.0.0.1:{free_port()}/away",
        "audience": "gateway",
        "user": "away:{sub}",
    }
    stage = await set_up(oidc_issuers=issuers(provider, away))
    tokens = {name: await provider.token(name, "alice") for name in CLAIMS}
    customer = await stage.open("customer:42", token=tokens["customers"])
    staff = await stage.open("staff:alice", token=tokens["staff"])
    for user in ("alice", "42", "staff:42", "customer:alice", "customer:42", "staff:alice"):
        await stage.write.event(user, "ai.response.chunk", b'"ai"')
        await stage.write.event(user, "portfolio.balance.updated", json.dumps(user).encode())
    await customer.wait_for(1)
    await staff.wait_for(1)
    assert customer.data == ['"customer:42"']  # and nothing of the category ai
    assert staff.data == ['"ai"']

    url = stage.worker.events_url
    async with http.get(url, headers=bearer(tokens["strangers"])) as response:
        silent = await expect_problem(response, 401)
    async with http.get(url, headers=bearer(tokens["misfits"])) as response:
        other = await expect_problem(response, 401)
    assert silent["detail"] == other["detail"]
    wanted = bearer(tokens["staff"])
    async with http.get(f"{url}?categories=portfolio", headers=wanted) as response:
        await expect_problem(response, 403)
        challenge = response.headers["WWW-Authenticate"]
    assert 'error="insufficient_scope", scope="events:portfolio"' in challenge
    name = "gateway_token_refusals_total"
    await stage.worker.wait_for_metric(name, 1, reason="issuer")
    await stage.worker.wait_for_metric(name, 1, reason="audience")
    await stage.worker.wait_for_log('"token": "audience"')
    await stage.worker.wait_for_log(away["issuer"])
    await stage.worker.wait_for_metric("gateway_keys_fresh", 0)
    explains_what_a_token_lacks(provider, tokens, tmp_path)


def explains_what_a_token_lacks(provider: Provider, tokens: dict[str, str], folder: Path) -> None:
    file = folder / "token"
    for name, code, said in (
        ("customers", 0, "accepted: user 'customer:42'"),
        ("misfits", 1, "not accepted: audience: aud is 'account'; wanted: 'gateway'"),
        ("strangers", 1, "not accepted: issuer: iss is"),
    ):
        file.write_text(f"Bearer {tokens[name]}\n")
        ran = subprocess.run(
            [sys.executable, "-m", "gateway", "token", "--explain", str(file)],
            env={"GATEWAY_OIDC_ISSUERS": issuers(provider)},
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE,
        )
        assert (ran.returncode, ran.stdout.startswith(said)) == (code, True), (
            ran.stdout + ran.stderr
        )
        assert ran.stderr == ""


async def test_the_metadata_of_the_resource_is_published(
    provider: Provider, topics: MakeTopics, start_worker: StartWorker, http: aiohttp.ClientSession
) -> None:
    worker: Worker = await start_worker(
        await topics(),
        oidc_issuers=issuers(provider),
        resource_url="https://events.example.com",
    )
    path = "/.well-known/oauth-protected-resource"
    async with http.get(f"{worker.url}{path}") as response:
        metadata = await response.json()
    assert metadata["resource"] == "https://events.example.com"
    assert metadata["authorization_servers"][0] == provider.issuer("customers")
    assert "events:portfolio" in metadata["scopes_supported"]
    async with http.get(worker.events_url) as response:
        await expect_problem(response, 401)
        challenge = response.headers["WWW-Authenticate"]
    assert f'resource_metadata="https://events.example.com{path}"' in challenge
