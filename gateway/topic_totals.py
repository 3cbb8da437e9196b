"""Records by topic as metrics: read, skipped, and whether the topic is missing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from prometheus_client import Metric

PREFIX = "gateway_topic"


class TopicTotals:
    """A collector for a Prometheus registry; its series are bounded by the configured topics.

    `read` and `skipped` count records by topic. `absent` returns the topics that are missing or may
    not be read.
    """

    def __init__(self, topics: Collection[str], absent: Callable[[], Collection[str]]) -> None:
        self._topics = topics
        self._absent = absent
        self.read: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; called by the registry."""
        read = CounterMetricFamily(
            f"{PREFIX}_records_read", "Records that the live consumer has read", labels=["topic"]
        )
        skipped = CounterMetricFamily(
            f"{PREFIX}_records_skipped", "Records that are not events", labels=["topic"]
        )
        missing = GaugeMetricFamily(
            f"{PREFIX}_missing", "1 while the topic is missing or may not be read", labels=["topic"]
        )
        absent = self._absent()
        for topic in self._topics:
            read.add_metric([topic], self.read[topic])
            skipped.add_metric([topic], self.skipped[topic])
            missing.add_metric([topic], int(topic in absent))
        yield from (read, skipped, missing)
