"""Invariants of a worker at any time."""

from __future__ import annotations

from gateway.core.feed import PartitionFeed
from gateway.core.records import TimePosition
from gateway.core.stream import State, Stream
from tests.core.workers import Worker


def assert_consistent(worker: Worker) -> None:
    """Check redundant state of the hub, and that no stream is stranded.

    A partition with streams that wait for a scan must have a scan running or requested, and each
    stream that is behind must be in a set from which the hub will advance it.
    """
    hub = worker.hub
    for feed in hub.feeds.values():
        following = {stream for stream in hub.streams if feed in stream.feeds}
        assert feed.streams == len(following)
        _live_is_not_behind(worker, feed, following)
        _nobody_is_forgotten(worker, feed, following)
        scanned = feed in worker.woken or feed in worker.hub.scans
        assert not feed.waiting or feed.tail is None or scanned, "streams wait without a scan"
    for feed in hub.feeds.values():
        assert not len(feed.index) or (feed.keyed and feed.tail is not None)
    for stream in hub.streams:
        assert not stream.closed
        assert (stream.state is State.STUCK) == (stream.stuck_since is not None)


def _live_is_not_behind(worker: Worker, feed: PartitionFeed, following: set[Stream]) -> None:
    live = feed.live()
    assert len(live) == len(set(live))
    assert set(live) == {stream for stream in following if feed not in stream.catching_up}
    leaving = feed in worker.hub._tails._leaving  # noqa: SLF001
    assert not live or feed.tail is not None or leaving
    assert not (feed.live_unkeyed if feed.keyed else feed.live_by_key)
    assert not (feed.live_by_key if feed.grouped else feed.live_by_group)
    for key, streams in [*feed.live_by_key.items(), *feed.live_by_group.items()]:
        assert streams, "an empty list of live streams"
        assert all(key in feed.keys(stream) for stream in streams)


def _nobody_is_forgotten(worker: Worker, feed: PartitionFeed, following: set[Stream]) -> None:
    scan = worker.hub.scans.get(feed)
    seekers = {} if scan is None else scan.seekers
    ready = worker.hub._ready._streams  # noqa: SLF001
    assert worker.busy or not ready, "streams are queued without a step"
    assert not seekers.keys() & feed.waiting.keys()
    for others in (feed.parked, feed.waiting, seekers):
        assert others.keys() <= following, "a removed stream is kept"
    for stream, state in feed.waiting.items():
        assert stream.catching_up[feed] is state
    for stream, seeker in seekers.items():
        assert stream.catching_up[feed] is seeker.state
    for stream in following:
        if feed not in stream.catching_up:
            continue
        state = stream.catching_up[feed]
        assert state.scanning == (stream in feed.waiting or stream in seekers)
        if stream.stuck_since is not None or state.scanning or stream in ready:
            continue
        assert not state.backlog
        assert stream in feed.parked, "no event will advance the stream"
        if feed.tail is not None:
            assert not isinstance(state.position, TimePosition)
            assert state.position.offset > feed.tail.head.offset
