from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from tests.child import free_port
from tests.commands.command import gateway, settings_of
from tests.http.certificates import Files
from tests.issuer import SigningKey, published
from tests.tokens import SECRET

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Broker, MakeTopics


def statuses(table: str) -> dict[str, str]:
    """Return the status of each row; columns are two blanks or more apart."""
    rows = [row.split("  ") for row in table.splitlines()[1:]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    return {row[0]: row[1] for row in cells}


async def test_where_everything_fits_nothing_fails(broker: Broker, topics: MakeTopics) -> None:
    made = await topics(revocations=1)
    settings = {**settings_of(broker, made), "jwt_secret": SECRET, "max_streams": "10"}
    lines = [f'{{"user_id": "user-{n}", "event_type": "import.started"}}' for n in range(30)]
    assert (await gateway("publish", stdin="\n".join(lines).encode(), settings=settings)).code == 0
    finished = await gateway("check", settings=settings)
    assert finished.code == 0, finished
    assert finished.err == ""
    retention = "ok" if broker.kind == "kafka" else "warning"
    assert statuses(finished.out) == {
        "settings": "ok",
        "key": "ok",
        "registry": "ok",
        "Kafka": "ok",
        f"topic {made.user}": "ok",
        f"topic {made.broadcast}": "ok",
        f"topic {made.revocations}": "ok",
        f"retention of {made.user}": retention,
        f"retention of {made.broadcast}": retention,
        f"compaction of {made.revocations}": retention,
        "partitioner": "ok",
        "clocks": "ok",
        "open files": "ok",
    }
    [partitioner] = [row for row in finished.out.splitlines() if row.startswith("partitioner")]
    assert "murmur2 fits all of 30 recent keys" in partitioner


async def test_a_missing_topic_fails_with_the_command_that_creates_it(broker: Broker) -> None:
    settings = {"kafka_bootstrap": broker.bootstrap, "topic": "no-such", "jwt_secret": SECRET}
    finished = await gateway("check", settings=settings)
    assert finished.code == 1
    assert statuses(finished.out)["topic no-such"] == "failed"
    assert "--create --topic no-such --partitions 12" in finished.out


@pytest.mark.parametrize(
    ("settings", "failed", "text"),
    [
        ({"jwt_secret": SECRET}, "Kafka", "GATEWAY_KAFKA_BOOTSTRAP"),
        ({}, "key", "GATEWAY_JWT_SECRET"),
        ({"jwt_secret": "short"}, "settings", "it needs 32 or more"),
        ({"registry": "/no/such"}, "registry", "/no/such cannot be read"),
        (
            {"kafka_security_protocol": "SSL", "kafka_ssl_cafile": "/no/such"},
            "Kafka",
            "GATEWAY_KAFKA_SSL_CAFILE",
        ),
    ],
)
async def test_what_fails_is_said_with_what_to_do(
    settings: dict[str, str], failed: str, text: str
) -> None:
    away = {"kafka_bootstrap": f"127.0.0.1:{free_port()}"}
    finished = await gateway("check", settings={**away, **settings})
    assert finished.code == 1
    assert finished.err == ""
    assert statuses(finished.out)[failed] == "failed"
    assert text in finished.out


async def test_published_keys_are_fetched_over_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certfile, files.keyfile)
    async with published(
        SigningKey("RS256", "first"), SigningKey("ES256", "second"), context=context
    ) as provider:
        settings = {
            "kafka_bootstrap": f"127.0.0.1:{free_port()}",
            "jwt_jwks_url": provider.url,
        }
        finished = await gateway("check", settings=settings)
        assert statuses(finished.out)["key"] == "failed"
        assert "certificate verify failed" in finished.out
        monkeypatch.setenv("SSL_CERT_FILE", str(files.certfile))
        finished = await gateway("check", settings=settings)
    assert statuses(finished.out)["key"] == "ok", finished
    assert f"ES256, RS256 from {provider.url}; kid first, second" in finished.out


async def test_a_url_without_keys_fails_with_its_setting() -> None:
    away = f"127.0.0.1:{free_port()}"
    settings = {"kafka_bootstrap": away, "jwt_jwks_url": f"http://{away}/keys"}
    finished = await gateway("check", settings=settings)
    assert statuses(finished.out)["key"] == "failed"
    assert "GATEWAY_JWT_JWKS_URL: Cannot connect" in finished.out
