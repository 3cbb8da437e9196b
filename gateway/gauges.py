"""The gauges of a worker, which read their values when metrics are scraped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.ops.reporter import replays_waiting
from gateway.topic_totals import PartitionLags, TopicTotals

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.http.auth.signing_keys import SigningKeys
    from gateway.parts import Parts


def add_gauges(parts: Parts, keys: SigningKeys, connections: Callable[[], int]) -> None:
    """Add all gauges to the worker's metrics; `connections` counts those of the public listener."""
    gauge, hub, kafka = parts.metrics.gauge, parts.hub, parts.kafka
    most = parts.settings.max_streams
    gauge("gateway_streams_open", "Streams that are open", lambda: len(hub.streams))
    gauge("gateway_streams_limit", "Streams that may be open", lambda: most)
    gauge("gateway_ready", "1 while the worker is ready", lambda: bool(parts.readiness))
    gauge(
        "gateway_tail_bytes",
        "Memory of all tails and their indexes",
        lambda: hub.memory.tails + hub.memory.indexes,
    )
    gauge("gateway_replays_waiting", "Streams that wait for a replay", lambda: replays_waiting(hub))
    gauge("gateway_kafka_connected", "1 while Kafka answers", lambda: kafka.connected)
    gauge(
        "gateway_kafka_lag_records",
        "Records not read yet, of logs with streams",
        lambda: sum(kafka.lags().values()),
    )
    gauge(
        "gateway_kafka_unread_partitions",
        "Partitions with streams that are not read, though a broker may answer",
        lambda: len(kafka.unread.reasons()),
    )
    settings = parts.settings
    several = settings.sources is not None
    lags = PartitionLags(kafka.lags, settings.event_sources, by_topic=several)
    parts.metrics.registry.register(lags)
    topics = [source.topic for source in settings.event_sources]
    parts.metrics.add_topics(TopicTotals(topics, lambda: kafka.health.absent))
    gauge(
        "gateway_connections_open",
        "Connections to the public listener, streams among them",
        connections,
    )
    if keys.clients:
        gauge(
            "gateway_keys_fresh",
            "1 while keys are to be had where they are published",
            lambda: keys.fresh,
        )
