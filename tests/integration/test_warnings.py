"""Warnings of the dashboard that need the fault itself: wrong clocks of producers, short retention.

On Apache Kafka, as the embedded broker does not report a topic's retention.
"""

from __future__ import annotations

import time

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.brokers.metadata import admin_client
from tests.conftest import Broker, MakeTopics, StartWorker
from tests.demo.webdriver import Browser
from tests.integration.conftest import OpenStream
from tests.records import RecordWriter

MINUTE_MS = 60_000


async def keep(broker: Broker, topic: str, milliseconds: int) -> None:
    """Set the retention of a topic."""
    configs = {"retention.ms": str(milliseconds)}
    async with admin_client(broker.bootstrap) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])


async def shown(browser: Browser, kind: str, words: str) -> str:
    """Return the whole text of a warning once the page shows one with those words."""
    text = f"document.querySelector('.concern[data-kind={kind}]')?.innerText"
    said: str = await browser.wait_for(f"return {text}?.includes('{words}') && {text}")
    return said


@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
async def test_warnings_about_timestamps_and_retention_last_until_the_cause_is_fixed(
    broker: Broker,
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
    browser: Browser,
    user: str,
) -> None:
    served = await topics(1, workers=1)
    await keep(broker, served.user, MINUTE_MS)
    worker = await start_worker(served)
    await open_stream(worker, user)
    await browser.open(f"{worker.ops_url}/ops")
    said = await shown(browser, "short_retention", f"{served.user} keeps records for 60 s")
    assert "Set retention.ms of the topic to 3600000" in said
    await keep(broker, served.user, 60 * MINUTE_MS)

    write, now = RecordWriter(producer, served), int(time.time() * 1000)
    wrong = await write.event(user, timestamp_ms=now + 5 * MINUTE_MS)
    said = await shown(browser, "producer_clock", "5 minutes ahead of its clock")
    assert f"last in {served.user}-0 at {wrong.offset}" in said
    assert "Set the clock (NTP)" in said
    await write.event(user, timestamp_ms=now - 10 * MINUTE_MS)
    assert "LogAppendTime" in await shown(browser, "producer_clock", "10 minutes behind its clock")

    await write.event(user)
    await browser.wait_for("return !document.querySelector('.concern')")
    await browser.expect(
        "return document.querySelector('#summary').textContent",
        "The only worker is ready; nothing needs attention.",
    )
