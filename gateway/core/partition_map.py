"""Partition map: the partitions that streams follow, and changes of the topics.

    change of a topic        | effect on open streams
    -------------------------+----------------------------------------------------------------------
    more partitions          | a user or group whose events go to another partition is now read from
                             | both: the new one from before the topic grew, and the former one
    another incarnation      | every cursor in the topic gets a gap `reset` and continues by time;
                             | the number of partitions may differ
    a missing topic appears  | every stream follows it: from the entries that its id has kept, from
                             | `since`, or from the time at which the stream was opened
    settling time over       | only the new partition is followed

Producers learn late that a topic has grown: for minutes some still write to the former partition.
Open and new streams therefore follow both for a settling time, and the id holds both. A client that
was disconnected returns with the former partition in its id, and follows both too. An id with the
new partition only comes from a worker on which the former one had settled.

Streams are moved one by one in bounded steps. Until its turn a stream keeps its feeds; those of a
former incarnation are not read any more, and its ids keep their entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.absent_feed import AbsentFeed
from gateway.core.budget import MOVE, Budget
from gateway.core.catch_up_state import CatchUpState
from gateway.core.event_id import MAX_ENTRIES_2, by_topic
from gateway.core.records import LogKind, TimePosition, TopicPartition
from gateway.core.request import StreamRequest
from gateway.core.route import Route
from gateway.core.start_states import is_of, start_states, unseen_since

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.event_id import CursorEntry
    from gateway.core.feed import PartitionFeed
    from gateway.core.hub import Hub
    from gateway.core.partitioner import KeyHash
    from gateway.core.records import Moment
    from gateway.core.source import Topic
    from gateway.core.stream import Stream

MOST_SHARED = 10_000
"""Tuples of feeds that streams share: four user topics of 10 partitions with unrelated keys. Beyond
it all are dropped; streams that open later share new ones."""

_LATE = 10.0
"""Seconds between the look-up of a stream's partitions and its opening, at most."""


