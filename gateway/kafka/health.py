"""Whether a worker can read its topics: readiness, unread partitions, and short retentions."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.errors import KafkaError

from gateway import clock
from gateway.fleet.status import ShortRetention
from gateway.kafka.client.error_codes import log_name
from gateway.kafka.topics import creation_command, retentions, topic_specs
from gateway.readiness import NotReadyReason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config import Settings
    from gateway.core.hub import Hub
    from gateway.core.records import TopicPartition
    from gateway.kafka.client.cluster import ClusterClient
    from gateway.kafka.diagnosis import Diagnosis
    from gateway.readiness import Readiness

UNREAD_SECONDS = 5.0
"""A partition that is not read for this long is reported; an election or a new stream is faster."""

LOOK_SECONDS = 60.0
"""Interval of the requests."""

SHORT_LOOK_SECONDS = 10.0
"""The same while a retention is too short: an operator may be changing it."""

_log = structlog.stdlib.get_logger(__name__)


class TopicHealth:
    """Sets and clears not-ready reasons, and logs each change.

    `options` are those of `connection_options`, for the commands in the reasons.
    """

    def __init__(
        self, settings: Settings, options: Mapping[str, Any], readiness: Readiness
    ) -> None:
        self._settings = settings
        self._options = options
        self._readiness = readiness
        self.absent: set[str] = set()
        """Topics that are missing or may not be read."""

    def report(self, missing: list[str], refused: Mapping[str, Diagnosis]) -> None:
        """Report missing and unreadable topics, with the commands that fix them."""
        self.absent = absent = {*missing, *refused}
        missing = [name for name in missing if name not in refused]
        details = [str(diagnosis) for diagnosis in refused.values()]
        if missing:
            commands = " && ".join(
                creation_command(spec, self._options)
                for spec in topic_specs(self._settings)
                if spec.name in missing
            )
            noun = "topic" if len(missing) == 1 else "topics"
            details.append(f"{noun} {', '.join(missing)} missing; create with: {commands}")
        if details and self.serves(absent):
            detail = f"other topics are served; {'; '.join(details)}"
            self._degrade(NotReadyReason.TOPICS, detail)
        elif details:
            self.doubt(NotReadyReason.TOPICS, "; ".join(details))
        else:
            self.settle(NotReadyReason.TOPICS)

    def report_registry(self, problem: str) -> None:
        """Report whether the schema registry answers: `problem` is empty then."""
        if problem:
            detail = (
                f"the schema registry {self._settings.schema_registry_url} is away: {problem};"
                " records whose schemas are not in memory become a gap schema"
            )
            self._degrade(NotReadyReason.SCHEMAS, detail)
        else:
            self._readiness.clear(NotReadyReason.SCHEMAS)

    def serves(self, absent: set[str]) -> bool:
        """Return whether the worker serves streams without these topics.

        Of several sources some may be absent. Revocations have to be known, and a deployment
        without a file of sources has one user topic, without which nothing is served.
        """
        settings = self._settings
        if settings.sources is None:
            return not absent
        topics = {source.topic for source in settings.event_sources}
        return absent <= topics and absent != topics

    def settle(self, *doubts: NotReadyReason) -> None:
        """Clear reasons; log that the worker is ready if none is left."""
        if self._readiness.clear(*doubts):
            _log.info("ready")

    def doubt(self, doubt: NotReadyReason, detail: str) -> None:
        """Set the worker not ready for a reason."""
        if self._readiness.set_reason(doubt, detail):
            _log.warning("not ready", reason=str(doubt), detail=detail)

    def _degrade(self, doubt: NotReadyReason, detail: str) -> None:
        if self._readiness.degrade(doubt, detail):
            _log.warning("degraded", reason=str(doubt), detail=detail)


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


class RetentionWatch:
    """Lists in `short` the event topics whose retention is too short."""

    def __init__(self, settings: Settings, client: ClusterClient) -> None:
        self._client = client
        self._names = [source.topic for source in settings.event_sources]
        self._promised = settings.replay_max_age_seconds
        self.short: tuple[ShortRetention, ...] = ()

    async def run(self) -> None:
        """Check for as long as the task lives; without an answer keep the last result."""
        while True:
            with suppress(KafkaError):
                kept = await retentions(self._client, self._names)
                self.short = tuple(
                    ShortRetention(topic, kept[topic] / 1000, self._promised)
                    for topic in self._names
                    if topic in kept and 0 <= kept[topic] < self._promised * 1000
                )
            await asyncio.sleep(SHORT_LOOK_SECONDS if self.short else LOOK_SECONDS)
