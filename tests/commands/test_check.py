from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from tests.child import free_port
from tests.commands.command import gateway, settings_of
from tests.conftest import Broker, MakeTopics
from tests.http.certificates import Files
from tests.issuer import SigningKey, published
from tests.schemas.served import ServedRegistry
from tests.tokens import SECRET


def statuses(table: str) -> dict[str, str]:
    """Return the status of each row; columns are two blanks or more apart, remedies indented."""
    rows = [row.split("  ") for row in table.splitlines() if not row.startswith(" ")]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    return {row[0]: row[1] for row in cells}


async def test_where_everything_fits_nothing_fails(
    broker: Broker, topics: MakeTopics, tmp_path: Path
) -> None:
    made = await topics(revocations=1)
    for name in ("jwt", "ops"):
        (tmp_path / name).write_text(SECRET)
    settings = {
        **settings_of(broker, made),
        "jwt_secret_file": str(tmp_path / "jwt"),
        "ops_token_file": str(tmp_path / "ops"),
        "max_streams": "10",
        "listen": f"127.0.0.1:{free_port()}",
        "ops_listen": f"127.0.0.1:{free_port()}",
    }
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
        f"events of {made.user}": "ok",
        f"events of {made.broadcast}": "ok",
        "partitioner": "ok",
        "clocks": "ok",
        "GATEWAY_LISTEN": "ok",
        "GATEWAY_OPS_LISTEN": "ok",
        "worker": "ok",
        "open files": "ok",
    }
    [worker] = [row for row in finished.out.splitlines() if row.startswith("worker")]
    assert "an event delivered after" in worker
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
        ({"jwt_public_key_file": "/no/such"}, "key", "GATEWAY_JWT_PUBLIC_KEY_FILE"),
        ({"tls_certfile": "/no/c", "tls_keyfile": "/no/k"}, "certificate", "GATEWAY_TLS_CERTFILE"),
        ({"listen": "192.0.2.1:80"}, "GATEWAY_LISTEN", "set GATEWAY_LISTEN to an address"),
        ({"jwt_secret": "short"}, "settings", "it needs 32 or more"),
        ({"registry": "/no/such"}, "registry", "/no/such cannot be read"),
        (
            {"kafka_security_protocol": "SSL", "kafka_ssl_cafile": "/no/such"},
            "Kafka",
            "GATEWAY_KAFKA_SSL_CAFILE",
        ),
    ],
)
async def test_failed_checks_name_the_remedy(
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
    assert "GATEWAY_JWT_JWKS_URL: cannot connect" in finished.out


async def test_check_of_invalid_events_fails_and_names_the_missing_field(
    broker: Broker, topics: MakeTopics, producer: AIOKafkaProducer
) -> None:
    made = await topics(revocations=1)
    settings = {**settings_of(broker, made), "jwt_secret": SECRET, "listen": "127.0.0.1:0"}
    for number in range(3):
        await producer.send_and_wait(made.user, b'{"data": %d}' % number, key=b"alice")
    sent = await producer.send_and_wait(made.broadcast, b"\0\0\0\0\x07avro")
    finished = await gateway("check", settings=settings)
    assert finished.code == 1
    assert statuses(finished.out)[f"events of {made.user}"] == "failed"
    assert "skipped: 3 wrong_shape (Object missing required field `event_type`)" in finished.out
    assert statuses(finished.out)[f"events of {made.broadcast}"] == "failed"
    assert "schema id 7" in finished.out

    command = f"gateway record {made.broadcast} 0 {sent.offset}"
    assert command in finished.out
    shown = await gateway(*command.split()[1:], settings=settings)
    assert shown.code == 0, shown
    assert "value   \\x00\\x00\\x00\\x00\\x07avro" in shown.out
    assert "skipped not_json: the value is not JSON but written with a schema registry" in shown.out


async def test_missing_topics_are_in_order_with_create_topics(broker: Broker) -> None:
    settings = {
        "kafka_bootstrap": broker.bootstrap,
        "topic": "no-such",
        "create_topics": "true",
        "jwt_secret": SECRET,
    }
    finished = await gateway("check", settings=settings)
    assert finished.code == 0, finished
    assert statuses(finished.out)["topic no-such"] == "ok"
    assert "not started: a topic is missing" in finished.out


async def test_no_line_of_a_remedy_is_wrapped_on_a_narrow_terminal(broker: Broker) -> None:
    topic = "x" * 200
    settings = {"kafka_bootstrap": broker.bootstrap, "topic": topic, "jwt_secret": SECRET}
    finished = await gateway("check", settings=settings)
    assert f"--create --topic {topic} --partitions 12\n" in finished.out


async def test_values_of_a_schema_registry_are_decoded_and_the_registry_is_asked(
    broker: Broker, topics: MakeTopics, producer: AIOKafkaProducer
) -> None:
    made = await topics(1)
    async with ServedRegistry() as registry:
        registry.add("ids/1", '{"type":"record","name":"N","fields":[{"name":"n","type":"int"}]}')
        settings = {
            **settings_of(broker, made),
            "jwt_secret": SECRET,
            "listen": "127.0.0.1:0",
            "value_format": "avro",
            "schema_registry_url": registry.url,
            "dead_letter_topic": "no-such-topic",
        }
        headers = [("event_type", b"import.progress")]
        for schema in (1, 2):
            value = b"\0\0\0\0" + bytes([schema, 6])
            sent = await producer.send_and_wait(made.user, value, key=b"alice", headers=headers)
        finished = await gateway("check", settings=settings)
        found = statuses(finished.out)
        assert found["schemas"] == "ok"
        assert found[f"events of {made.user}"] == "warning"
        assert found["topic no-such-topic"] == "warning"
        assert "1 of the newest 2 records are events" in finished.out
        assert "schema_unknown (schema 2: the registry does not have it)" in finished.out
        place = [made.user, "0", str(sent.offset - 1)]
        shown = await gateway("record", *place, settings=settings)
        assert "event   import.progress" in shown.out
        registry.broken = True
        settings["schema_wait_seconds"] = "3"  # of a registry that answers at once
        finished = await gateway("check", settings=settings)
        assert statuses(finished.out)["schemas"] == "failed"
        assert "answers 503" in finished.out
    settings.pop("schema_registry_url")
    finished = await gateway("check", settings=settings)
    assert statuses(finished.out)["schemas"] == "failed"
    assert "GATEWAY_SCHEMA_REGISTRY_URL is not set" in finished.out
    assert statuses(finished.out)["Kafka"] == "ok"
    assert f"events of {made.user}" not in finished.out