class PartitionMap:
    """Maps users and groups to feeds: the partitions that producers select, and the broadcasts.

    `topics` are in the order of the sources; one without partitions is missing. `settle` is the
    settling time in seconds. The feeds of a stream are in the order of the topics: of a user topic
    the user's partition, then the former one while it settles; of a group topic the partitions of
    the user's groups in ascending order.
    """

    def __init__(self, hub: Hub, topics: Sequence[Topic], key_hash: KeyHash, settle: float) -> None:
        self._hub = hub
        self._settle = settle
        self._routes = [Route(topic, key_hash) for topic in topics]
        self._shared: dict[tuple[PartitionFeed, ...], tuple[PartitionFeed, ...]] = {}
        self._widened = float("-inf")
        """When a former partition was last selected (monotonic seconds)."""
        self._moving: dict[Stream, None] = {}
        """Streams whose feeds `step` has to check."""
        users = [route for route in self._routes if route.topic.kind is LogKind.USER]
        self._deciding = users[0] if len(users) == 1 else None
        """The route whose partition decides all feeds of a new stream without groups, if any."""
        self._usual: list[tuple[PartitionFeed, ...]] = []
        """The feeds of such streams by partition."""
        for route in self._routes:
            self._build(route)

    @property
    def topics(self) -> list[Topic]:
        """The topics in order, also missing ones."""
        return [route.topic for route in self._routes]

    @property
    def moving(self) -> bool:
        """Whether `step` has work."""
        return bool(self._moving)

    def partition(self, user: bytes) -> int | None:
        """Return the partition that producers now select for a user, in the first user topic.

        None without such a topic.
        """
        for route in self._routes:
            if route.topic.kind is LogKind.USER and route.feeds:
                return route.hash(user) % route.topic.partitions
        return None

    def find(
        self, request: StreamRequest, moment: Moment
    ) -> tuple[tuple[PartitionFeed, ...], bool]:
        """Return a new stream's feeds, and whether its id mismatches the known topics.

        A mismatching id may come from a worker with newer metadata: a topic has grown, or was
        recreated. Streams with the same partitions share one tuple of feeds. An entry of a
        partition that the user never had is not followed: it is forged, of another user, or of a
        group that the token no longer names. Hashes each key once. Where nothing has changed since
        its id was written, a stream costs a hash and a look-up.
        """
        deciding, hashed = self._deciding, None
        if (
            deciding is not None
            and self._usual
            and moment.monotonic - deciding.grown >= self._settle
        ):
            hashed = deciding.hash(request.user)
            usual = self._usual[hashed % len(self._usual)]
            if not request.cursor or is_of(request, usual):
                return usual, False
        owned = by_topic(request.cursor, self.topics)
        feeds: list[PartitionFeed] = []
        formers: list[PartitionFeed] = []
        mismatch = False
        for route in self._routes:
            if route.feeds:
                entries = owned.get(route.topic.name, ())
                if route is deciding and hashed is not None:
                    keys = [hashed]
                else:
                    keys = route.keys(request.user, request.groups)
                current, former, strange = self._select(route, keys, entries, moment)
                mismatch |= strange
                feeds += [*current, *former]
                formers += former
        for route in self._routes:
            if not route.feeds:
                entries = owned.get(route.topic.name, ())
                feeds += route.absent(request, entries, MAX_ENTRIES_2 - len(feeds))
        if formers:
            self._widened = moment.monotonic
        return self._share(feeds, formers), mismatch

    def feeds(self, request: StreamRequest, moment: Moment) -> tuple[PartitionFeed, ...]:
        """Return the feeds of a new stream; ignores a mismatch of its id."""
        return self.find(request, moment)[0]

    def update(self, topic: Topic, verified: int, moment: Moment) -> None:
        """Apply a topic that has grown, was recreated, or has appeared; `step` moves its streams.

        `verified` (Unix ms) is when the topic was last known to be as before: no record of a new
        partition or incarnation is older. A recreated topic must not be read any more.
        """
        route = next(route for route in self._routes if route.topic.name == topic.name)
        old = route.topic
        if topic.tag == old.tag and old.partitions:
            assert topic.partitions > old.partitions
            former = (*old.former, old.partitions)
            route.topic = topic._replace(former=former)
            route.grown = moment.monotonic
        else:
            for feed in route.feeds:
                self._hub.discard(feed)
            route.topic = topic._replace(former=())
            route.grown = float("-inf")
        route.verified = min(route.verified, verified) if self._moving else verified
        self._build(route)
        route.appear()
        self._moving = dict.fromkeys(self._hub.streams)

    def settle(self, moment: Moment) -> None:
        """Let `step` remove former partitions that have settled; to be called once a second."""
        if moment.monotonic - self._widened > self._settle + _LATE:
            return
        usual = sum(
            bool(route.feeds) and route.topic.kind is not LogKind.GROUP for route in self._routes
        )
        self._moving.update(
            {s: None for s in self._hub.streams if len(s.feeds) > usual or s.groups}
        )

    def step(self, moment: Moment) -> bool:
        """Move a bounded number of streams to the present partitions; return whether more wait."""
        budget = Budget()
        moved: list[Stream] = []
        while self._moving and budget.left > 0:
            stream, _ = self._moving.popitem()
            budget.left -= MOVE
            if not stream.closed and self._move(stream, moment):
                moved.append(stream)
        if moved:
            self._hub.advance(moved, moment)
        return bool(self._moving)

    def _move(self, stream: Stream, moment: Moment) -> bool:
        """Let a stream follow the present partitions; return whether its feeds have changed."""
        feeds: list[PartitionFeed] = []
        formers: list[PartitionFeed] = []
        absent: list[PartitionFeed] = []
        begin: dict[PartitionFeed, CatchUpState] = {}
        for route in self._routes:
            present = [feed for feed in stream.feeds if feed.log.topic == route.topic.name]
            if not route.feeds:
                absent += present
                continue
            if present and isinstance(present[0], AbsentFeed):
                current, former = self._resume(stream, route, present[0], begin, moment)
            else:
                keys = route.keys(stream.key, stream.groups)
                current = [route.feeds[partition] for partition in route.current(keys)]
                former = [
                    feed
                    for feed in present
                    if feed not in current
                    and self._hub.feeds.get(feed.log) is feed
                    and not self._is_settled(stream, feed, route, moment)
                ]
                for feed in current:
                    if feed not in present:
                        begin[feed] = self._begin(stream, feed, present, route, moment)
            if route.topic.kind is LogKind.USER:
                del former[1:]  # the topic has grown again: the oldest one is dropped
            feeds += [*current, *former]
            formers += former
        if formers:
            self._widened = moment.monotonic
        followed = self._share([*feeds, *absent], formers)
        if followed == stream.feeds:
            return False
        self._hub.follow(stream, followed, begin)
        return True

    def _select(
        self, route: Route, keys: Sequence[int], entries: Sequence[CursorEntry], moment: Moment
    ) -> tuple[list[PartitionFeed], list[PartitionFeed], bool]:
        """Return the present and former feeds of keys, and whether an entry mismatches."""
        current = route.current(keys)
        settling = moment.monotonic - route.grown < self._settle
        former, strange = route.former(keys, current, entries, settling=settling)
        feeds = route.feeds
        return [feeds[number] for number in current], [feeds[number] for number in former], strange

    def _resume(
        self,
        stream: Stream,
        route: Route,
        absent: AbsentFeed,
        begin: dict[PartitionFeed, CatchUpState],
        moment: Moment,
    ) -> tuple[list[PartitionFeed], list[PartitionFeed]]:
        """Return the stream's feeds in a topic that has appeared, and add their states to `begin`.

        The stream begins as if it was opened now with the entries that its id has kept, and in
        other partitions at the time at which it was opened.
        """
        request = StreamRequest(
            stream.key, cursor=absent.entries, since=absent.since, groups=stream.groups
        )
        keys = route.keys(stream.key, stream.groups)
        current, former, _ = self._select(route, keys, absent.entries, moment)
        feeds = [*current, *former]
        for feed, state in zip(feeds, start_states(request, feeds, moment), strict=True):
            begin[feed] = self._since_opening(stream, moment) if state.checked else state
        return current, former

    @staticmethod
    def _since_opening(stream: Stream, moment: Moment) -> CatchUpState:
        """Return the state of a stream that gets everything since it was opened."""
        opened = moment.wall - round((moment.monotonic - stream.opened) * 1000)
        return CatchUpState(TimePosition(max(opened, 0)), checked=True)

    def _is_settled(
        self, stream: Stream, feed: PartitionFeed, route: Route, moment: Moment
    ) -> bool:
        """Return whether the stream has left a former partition behind.

        Not while it is behind there: a leader may be unavailable, or a scan running.
        """
        since = max(stream.opened, route.grown)
        return moment.monotonic - since >= self._settle and feed not in stream.catching_up

    def _begin(
        self,
        stream: Stream,
        feed: PartitionFeed,
        present: Sequence[PartitionFeed],
        route: Route,
        moment: Moment,
    ) -> CatchUpState:
        """Return where a stream begins in a partition that it did not follow before."""
        if not present:
            return self._since_opening(stream, moment)
        lost = [each for each in present if self._hub.feeds.get(each.log) is not each]
        if not lost:
            known = min([stream.position(each).timestamp for each in present])
            return unseen_since(min(known, route.verified))
        old = next((each for each in lost if each.log == feed.log), lost[0])
        position, state = stream.position(old), stream.catching_up.get(old)
        since = TimePosition(min(position.timestamp, route.verified))
        reset_entry = None if state is None else state.reset_entry
        if reset_entry is None or (old.log != feed.log and old.grouped):
            partition = feed.log.partition if old.grouped else old.log.partition
            reset_entry = old.entry(position, partition)
        return CatchUpState(since, checked=False, reset_entry=reset_entry)

    def _share(
        self, feeds: Sequence[PartitionFeed], formers: Sequence[PartitionFeed]
    ) -> tuple[PartitionFeed, ...]:
        """Return the shared tuple of the feeds, without former ones if an id lacks the room."""
        if len(feeds) > MAX_ENTRIES_2:
            dropped = formers[: len(feeds) - MAX_ENTRIES_2]
            feeds = [feed for feed in feeds if feed not in dropped]
        key = tuple(feeds)
        shared = self._shared.get(key)
        if shared is None:
            if len(self._shared) >= MOST_SHARED:
                self._shared.clear()
            shared = self._shared[key] = key
        return shared

    def _build(self, route: Route) -> None:
        """Build the feeds of a topic's partitions; those of the same incarnation are reused."""
        topic = route.topic
        followed = 1 if topic.kind is LogKind.BROADCAST else topic.partitions
        route.feeds = [
            self._hub.feed(TopicPartition(topic.name, partition), topic)
            for partition in range(min(followed, topic.partitions))
        ]
        self._shared.clear()
        self._usual = self._usual_feeds()

    def _usual_feeds(self) -> list[tuple[PartitionFeed, ...]]:
        """Return the feeds of new streams by partition; empty if more than that decides them."""
        deciding = self._deciding
        if deciding is None or any(
            route.topic.kind is LogKind.GROUP or not route.feeds for route in self._routes
        ):
            return []
        return [
            self._share(
                [each.feeds[partition if each is deciding else 0] for each in self._routes], []
            )
            for partition in range(len(deciding.feeds))
        ]
