"""A simulated cluster that answers Fetch requests as Kafka does.

Requests and responses are decoded and encoded by kafka-python, whose code is made from Kafka's own
schemas, so that it does not share a mistake with the code under test.
"""

from __future__ import annotations

import uuid
import warnings
from dataclasses import dataclass, field
from typing import Any

from gateway.core.records import TopicPartition
from tests.brokers.batches import Row, batch

with warnings.catch_warnings():  # kafka-python reads its schemas in a deprecated way
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka.protocol.consumer import FetchRequest, FetchResponse

TOPIC_IDS = 13

_PartitionData = FetchResponse.FetchableTopicResponse.PartitionData


@dataclass
class Entry:
    """A batch of a log."""

    base: int
    data: bytes
    epoch: int
    values: list[bytes]

    @property
    def following(self) -> int:
        return self.base + len(self.values)


@dataclass
class Partition:
    """A log, its leader, and how far the followers are behind."""

    leader: int
    epoch: int = 1
    start: int = 0
    entries: list[Entry] = field(default_factory=list)
    preferred: int = -1
    lag: int = 0

    @property
    def end(self) -> int:
        return self.entries[-1].following if self.entries else self.start

    def append(self, *values: bytes) -> None:
        data = bytearray(batch([Row(b"key", value) for value in values], self.end))
        data[12:16] = self.epoch.to_bytes(4, "big")
        self.entries.append(Entry(self.end, bytes(data), self.epoch, list(values)))

    def trim(self, start: int) -> None:
        """Remove the batches that end before an offset."""
        self.start = max(self.start, min(start, self.end))
        end = self.end
        self.entries = [entry for entry in self.entries if entry.following > self.start]
        self.start = end if not self.entries else self.start

    def truncate(self, batches: int) -> None:
        """Elect a leader that lacks the last batches."""
        start = self.end
        for _ in range(min(batches, len(self.entries))):
            start = self.entries.pop().base
        if not self.entries:
            self.start = start
        self.epoch += 1

    def end_of(self, epoch: int, end: int) -> tuple[int, int]:
        """Return the largest epoch up to one, and the offset that follows its records."""
        known = [entry for entry in self.entries if entry.epoch <= epoch and entry.base < end]
        if epoch == self.epoch:
            return epoch, end
        return (known[-1].epoch, min(end, known[-1].following)) if known else (-1, -1)


@dataclass
class Session:
    """What a broker remembers."""

    epoch: int
    asked: dict[tuple[Any, int], Any]


