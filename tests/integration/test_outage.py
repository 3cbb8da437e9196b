"""Kafka stops answering under open streams, then recovers: streams stay open and lose no events."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import aiohttp
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from gateway.demo.broker import EmbeddedBroker
from tests.brokers.metadata import create_topics
from tests.conftest import worker_settings
from tests.eventually import eventually
from tests.integration.conftest import OpenStream, new_user
from tests.records import RecordWriter, Topics
from tests.worker import Worker, status


async def test_streams_outlive_a_kafka_outage_and_resume_at_their_position(
    tmp_path: Path, http: aiohttp.ClientSession, open_stream: OpenStream
) -> None:
    served = Topics("user-events", "broadcast-events")
    old, new = new_user(), new_user()
    async with EmbeddedBroker() as broker:
        await create_topics(
            broker.bootstrap, [NewTopic(served.user, 2, 1), NewTopic(served.broadcast, 1, 1)]
        )
        settings = worker_settings(served, kafka_bootstrap=broker.bootstrap, heartbeat_seconds=1)
        worker = Worker(settings, tmp_path / "log")
        try:
            await worker.wait_until_ready()
            async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
                write = RecordWriter(producer, served)
                first = await open_stream(worker, old)
                await write.numbered(old, [0])
                await first.wait_for(1)

                os.kill(broker.pid, signal.SIGSTOP)

                async def not_ready() -> bool:
                    return await status(http, f"{worker.ops_url}/readyz") == 503

                await eventually("the outage is reported", not_ready)
                second = await open_stream(worker, new)
                beats = first.heartbeats
                await first.wait_for(lambda client: client.heartbeats > beats)
                await second.wait_for(lambda client: client.heartbeats)

                os.kill(broker.pid, signal.SIGCONT)
                await write.numbered(old, [1])
                await write.numbered(new, [2])

                await first.wait_for(2)
                await second.wait_for(1)
                assert first.numbers == [0, 1]
                assert second.numbers == [2]
                assert first.own("gap") == second.own("gap") == []
                await worker.wait_until_ready()
        finally:
            worker.end()
            os.kill(broker.pid, signal.SIGCONT)
    assert "Traceback" not in worker.log()
