"""Brokers that require authentication: the worker connects, or names the wrong setting.

One node has a listener for each way of connecting. A worker that cannot connect, or may not read,
is not ready, and its log, `/readyz` and `gateway check` name what to change.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from tests.brokers.authority import DAY, Authority
from tests.brokers.metadata import create_topics
from tests.brokers.secure import PASSWORD, USER, Listener, Operation, SecureNode
from tests.commands.command import Finished, gateway
from tests.conftest import use_worker, worker_settings
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, new_user
from tests.programs import require
from tests.records import RecordWriter, Topics
from tests.tokens import SECRET
from tests.worker import Worker, status

TOPICS = Topics("user-events", "broadcast-events")

HIDDEN = "no-describe"
UNREADABLE = "no-read"
UNWRITABLE = "no-write"
PENDING = "not-yet"
"""Topics on which `USER` lacks a right."""


class Site(NamedTuple):
    """The broker, and the files that a client of it has."""

    node: SecureNode
    settings: dict[str, dict[str, object]]

    def of(self, listener: Listener, *names: str, **others: object) -> dict[str, object]:
        """Return a worker's settings: the listener's address, those of each name, then others."""
        merged = {name: value for group in names for name, value in self.settings[group].items()}
        return {"kafka_bootstrap": self.node.address(listener), **merged, **others}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    require("java", "mvn")
    folder = tmp_path_factory.mktemp("secure")
    ours, theirs = Authority(folder), Authority(folder, "other-ca")
    async with SecureNode(folder / "node", ours) as node:
        names = [TOPICS.user, TOPICS.broadcast, HIDDEN, UNREADABLE, UNWRITABLE, PENDING]
        await create_topics(node.bootstrap, [NewTopic(name, 1, 1) for name in names])
        for name in (HIDDEN, PENDING):
            await node.allow(name, "User:somebody-else", Operation.READ)
        await node.allow(UNREADABLE, f"User:{USER}", Operation.DESCRIBE)
        await node.allow(UNWRITABLE, f"User:{USER}", Operation.READ)
        yield Site(node, _settings(ours, theirs))


def _settings(ours: Authority, theirs: Authority) -> dict[str, dict[str, object]]:
    login = {"kafka_sasl_username": USER, "kafka_sasl_password": PASSWORD}
    certificates = {
        "certificate": ours.pair("client"),
        "expired certificate": ours.pair("expired-client", -DAY),
        "unknown certificate": theirs.pair("unknown-client"),
    }
    return {
        "TLS": {"kafka_security_protocol": "SSL", "kafka_ssl_cafile": ours.certificate},
        **{
            name: {"kafka_ssl_certfile": pair.certificate, "kafka_ssl_keyfile": pair.key}
            for name, pair in certificates.items()
        },
        "other CA": {"kafka_ssl_cafile": theirs.certificate},
        "PLAIN": {**login, "kafka_security_protocol": "SASL_PLAINTEXT"},
        "SCRAM": {
            **login,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_mechanism": "SCRAM-SHA-512",
        },
        "wrong password": {"kafka_sasl_password": "wrong-password"},
    }


@pytest.fixture
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Worker]]:
    with ExitStack() as workers:

        def start_one(settings: dict[str, object], topics: Topics = TOPICS) -> Worker:
            worker = Worker(worker_settings(topics, **settings), tmp_path / f"{uuid4()}.log")
            workers.callback(worker.end)
            use_worker(request, worker)
            return worker

        yield start_one


@pytest.mark.parametrize(
    ("listener", "names"),
    [
        (Listener.TLS, ["TLS"]),
        (Listener.MUTUAL, ["TLS", "certificate"]),
        (Listener.PLAIN, ["PLAIN"]),
        (Listener.SCRAM, ["TLS", "SCRAM"]),
    ],
    ids=["TLS", "mutual TLS", "SASL PLAIN", "SCRAM-SHA-512 over TLS"],
)
async def test_events_are_delivered_and_resumed(
    site: Site,
    start: Callable[..., Worker],
    open_stream: OpenStream,
    listener: Listener,
    names: list[str],
) -> None:
    settings = site.of(listener, *names)
    worker = start(settings)
    await worker.wait_until_ready()
    user = new_user()
    client = await open_stream(worker, user)
    begin = client.last_event_id
    async with AIOKafkaProducer(bootstrap_servers=site.node.bootstrap) as producer:
        await RecordWriter(producer, TOPICS).numbered(user, range(10))
    await client.wait_for(10)
    assert client.numbers == list(range(10))

    again = start(settings)  # its tail is empty
    await again.wait_until_ready()
    resumed = await open_stream(again, user, headers={"Last-Event-ID": begin})

    await resumed.wait_for(10)
    assert resumed.numbers == list(range(10))
    assert resumed.own("gap") == []
    finished = await _check(settings, TOPICS)
    assert finished.code == 0, finished


async def test_corrected_password_file_lets_a_running_worker_log_in(
    site: Site, start: Callable[..., Worker], open_stream: OpenStream, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("wrong-password\n")
    settings = site.of(Listener.SCRAM, "TLS", "SCRAM")
    settings = {name: v for name, v in settings.items() if name != "kafka_sasl_password"}
    worker = start({**settings, "kafka_sasl_password_file": file})

    await worker.wait_for_log("refuses the login")
    await asyncio.to_thread(file.write_text, f"{PASSWORD}\n")

    await worker.wait_until_ready()
    user = new_user()
    client = await open_stream(worker, user)
    async with AIOKafkaProducer(bootstrap_servers=site.node.bootstrap) as producer:
        await RecordWriter(producer, TOPICS).numbered(user, [1])
    await client.wait_for(1)


@pytest.mark.parametrize(
    ("listener", "names", "found", "setting"),
    [
        (Listener.PLAIN, ["PLAIN", "wrong password"], "refuses the login", "SASL_PASSWORD"),
        (Listener.SCRAM, ["TLS", "SCRAM", "wrong password"], "refuses the login", "SASL_PASSWORD"),
        (Listener.SCRAM, ["TLS", "SCRAM", "PLAIN"], "not answer in Kafka's", "SECURITY_PROTOCOL"),
        (Listener.TLS, ["TLS", "other CA"], "CA that is not trusted", "SSL_CAFILE"),
        (Listener.TLS, [], "not answer in Kafka's", "SECURITY_PROTOCOL"),
        (Listener.EXPIRED, ["TLS"], "has expired", "SSL_CAFILE"),
        (Listener.MUTUAL, ["TLS"], "wants a certificate", "SSL_CERTFILE"),
        (
            Listener.MUTUAL,
            ["TLS", "unknown certificate"],
            "does not trust this client's certificate",
            "SSL_CERTFILE",
        ),
        (
            Listener.MUTUAL,
            ["TLS", "expired certificate"],
            "does not trust this client's certificate",
            "SSL_CERTFILE",
        ),
        (Listener.PLAIN, [], "closes the connection", "SECURITY_PROTOCOL"),
    ],
    ids=lambda value: " and ".join(value) or "nothing" if isinstance(value, list) else None,
)
async def test_connection_error_is_one_line_that_names_the_setting(
    site: Site,
    start: Callable[..., Worker],
    http: aiohttp.ClientSession,
    listener: Listener,
    names: list[str],
    found: str,
    setting: str,
) -> None:
    settings = site.of(listener, *names)
    doubt = await _doubt(start(settings), http)
    assert doubt["reason"] == "kafka"
    assert found in doubt["detail"]
    assert f"GATEWAY_KAFKA_{setting}" in doubt["detail"]
    assert PASSWORD not in doubt["detail"]

    finished = await _check(settings, TOPICS)

    assert finished.code == 1
    [row] = _failed(finished.out)
    assert row.startswith("Kafka")
    assert f"GATEWAY_KAFKA_{setting}" in _words(finished.out)


@pytest.mark.parametrize(
    ("topic", "right"), [(HIDDEN, "Describe"), (UNREADABLE, "Read")], ids=["Describe", "Read"]
)
@pytest.mark.parametrize("kind", ["user", "broadcast"])
async def test_a_right_that_is_missing_on_one_topic_is_named_with_the_topic(
    site: Site,
    start: Callable[..., Worker],
    http: aiohttp.ClientSession,
    topic: str,
    right: str,
    kind: str,
) -> None:
    settings = site.of(Listener.PLAIN, "PLAIN")
    topics = TOPICS._replace(**{kind: topic})
    doubt = await _doubt(start(settings, topics), http)
    assert doubt["reason"] == "topics"
    assert f"no right {right} on topic {topic};" in doubt["detail"]

    finished = await _check(settings, topics)

    assert finished.code == 1
    [row] = _failed(finished.out)
    assert row.startswith(f"topic {topic} ")
    assert f"no right {right}" in row


@pytest.mark.parametrize(
    ("topic", "right", "operation"),
    [(HIDDEN, "Describe", "Read"), (UNREADABLE, "Read", "Read"), (UNWRITABLE, "Write", "Write")],
    ids=["Describe", "Read", "Write"],
)
async def test_missing_right_on_the_fleet_topic_is_logged_once_and_streams_are_served(
    site: Site,
    start: Callable[..., Worker],
    http: aiohttp.ClientSession,
    topic: str,
    right: str,
    operation: str,
) -> None:
    worker = start(site.of(Listener.PLAIN, "PLAIN"), TOPICS._replace(workers=topic))
    await worker.wait_until_ready()

    async def told() -> bool:
        async with http.get(f"{worker.ops_url}/ops/fleet") as response:
            return f"no right {right} on topic {topic};" in (await response.json())["problem"]

    await eventually("the problem is reported", told)
    await worker.wait_for_log("fleet status unavailable")
    [line] = [line for line in worker.entries() if line["level"] == "warning"]
    assert line["event"].startswith("fleet status unavailable")
    assert f"--operation {operation} --topic {topic}" in line["detail"]
    assert await status(http, f"{worker.ops_url}/readyz") == 200


async def test_a_right_that_is_given_makes_the_worker_ready_without_a_restart(
    site: Site, start: Callable[..., Worker], http: aiohttp.ClientSession
) -> None:
    worker = start(site.of(Listener.PLAIN, "PLAIN"), TOPICS._replace(user=PENDING))
    await worker.wait_for_entries("not ready")
    assert await status(http, f"{worker.ops_url}/readyz") == 503

    await site.node.allow(PENDING, f"User:{USER}", Operation.READ)

    await worker.wait_until_ready()
    assert len(worker.entries("not ready")) == 1


async def _doubt(worker: Worker, http: aiohttp.ClientSession) -> dict[str, Any]:
    """Return why a worker is not ready, which `/readyz` and one line of its log tell alike."""
    await worker.wait_for_entries("not ready")
    async with http.get(f"{worker.ops_url}/readyz") as response:
        assert response.status == 503
        reasons = (await response.json())["reasons"]
    [doubt] = [reason for reason in reasons if reason["reason"] != "starting"]
    worker.end()
    [line] = [line for line in worker.entries() if line["level"] in {"warning", "error"}]
    assert line["event"] == "not ready"
    assert line["detail"] == doubt["detail"]
    return dict(doubt)


async def _check(settings: dict[str, object], topics: Topics) -> Finished:
    named = {
        "topic": topics.user,
        "broadcast_topic": topics.broadcast,
        "revocations_topic": "",
        "workers_topic": "",
        "jwt_secret": SECRET,
    }
    return await gateway(
        "check", settings={**named, **{name: str(value) for name, value in settings.items()}}
    )


def _failed(table: str) -> list[str]:
    return [row for row in table.splitlines() if " failed " in row]


def _words(text: str) -> set[str]:
    return set(text.replace(";", " ").split())
