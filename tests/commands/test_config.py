from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.config import Settings
from gateway.settings.secret_settings import SECRETS
from tests.commands.command import gateway
from tests.tokens import SECRET


async def test_value_and_origin_of_every_setting(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    file = tmp_path / "gateway.toml"
    file.write_text(f"topic = 'from-file'\nretry_ms = 5\njwt_secret_file = '{secret}'\n")
    settings = {"retry_ms": "7", "ops_token": "hunter2"}
    finished = await gateway("config", "--json", "--config", str(file), settings=settings)
    assert finished.code == 0, finished.err
    assert SECRET not in finished.out
    assert "hunter2" not in finished.out
    values = json.loads(finished.out)
    assert list(values) == [f"GATEWAY_{name.upper()}" for name in Settings.model_fields]
    assert values["GATEWAY_TOPIC"] == {"value": "from-file", "origin": str(file)}
    assert values["GATEWAY_RETRY_MS"] == {"value": 7, "origin": "environment"}
    assert values["GATEWAY_OPS_TOKEN"] == {"value": "(hidden)", "origin": "environment"}
    origin = "GATEWAY_JWT_SECRET_FILE"
    assert values["GATEWAY_JWT_SECRET"] == {"value": "(hidden)", "origin": origin}
    assert values[origin] == {"value": str(secret), "origin": str(file)}
    assert values["GATEWAY_HEARTBEAT_SECONDS"] == {"value": 30, "origin": "default"}


async def test_table_shows_subjects_and_no_secret() -> None:
    value = "a-secret-of-more-than-32-bytes-for-each"
    settings = {name: value for name in SECRETS if not name.startswith(("kafka", "schema"))}
    finished = await gateway("config", "--changed", settings={**settings, "topic": "mine"})
    assert finished.code == 0, finished.err
    assert value not in finished.out
    rows = [line.split() for line in finished.out.splitlines()]
    assert ["Topics"] in rows
    assert ["GATEWAY_TOPIC", "mine", "environment"] in rows
    assert ["GATEWAY_LOG_KEY", "(hidden)", "environment"] in rows
    assert not any("default" in row for row in rows)
    assert "docs/settings.md" in finished.err


async def test_table_shows_values_as_variables_have_them() -> None:
    issuers = '[{"issuer":"https://login.example.com","audience":["gateway"]}]'
    settings = {
        "create_topics": "yes",
        "drain_seconds": "7.0",
        "slow_seconds": "0.5",
        "trusted_proxies": "10.0.0.0/8,fd00::/8",
        "oidc_issuers": issuers,
    }
    finished = await gateway("config", "--changed", settings=settings)
    assert finished.code == 0, finished.err
    rows = dict(line.split()[:2] for line in finished.out.splitlines() if "GATEWAY_" in line)
    assert rows == {
        "GATEWAY_CREATE_TOPICS": "true",
        "GATEWAY_DRAIN_SECONDS": "7",
        "GATEWAY_SLOW_SECONDS": "0.5",
        "GATEWAY_TRUSTED_PROXIES": "10.0.0.0/8,fd00::/8",
        "GATEWAY_OIDC_ISSUERS": issuers,
    }
    as_json = await gateway("config", "--json", settings=settings)
    shown = json.loads(as_json.out)["GATEWAY_OIDC_ISSUERS"]["value"]
    assert shown == json.loads(issuers)


SOURCES = """
[[source]]
topic = "orders"
key = "customer:{user}"
type = "order.{header:kind}"
category = "orders"
data = "field:payload"
format = "avro"

[[source]]
topics = ["tickets"]
audience = "group"
groups = "teams"
partitions = 3

[[source]]
topic = "news"
audience = "all"
"""


@pytest.mark.parametrize("apart", [True, False], ids=["own file", "settings file"])
async def test_sources_in_force_are_shown(tmp_path: Path, *, apart: bool) -> None:
    file = tmp_path / "sources.toml"
    file.write_text(SOURCES)
    where: list[str] = [] if apart else ["--config", str(file)]
    settings = {"sources": str(file)} if apart else {}
    settings["schema_registry_url"] = "http://127.0.0.1:1"
    finished = await gateway("config", "--json", "--changed", *where, settings=settings)
    assert finished.code == 0, finished.err
    shown = json.loads(finished.out)["GATEWAY_SOURCES"]
    assert (shown["value"], shown["origin"]) == (
        str(file),
        "environment" if apart else str(file),
    )
    assert shown["sources"] == [
        {
            "topic": "orders",
            "audience": "user",
            "key": "customer:{user}",
            "type": "order.{header:kind}",
            "category": "orders",
            "data": "field:payload",
            "format": "avro",
            "partitions": 12,
        },
        {
            "topic": "tickets",
            "audience": "group",
            "key": "{group}",
            "groups": "teams",
            "partitions": 3,
        },
        {"topic": "news", "audience": "all", "partitions": 1},
    ]
    finished = await gateway("config", "--changed", *where, settings=settings)
    rows = [line.split() for line in finished.out.splitlines()]
    columns = ["topic", "audience", "key", "groups", "type", "category", "data", "format"]
    assert [*columns, "partitions"] in rows
    assert ["tickets", "group", "{group}", "teams", "-", "-", "-", "-", "3"] in rows


async def test_invalid_settings_are_reported_as_everywhere() -> None:
    finished = await gateway("config", settings={"retry_ms": "x"})
    assert (finished.code, finished.out) == (2, "")
    assert "GATEWAY_RETRY_MS" in finished.err
