from __future__ import annotations

import asyncio
from typing import cast

from gateway import clock
from gateway.core.records import LogKind, TopicPartition
from gateway.core.request import StreamRequest
from gateway.core.source import Topic
from gateway.kafka.client.cluster import ClusterClient
from gateway.kafka.context import ReaderContext
from gateway.kafka.live_reader import LiveReader
from gateway.kafka.offsets import Offsets
from gateway.supervise import Supervisor
from tests.core.sinks import Discard
from tests.http.served import Served


class SilentOffsets:
    """Offsets of a Kafka that is asked and does not answer."""

    def __init__(self) -> None:
        self.asked: list[TopicPartition] = []

    async def end_and_epoch(self, log: TopicPartition) -> tuple[int, int]:
        self.asked.append(log)
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_log_that_has_a_stream_and_is_not_read_is_read_again() -> None:
    """A stream may come to a log just as its grace has ended: it must not wait for the next one."""
    served = Served()
    hub = served.hub
    offsets = SilentOffsets()
    live = LiveReader(
        ReaderContext(
            ClusterClient({"bootstrap_servers": ["127.0.0.1:9"]}),
            hub,
            cast("Offsets", offsets),
            served.metrics,
            served.revoking,
            Supervisor(served.metrics),
        ),
        0.0,
        lambda _feed: None,
        check_topics=asyncio.Event().wait,
    )
    feed = hub.feed(
        TopicPartition("user-events", 1), Topic("user-events", LogKind.USER, b"tagA", 2)
    )
    hub.open(StreamRequest(b"alice"), (feed,), Discard(), [], clock.now())
    live.sweep()
    await asyncio.sleep(0)
    assert offsets.asked == [feed.log]
    live.sweep()
    await asyncio.sleep(0)
    assert offsets.asked == [feed.log], "once is enough"
    await live.stop()