class Cluster:
    """Brokers that never stop; `connect` of the tests decides which brokers are reachable."""

    def __init__(self, newest: int = 17, sessions: bool = True) -> None:
        self.newest = newest
        self.keeps_sessions = sessions
        self.ids: dict[str, bytes] = {}
        self.partitions: dict[TopicPartition, Partition] = {}
        self.sessions: dict[int, dict[int, Session]] = {}
        self.requests: list[Any] = []
        self.refuses = 0
        """Error code of every response."""
        self.throttle_ms = 0
        """Throttle time of every response (quotas)."""
        self._next_session = 1000

    def create(self, name: str, leaders: list[int]) -> None:
        """Create a topic, or create it again under another id."""
        self.ids[name] = uuid.uuid4().bytes if self.newest >= TOPIC_IDS else b""
        for number, leader in enumerate(leaders):
            self.partitions[TopicPartition(name, number)] = Partition(leader)

    def topic_id(self, name: str) -> bytes | None:
        return self.ids.get(name) or None

    def forget_sessions(self) -> None:
        self.sessions.clear()

    def answer(self, node: int, version: int, body: bytes) -> bytes:
        """Return a broker's response, at once."""
        request = FetchRequest.decode(body, version=version)
        request._header = None  # noqa: SLF001 - its decoder leaves it out
        assert bytes(request.encode(version=version)) == body, "every byte has a meaning"
        self.requests.append(request)
        error, session_id, asked, told = self._session(node, version, request)
        error = error or self.refuses
        if error:
            empty = FetchResponse(throttle_time_ms=0, error_code=error, session_id=0, responses=[])
            return bytes(empty.encode(version=version))
        topics: dict[Any, list[Any]] = {}
        room = request.max_bytes
        for (key, number), wanted in list(asked.items()):
            part = self._fetch(node, version, key, number, wanted, request.rack_id)
            if room <= 0:
                part.records = b""
            elif part.records:
                asked[key, number] = asked.pop((key, number))  # last in the session's next turn
                room -= len(part.records)
            news = part.error_code or part.records or part.diverging_epoch is not None
            if (key, number) not in told or news or part.preferred_read_replica >= 0:
                topics.setdefault(key, []).append(part)
        responses = [
            FetchResponse.FetchableTopicResponse(
                **({"topic_id": key} if version >= TOPIC_IDS else {"topic": key}), partitions=parts
            )
            for key, parts in topics.items()
        ]
        response = FetchResponse(
            throttle_time_ms=self.throttle_ms,
            error_code=0,
            session_id=session_id,
            responses=responses,
        )
        return bytes(response.encode(version=version))

    def _session(
        self, node: int, version: int, request: Any
    ) -> tuple[int, int, dict[Any, Any], set[Any]]:
        lines = {
            (topic.topic_id if version >= TOPIC_IDS else topic.topic, line.partition): line
            for topic in request.topics
            for line in topic.partitions
        }
        if version < 7 or request.session_epoch == -1:
            return 0, 0, lines, set()
        kept = self.sessions.setdefault(node, {})
        if request.session_epoch == 0:
            kept.pop(request.session_id, None)
            if not self.keeps_sessions:
                return 0, 0, lines, set()
            self._next_session += 1
            kept[self._next_session] = Session(1, lines)
            return 0, self._next_session, lines, set()
        session = kept.get(request.session_id)
        if session is None:
            return 70, 0, {}, set()
        if session.epoch != request.session_epoch:
            return 71, 0, {}, set()
        session.epoch += 1
        for topic in request.forgotten_topics_data:
            for number in topic.partitions:
                key = topic.topic_id if version >= TOPIC_IDS else topic.topic
                session.asked.pop((key, number))
        told = set(session.asked)
        session.asked |= lines
        return 0, request.session_id, session.asked, told

    def _fetch(self, node: int, version: int, key: Any, number: int, wanted: Any, rack: str) -> Any:
        name = key
        if version >= TOPIC_IDS:
            names = {uuid.UUID(bytes=topic_id): name for name, topic_id in self.ids.items()}
            name = names.get(uuid.UUID(bytes=key) if isinstance(key, bytes) else key)
        partition = self.partitions.get(TopicPartition(name, number)) if name else None
        if partition is None:
            return _part(number, 100 if version >= TOPIC_IDS else 3)
        follows = node != partition.leader
        if follows and node != partition.preferred:
            return _part(number, 6)
        if 0 <= wanted.current_leader_epoch != partition.epoch:
            return _part(number, 74 if wanted.current_leader_epoch < partition.epoch else 75)
        end = max(partition.start, partition.end - partition.lag) if follows else partition.end
        if not partition.start <= wanted.fetch_offset <= end:
            return _part(number, 1, end)
        if version >= 12 and wanted.last_fetched_epoch >= 0:
            epoch, stop = partition.end_of(wanted.last_fetched_epoch, end)
            if epoch < wanted.last_fetched_epoch or stop < wanted.fetch_offset:
                return _part(number, 0, end, diverging=(epoch, stop))
        if rack and not follows and partition.preferred >= 0 and partition.preferred != node:
            return _part(number, 0, end, preferred=partition.preferred)
        found = [
            entry.data
            for entry in partition.entries
            if entry.following > wanted.fetch_offset and entry.following <= end
        ]
        return _part(number, 0, end, records=b"".join(found[:2]))


def _part(
    number: int,
    error: int,
    end: int = -1,
    *,
    records: bytes = b"",
    preferred: int = -1,
    diverging: tuple[int, int] | None = None,
) -> Any:
    part = _PartitionData(
        partition_index=number,
        error_code=error,
        high_watermark=end,
        last_stable_offset=end,
        log_start_offset=0,
        aborted_transactions=[],
        preferred_read_replica=preferred,
        records=records,
    )
    if diverging is not None:
        epoch, end_offset = diverging
        part.diverging_epoch = _PartitionData.EpochEndOffset(epoch=epoch, end_offset=end_offset)
    return part
