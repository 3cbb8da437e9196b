"""A worker whose Kafka is away: everything that does not need one."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from gateway.app import Worker
from gateway.config import load_settings
from gateway.errors import GatewayError, SettingsError
from tests.child import free_port
from tests.eventually import DEADLINE, eventually
from tests.http.certificates import Files
from tests.http.raw_client import connected
from tests.issuer import SigningKey
from tests.tokens import SECRET, bearer, mint
from tests.worker import metric

GAUGES = {
    "gateway_streams_open",
    "gateway_connections_open",
    "gateway_ready",
    "gateway_tail_bytes",
    "gateway_replays_waiting",
    "gateway_kafka_connected",
    "gateway_kafka_lag_records",
    "gateway_kafka_unread_partitions",
}


def make_worker(**values: object) -> Worker:
    defaults = {
        "jwt_secret": SECRET,
        "listen": "127.0.0.1:0",
        "ops_listen": "127.0.0.1:0",
        "kafka_bootstrap": f"127.0.0.1:{free_port()}",
    }
    return Worker(load_settings(None, **{**defaults, **values}))


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that another socket listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield f"127.0.0.1:{sock.getsockname()[1]}"


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def test_worker_without_kafka_is_live_but_not_ready(http: aiohttp.ClientSession) -> None:
    async with make_worker() as worker:
        async with http.get(f"{worker.ops_url}/healthz") as response:
            assert response.status == 200
        async with http.get(f"{worker.ops_url}/readyz") as response:
            assert response.status == 503
        async with http.get(worker.url) as response:
            assert response.status == 200
        async with http.get(
            f"{worker.url}/api/v1/events", headers=bearer(mint("alice"))
        ) as response:
            assert response.status == 503
            assert response.headers["Retry-After"]


async def test_readiness_names_the_setting_of_the_kafka_address(
    http: aiohttp.ClientSession,
) -> None:
    async with make_worker() as worker:

        async def named() -> bool:
            async with http.get(f"{worker.ops_url}/readyz") as response:
                return "GATEWAY_KAFKA_BOOTSTRAP" in await response.text()

        await eventually("the setting is named", named)


async def test_its_gauges_are_those_of_the_design(http: aiohttp.ClientSession) -> None:
    async with make_worker() as worker:
        lines = await text(http, f"{worker.ops_url}/metrics")
    gauges = {
        line.split()[2]
        for line in lines
        if line.startswith("# TYPE gateway_") and line.endswith(" gauge")
    }
    assert gauges == {
        *GAUGES,
        "gateway_build_info",
        "gateway_info",
        "gateway_kafka_partition_lag_records",
        "gateway_streams_limit",
        "gateway_topic_missing",
    }
    assert {f"{name} 0.0" for name in GAUGES} <= set(lines)


async def test_it_tells_its_limit_and_whether_its_keys_can_be_fetched(
    http: aiohttp.ClientSession,
) -> None:
    url = f"http://127.0.0.1:{free_port()}/keys"
    async with make_worker(jwt_secret=None, jwt_jwks_url=url, max_streams=7) as worker:
        assert await metric(worker.ops_url, "gateway_streams_limit") == 7

        async def stale() -> bool:
            lines = await text(http, f"{worker.ops_url}/metrics")
            return "gateway_keys_fresh 0.0" in lines

        await eventually("the keys are not fresh", stale)


async def text(http: aiohttp.ClientSession, url: str) -> list[str]:
    async with http.get(url) as response:
        return (await response.text()).splitlines()


async def test_a_drain_that_an_operator_asks_for_ends_it(http: aiohttp.ClientSession) -> None:
    async with make_worker() as worker:
        async with http.post(f"{worker.ops_url}/ops/drain") as response:
            assert response.status == 202
        async with asyncio.timeout(DEADLINE):
            await worker.ended()
            await worker.drain()
        async with http.get(f"{worker.ops_url}/readyz") as response:
            reasons = (await response.json())["reasons"]
        assert "draining" in {reason["reason"] for reason in reasons}


async def test_it_leaves_no_task_and_no_port_behind() -> None:
    before = asyncio.all_tasks()
    async with make_worker() as worker:
        ports = [port_of(worker.url), port_of(worker.ops_url)]
    assert asyncio.all_tasks() == before
    for port in ports:
        with socket.socket() as sock:
            assert sock.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("setting", ["listen", "ops_listen"])
async def test_a_port_that_is_taken_is_named_with_its_setting(taken: str, setting: str) -> None:
    before = asyncio.all_tasks()
    with pytest.raises(GatewayError) as refused:
        async with make_worker(**{setting: taken}):
            pytest.fail("it should not have started")
    text = str(refused.value)
    assert taken in text
    assert f"GATEWAY_{setting.upper()}" in text
    assert len(text.splitlines()) == 1
    assert asyncio.all_tasks() == before


async def test_it_listens_on_ipv6(http: aiohttp.ClientSession) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with make_worker(listen="[::1]:0") as worker:
        assert worker.url.startswith("http://[::1]:")
        async with http.get(worker.url) as response:
            assert response.status == 200


async def test_without_the_published_keys_it_is_up_and_names_the_setting(
    http: aiohttp.ClientSession,
) -> None:
    url = f"http://127.0.0.1:{free_port()}/keys"
    before = asyncio.all_tasks()
    async with make_worker(jwt_secret=None, jwt_jwks_url=url) as worker:

        async def named() -> bool:
            async with http.get(f"{worker.ops_url}/readyz") as response:
                reasons = (await response.json())["reasons"]
            details = {reason["reason"]: reason["detail"] for reason in reasons}
            return "GATEWAY_JWT_JWKS_URL: cannot connect to " in str(details["keys"])

        await eventually("the setting is named", named)
        for headers, status in ((bearer(SigningKey("ES256", "k").mint()), 503), ({}, 401)):
            async with http.get(f"{worker.url}/api/v1/events", headers=headers) as response:
                assert response.status == status
                assert ("Retry-After" in response.headers) == (status == 503)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("gateway.ops.reporter.StatusReporter.status", "status"),
        ("gateway.fleet.history.History.add_sample", "dashboard"),
        ("gateway.ops.dashboard.DashboardFeed.tick", "dashboard"),
        ("gateway.throttled_log.ThrottledLog.sweep", "notices"),
        ("gateway.metrics.Metrics.loop_late", "metrics"),
        ("gateway.core.hub.Hub.tick", "tick"),
        ("gateway.kafka.session.KafkaSession.sweep", "sweep"),
        ("gateway.kafka.session.KafkaSession.run", "kafka"),
        ("gateway.kafka.fleet_topic.FleetTopic.run", "fleet"),
    ],
)
async def test_unexpected_exception_is_counted_and_ends_no_worker(
    monkeypatch: pytest.MonkeyPatch, http: aiohttp.ClientSession, target: str, part: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(target, fail)
    async with make_worker() as worker:

        async def counted() -> bool:
            return await metric(worker.ops_url, "gateway_internal_errors_total", part=part) > 0

        await eventually("the exception is counted", counted)
        for url in (f"{worker.ops_url}/healthz", worker.url):
            async with http.get(url) as response:
                assert response.status == 200
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await worker.ended()


def test_without_a_key_it_does_not_start() -> None:
    with pytest.raises(SettingsError, match="GATEWAY_JWT_SECRET"):
        make_worker(jwt_secret=None)


async def test_renewed_certificate_is_loaded(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    files = Files(tmp_path)
    async with make_worker(tls_certfile=files.certfile, tls_keyfile=files.keyfile) as worker:
        assert worker.url.startswith("https://")

        async def accepted(trusting: ssl.SSLContext) -> bool:
            try:
                async with http.get(
                    worker.url,
                    headers={"Connection": "close"},
                    ssl=trusting,
                    server_hostname="gateway.test",
                ):
                    return True
            except aiohttp.ClientConnectorCertificateError:
                return False

        former = files.client
        assert await accepted(former)
        files.renew()
        await eventually("the new certificate is in use", lambda: accepted(files.client))
        assert not await accepted(former)


@pytest.mark.parametrize("listener", ["url", "ops_url"])
async def test_malformed_requests_are_not_logged(
    listener: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        make_worker() as worker,
        connected(port_of(getattr(worker, listener))) as client,
    ):
        await client.send(b"GET /\xff HTTP/1.1\r\n\r\n")
        assert (await client.head()).split()[1] == b"400"
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []
