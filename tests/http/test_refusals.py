"""Scopes, metadata, and refusals that an `EventSource` survives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.core import event_id
from gateway.core.event_id import CursorEntry
from gateway.core.records import Event, LogKind, OffsetPosition
from gateway.core.registry import Registry
from gateway.errors import TokenFault
from gateway.readiness import Readiness
from tests.http.raw_client import connected
from tests.http.served import TOPIC, serving
from tests.http.test_admission import rejects
from tests.tokens import mint

EVENTS = "/api/v1/events"
ID = event_id.encode(
    [CursorEntry(LogKind.USER, TOPIC.tag, 0, OffsetPosition(1, 0, False))]
).decode()
BROWSER = {"Accept": "text/event-stream"}
SOME = {"ai.tool.executing", "import.failed", "import.other", "security.login.failed"}
"""Types of events; the registry does not have `import.other`."""
SCOPED: dict[str, Any] = {"jwt_scope_claim": "scope"}


@pytest.mark.parametrize(
    ("scope", "query", "types"),
    [
        ("events:ai events:import openid", "", {"ai.tool.executing", "import.failed"}),
        ("events:ai events:import", "?categories=ai", {"ai.tool.executing"}),
        ("events:ai", "?categories=import,ai", {"ai.tool.executing"}),
        (["events:ai", 7], "", {"ai.tool.executing"}),
        ("events:*", "", SOME),
        ("events:*", "?categories=ai", {"ai.tool.executing"}),
        ("events:type:*", "", SOME),
        ("events:type:import.*", "", {"import.failed", "import.other"}),
        ("events:type:import.failed", "", {"import.failed"}),
        ("events:type:import.failed", "?categories=import", {"import.failed"}),
        ("events:type:import.*", "?types=import.failed,ai.*", {"import.failed"}),
        ("events:type:import.*", "?types=import.*", {"import.failed", "import.other"}),
        ("events:import", "?types=import.failed", {"import.failed"}),
        ("events:import", "?types=import.*,ai.*", {"import.failed"}),
        ("events:ai events:type:import.failed", "", {"ai.tool.executing", "import.failed"}),
        ("events:ai events:type:import.failed", "?categories=import", {"import.failed"}),
        ("events:ai events:type:im*port", "", {"ai.tool.executing"}),
        ("events:type:import.other", "?categories=ai", set()),
    ],
)
async def test_scopes_limit_what_a_stream_reads_and_the_query_narrows_it(
    scope: object, query: str, types: set[str]
) -> None:
    async with serving(**SCOPED) as served, connected(served.port) as client:
        await client.request(EVENTS + query, token=mint("alice", scope=scope))
        assert (await client.head()).startswith(b"HTTP/1.1 200 ")
        (opening,) = served.hub.openings
        registry = Registry.built_in()
        events = [Event(name, registry.category_of(name), b"") for name in SOME]
        chosen = opening.filter
        assert {it.event_type for it in events if chosen is None or chosen.accepts(it)} == types


@pytest.mark.parametrize(
    ("scope", "query", "missing"),
    [
        ("events:ai", "?categories=import,data_sync", "events:data_sync events:import"),
        ("openid", "?categories=ai", "events:ai"),
        ("openid", "?categories=ai&types=ai.*", "events:ai events:type:ai.*"),
        ("events:ai", "?types=import.failed", "events:type:import.failed"),
        ("events:ai", "?types=import.*", "events:type:import.*"),
        ("events:ai", "?categories=ai&types=import.*", "events:type:import.*"),
        ("events:type:import.*", "?categories=ai", "events:ai"),
        ("events:type:import.failed", "?types=import.started", "events:type:import.started"),
        ("events:type:import.failed", "?types=%22.%C3%A4,ai.x", "events:type:ai.x"),
        ("events:unknown", "", None),
        ("events:type:im*port", "", None),
        ("openid", "", None),
        (None, "", None),
    ],
)
async def test_missing_scope_is_named(scope: object, query: str, missing: str | None) -> None:
    async with serving(**SCOPED) as served, connected(served.port) as client:
        await client.request(EVENTS + query, token=mint("alice", scope=scope))
        head = (await client.response()).decode()
        assert head.startswith("HTTP/1.1 403 ")
        expected = " ".join(f"events:{name}" for name in sorted(Registry.built_in().categories))
        assert (
            f'error="insufficient_scope", scope="{expected if missing is None else missing}"'
            in head
        )
        assert rejects(served) == {"insufficient_scope": 1}
        assert served.hub.openings == []


async def test_reason_of_a_401_is_counted_but_not_sent() -> None:
    bodies = set()
    async with serving(jwt_issuer="https://id.test", jwt_audience="gateway") as served:
        for claims in (
            {"iss": "https://other.test"},
            {"iss": "https://id.test"},
            {"iss": "https://id.test", "aud": "gateway", "exp": 1},
            {"iss": "https://id.test", "aud": "gateway", "sub": None},
        ):
            async with connected(served.port) as client:
                await client.request(EVENTS, token=mint("alice", **claims))
                head, _, body = (await client.response()).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 401 ")
                assert b'WWW-Authenticate: Bearer realm="gateway", error="invalid_token"\r' in head
                bodies.add(json.loads(body)["detail"])
        text = served.metrics.text().decode()
    assert len(bodies) == 1
    for fault in (
        TokenFault.ISSUER,
        TokenFault.AUDIENCE,
        TokenFault.EXPIRED,
        TokenFault.CLAIM_MISSING,
    ):
        assert f'gateway_token_refusals_total{{reason="{fault}"}} 1.0' in text


async def soft(served: Any, headers: dict[str, str]) -> str:
    async with connected(served.port) as client:
        await client.request(EVENTS, token=mint("alice"), headers=headers)
        return (await client.response()).decode()


async def test_an_event_source_is_refused_by_a_stream_where_that_is_set() -> None:
    async with (
        serving(max_streams_per_user=1, refuse_by_stream=True) as served,
        connected(served.port) as first,
    ):
        await served.open(first)
        answer = await soft(served, {**BROWSER, "Last-Event-ID": ID})
        head, _, body = answer.partition("\r\n\r\n")
        assert head.startswith("HTTP/1.1 200 ")
        assert "Content-Type: text/event-stream" in head
        lines = body.splitlines()
        assert 5000 <= int(lines[0].removeprefix("retry: ")) <= 15000
        assert lines[1:] == [
            f"id: {ID}",
            "event: stream.close",
            'data: {"reason":"user_streams"}',
            "",
        ]
        assert rejects(served) == {"user_streams": 1}
        assert (await soft(served, {"Accept": "*/*"})).startswith("HTTP/1.1 429 ")
        assert "id:" not in (await soft(served, BROWSER)).partition("\r\n\r\n")[2]


async def test_a_worker_that_was_never_ready_may_answer_by_a_stream() -> None:
    async with serving(readiness=Readiness(), refuse_by_stream=True) as served:
        answer = await soft(served, BROWSER)
        assert answer.startswith("HTTP/1.1 200 ")
        assert answer.endswith(
            'retry: 3000\nevent: stream.close\ndata: {"reason":"service_unavailable"}\n\n'
        )


async def test_by_default_an_event_source_gets_the_status() -> None:
    async with serving(readiness=Readiness()) as served:
        assert (await soft(served, BROWSER)).startswith("HTTP/1.1 503 ")


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        ("https://events.test", "/.well-known/oauth-protected-resource"),
        ("https://events.test/push/", "/.well-known/oauth-protected-resource/push"),
    ],
)
async def test_metadata_is_at_the_path_of_the_rfc(resource: str, path: str) -> None:
    settings: dict[str, Any] = {**SCOPED, "resource_url": resource, "jwt_issuer": "https://id.test"}
    async with serving(**settings) as served, connected(served.port) as client:
        await client.request(path)
        head, _, body = (await client.response()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        metadata = json.loads(body)
        assert metadata["resource"] == resource
        assert metadata["authorization_servers"] == ["https://id.test"]
        assert metadata["bearer_methods_supported"] == ["header"]
        await client.request(EVENTS)
        assert f'resource_metadata="https://events.test{path}"'.encode() in await client.response()
        await client.request("/.well-known/oauth-protected-resource/other")
        assert (await client.response()).startswith(b"HTTP/1.1 404 ")
