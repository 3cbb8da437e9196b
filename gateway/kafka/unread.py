"""Partitions with streams that are not read, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway import clock
from gateway.kafka.records import log_name

if TYPE_CHECKING:
    from gateway.core.hub import Hub
    from gateway.core.records import TopicPartition
    from gateway.kafka.client.cluster import ClusterClient

UNREAD_SECONDS = 5.0
"""A partition that is not read for this long is reported; an election or a new stream is faster."""

_log = structlog.stdlib.get_logger(__name__)


class UnreadPartitions:
    """Logs each partition with streams that is not read, once, and when it is read again."""

    def __init__(self, hub: Hub, cluster: ClusterClient) -> None:
        self._hub = hub
        self._cluster = cluster
        self._since: dict[TopicPartition, tuple[float, str]] = {}
        """Start time and reason."""
        self._reported: set[TopicPartition] = set()

    def reasons(self) -> dict[TopicPartition, str]:
        """Return the reason for each partition that has not been read for `UNREAD_SECONDS`."""
        limit = clock.now().monotonic - UNREAD_SECONDS
        return {log: reason for log, (since, reason) in self._since.items() if since <= limit}

    def update(self, faults: dict[TopicPartition, str]) -> None:
        """Apply the faults of the reader; call it about once a second."""
        for feed in self._hub.feeds.values():
            if not feed.streams:
                faults.pop(feed.log, None)
            elif self._cluster.leader(feed.log) is None:
                faults[feed.log] = "the partition has no leader"
            elif feed.tail is None:
                faults[feed.log] = "its leader does not answer"
        now, before = clock.now().monotonic, self._since
        self._since = {
            log: (before[log][0] if log in before else now, reason)
            for log, reason in faults.items()
        }
        fresh = [log for log in self.reasons() if log not in self._reported]
        for log in fresh:
            _log.warning("partition not read", log=log_name(log), reason=faults[log])
        for log in self._reported - faults.keys():
            _log.info("partition read again", log=log_name(log))
        self._reported = (self._reported & faults.keys()) | set(fresh)
