"""Logins at Kafka by Kerberos: a KDC and Apache Kafka, a worker and commands with a keytab."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from tests.brokers.kerberos import KerberosNode
from tests.brokers.metadata import create_topics
from tests.commands.command import gateway
from tests.conftest import use_worker, worker_settings
from tests.identity.kerberos import PROGRAMS, Realm
from tests.integration.conftest import OpenStream
from tests.programs import require
from tests.records import RecordWriter, Topics
from tests.tokens import SECRET
from tests.worker import Worker

TICKET_SECONDS = 8
LOGIN_MS = 3000
TOPICS = Topics("user-events", "broadcast-events", "revocations", "workers")
COMPACTED = {"cleanup.policy": "compact"}


class Site(NamedTuple):
    """The broker, its realm, and a keytab of the user `gateway`, who alone may use the topics."""

    node: KerberosNode
    realm: Realm
    keytab: Path

    @property
    def login(self) -> dict[str, str]:
        """The settings of the login."""
        return {
            "kafka_bootstrap": self.node.kerberos_bootstrap,
            "kafka_security_protocol": "SASL_PLAINTEXT",
            "kafka_sasl_mechanism": "GSSAPI",
        }

    def command(self, **others: str) -> dict[str, str]:
        """Return the settings of a command."""
        topics = {"topic": TOPICS.user, "broadcast_topic": TOPICS.broadcast}
        own = {"revocations_topic": TOPICS.revocations, "workers_topic": TOPICS.workers}
        return {**self.login, **topics, **own, "jwt_secret": SECRET, **others}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    pytest.importorskip("gssapi", reason="gssapi not installed")
    require("java", "mvn", *PROGRAMS)
    folder = tmp_path_factory.mktemp("kerberos")
    async with Realm(folder / "realm", TICKET_SECONDS) as realm:
        keytab = realm.add("gateway")
        async with KerberosNode(folder / "node", realm, LOGIN_MS, "gateway") as node:
            topics = [NewTopic(name, 1, 1) for name in TOPICS[:2]]
            topics += [NewTopic(name, 1, 1, topic_configs=COMPACTED) for name in TOPICS[2:]]
            await create_topics(node.bootstrap, topics)
            yield Site(node, realm, keytab)


@pytest.fixture(autouse=True)
def _client(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give child processes the realm and the client's keytab."""
    for name, value in site.realm.client(site.keytab).items():
        monkeypatch.setenv(name, value)


async def test_events_are_delivered_once_while_tickets_and_logins_expire(
    site: Site,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    open_stream: OpenStream,
    user: str,
) -> None:
    former = site.realm.tickets("gateway")
    worker = Worker(worker_settings(TOPICS, **site.login), tmp_path / "log")
    use_worker(request, worker)
    try:
        await worker.wait_until_ready()
        client = await open_stream(worker, user)
        async with AIOKafkaProducer(bootstrap_servers=site.node.bootstrap) as producer:
            write = RecordWriter(producer, TOPICS)
            # Three logins and at least one ticket expire meanwhile.
            numbers = list(range(1, LOGIN_MS * 3 // 200 + 1))
            for number in numbers:
                await write.numbered(user, [number])
                await asyncio.sleep(0.2)
        await client.wait_for(len(numbers))
        assert client.numbers == numbers
        assert site.realm.tickets("gateway") >= former + 2
        finished = await gateway("revoke", user, settings=site.command())
        assert finished.code == 0, finished
        await client.wait_for_end()
    finally:
        worker.end()
    assert '"level": "error"' not in worker.log()


async def test_check_logs_in_with_the_keytab(site: Site) -> None:
    finished = await gateway("check", settings=site.command())
    assert finished.code == 0, finished
    assert TOPICS.user in finished.out


async def test_wrong_keytab_is_named_by_worker_and_check(
    site: Site, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    keytab = site.realm.add("replaced")
    site.realm.change_key("replaced")
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", str(keytab))
    found, advice = "no Kerberos ticket: Decrypt integrity check failed", "set KRB5_CLIENT_KTNAME"
    finished = await gateway("check", settings=site.command())
    assert finished.code == 1
    assert found in finished.out
    assert advice in finished.out, finished.out
    finished = await gateway("revoke", "anyone", settings=site.command())
    assert finished.code == 1
    assert found in finished.err, finished.err
    assert "Traceback" not in finished.err
    worker = Worker(worker_settings(TOPICS, **site.login), tmp_path / "log")
    use_worker(request, worker)
    try:
        await worker.wait_for_log(f"{found}; {advice}")
        assert "Traceback" not in worker.log()
    finally:
        worker.end()


@pytest.mark.parametrize(
    ("environment", "settings", "found", "advice"),
    [
        (
            {"KRB5_CLIENT_KTNAME": "/nonexistent"},
            {},
            "No Kerberos credentials available",
            "set KRB5_CLIENT_KTNAME",
        ),
        (
            {},
            {"kafka_sasl_kerberos_service_name": "other"},
            "Server other/localhost@GATEWAY.TEST not found in Kerberos database",
            "set GATEWAY_KAFKA_SASL_KERBEROS_SERVICE_NAME",
        ),
    ],
)
async def test_check_names_the_cause_of_a_missing_ticket(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    settings: dict[str, str],
    found: str,
    advice: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    finished = await gateway("check", settings=site.command(**settings))
    assert finished.code == 1
    assert f"no Kerberos ticket: {found}" in finished.out, finished.out
    assert advice in finished.out, finished.out


async def test_worker_recovers_when_the_kdc_returns(
    site: Site, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    site.realm.end()
    worker = Worker(worker_settings(TOPICS, **site.login), tmp_path / "log")
    use_worker(request, worker)
    try:
        await worker.wait_for_log(
            "Cannot contact any KDC for realm 'GATEWAY.TEST'; see that the KDC"
        )
        await site.realm.start()
        await worker.wait_until_ready()
        assert "Traceback" not in worker.log()
    finally:
        worker.end()
