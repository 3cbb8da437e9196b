"""Partition map: the partitions that streams follow, and changes of the topics.

    change of a topic        | effect on open streams
    -------------------------+----------------------------------------------------------------------
    more partitions          | a user whose events go to another partition now follows both: the new
                             | one from before the topic grew, and the former one
    another incarnation      | every cursor in the topic gets a gap `reset` and continues by time;
                             | the number of partitions may differ
    settling time over       | only the new partition is followed

Producers learn late that a topic has grown: for minutes some still write to the former partition.
Open and new streams therefore follow both for a settling time, and the id holds both. A client that
was disconnected returns with the former partition in its id, and follows both too. An id with the
new partition only comes from a worker on which the former one had settled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.records import LogKind, TimePosition, TopicPartition
from gateway.core.request import unseen_since
from gateway.core.stream import CatchUpState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.event_id import CursorEntry
    from gateway.core.hub import Hub
    from gateway.core.partitioner import KeyHash
    from gateway.core.records import Moment, Topic
    from gateway.core.stream import PartitionFeed, Stream


class PartitionMap:
    """Maps users to feeds: the partition that producers select, and the broadcasts.

    `settle` is the settling time in seconds. The feeds of a stream are in this order: its user's
    partition, the former one while it settles, the broadcast partition.
    """

    def __init__(
        self,
        hub: Hub,
        topic: Topic,
        broadcast: Topic | None,
        key_hash: KeyHash,
        settle: float,
    ) -> None:
        self.topic = topic
        self.broadcast = broadcast
        self._hub = hub
        self._key_hash = key_hash
        self._settle = settle
        self._grown = float("-inf")
        """When the topic last grew (monotonic seconds)."""
        self._pairs: dict[tuple[int, int], tuple[PartitionFeed, ...]] = {}
        """Feeds of users who follow two partitions, by (new, former) partition."""
        self._build()

    def partition(self, user: bytes) -> int:
        """Return the partition that producers now select for a user."""
        return self._key_hash(user) % self.topic.partitions

    def find(
        self, user: bytes, cursor: Sequence[CursorEntry], moment: Moment
    ) -> tuple[tuple[PartitionFeed, ...], bool]:
        """Return a new stream's feeds, and whether its id mismatches the known topics.

        `cursor` holds the entries of the id, empty without an id. A mismatching id may come from a
        worker with newer metadata: a topic has grown, or was recreated. All users of a partition
        share one tuple of feeds. An entry of a partition that the user never had is not followed:
        it is forged, or of another user. Hashes the user once; the rest is integer arithmetic,
        25 ns for each partition of the topic.
        """
        topic, hashed = self.topic, self._key_hash(user)
        partition = hashed % topic.partitions
        former = None
        mismatch = by_user_log = False
        for entry in cursor:
            if entry.kind is LogKind.BROADCAST:
                mismatch |= self.broadcast is not None and entry.tag != self.broadcast.tag
                continue
            by_user_log = True
            if entry.tag != topic.tag:
                mismatch = True
            elif entry.partition == partition:
                continue
            elif entry.partition in map(
                hashed.__mod__, range(entry.partition + 1, topic.partitions)
            ):
                former = entry.partition if former is None else former
            else:
                mismatch = True
        if not by_user_log and self._is_settling(moment):
            former = hashed % topic.former[-1]
        if former is None or former == partition:
            return self._singles[partition], mismatch
        return self._pair(partition, former), mismatch

    def feeds(
        self, user: bytes, cursor: Sequence[CursorEntry], moment: Moment
    ) -> tuple[PartitionFeed, ...]:
        """Return the feeds of a new stream; ignores a mismatch of its id."""
        return self.find(user, cursor, moment)[0]

    def grow(self, partitions: int, verified: int, moment: Moment) -> None:
        """Apply a growth of the topic: users who move follow both partitions.

        `verified` (Unix ms) is when the topic was last known to have fewer. If the topic grows
        again while it settles, the oldest partition is dropped: an id has room for two.
        """
        assert partitions > self.topic.partitions
        former = (*self.topic.former, self.topic.partitions)
        self.topic = self.topic._replace(partitions=partitions, former=former)
        self._grown = moment.monotonic
        self._build()
        for stream in list(self._hub.streams):
            old = stream.feeds[0]
            new = self.partition(stream.key)
            if old.log.partition != new:
                feeds = self._pair(new, old.log.partition)
                begin = {}
                if feeds[0] not in stream.feeds:
                    begin[feeds[0]] = unseen_since(min(stream.position(old).timestamp, verified))
                self._hub.follow(stream, feeds, begin, moment)

    def recreate(self, topic: Topic, verified: int, moment: Moment) -> None:
        """Apply that a topic was recreated: its streams get a gap `reset`.

        `verified` (Unix ms) is when the old incarnation was last seen: no record of the new one is
        older. The old one must not be read any more.
        """
        self._hub.finish_leaving()
        kind = topic.kind
        lost: dict[Stream, CatchUpState] = {}
        for stream in self._hub.streams:
            old = next(feed for feed in stream.feeds if feed.topic.kind is kind)
            state = stream.catching_up[old]
            since = TimePosition(min(state.position.timestamp, verified))
            reset_entry = state.reset_entry or old.entry(state.position)
            lost[stream] = CatchUpState(since, checked=False, reset_entry=reset_entry)
        former = [feed for feed in self._hub.feeds.values() if feed.topic.kind is kind]
        if kind is LogKind.USER:
            self.topic = topic
            self._grown = float("-inf")
            self._pairs.clear()
        else:
            self.broadcast = topic
        self._build()
        for stream, state in lost.items():
            feeds = stream.feeds
            if kind is LogKind.USER:
                feeds = self._singles[self.partition(stream.key)]
            begin = {feed: state for feed in feeds if feed.topic is topic}
            self._hub.follow(stream, feeds, begin, moment)
        for feed in former:
            if feed.topic is not topic:
                self._hub.discard(feed)

    def settle(self, moment: Moment) -> None:
        """Stop following former partitions that have settled; to be called once a second."""
        if not self._pairs:
            return
        pairs = set(self._pairs.values())
        following = [stream for stream in self._hub.streams if stream.feeds in pairs]
        for stream in following:
            since = max(stream.opened, self._grown)
            # Not while the stream is behind there: a leader may be unavailable, or a scan running.
            if (
                moment.monotonic - since >= self._settle
                and stream.feeds[1] not in stream.catching_up
            ):
                feeds = self._singles[stream.feeds[0].log.partition]
                self._hub.follow(stream, feeds, {}, moment)
        if not following and not self._is_settling(moment):
            self._pairs.clear()

    def _is_settling(self, moment: Moment) -> bool:
        return moment.monotonic - self._grown < self._settle

    def _pair(self, new: int, old: int) -> tuple[PartitionFeed, ...]:
        feeds = self._pairs.get((new, old))
        if feeds is None:
            first, *shared = self._singles[new]
            feeds = self._pairs[new, old] = (first, self._singles[old][0], *shared)
        return feeds

    def _build(self) -> None:
        """Build the feeds of all partitions; existing feeds are reused."""
        topic, broadcast = self.topic, self.broadcast
        shared = (
            ()
            if broadcast is None
            else (self._hub.feed(TopicPartition(broadcast.name, 0), broadcast),)
        )
        self._singles = [
            (self._hub.feed(TopicPartition(topic.name, partition), topic), *shared)
            for partition in range(topic.partitions)
        ]
