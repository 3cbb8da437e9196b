"""The judge of a history: no event lost, repeated or out of order, and no false gap.

Runs at the end of a history, when every client is connected and has read everything, and every
worker is idle.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from gateway.core import replay_plan
from gateway.core.gap import GapReason
from gateway.core.records import OffsetPosition, TopicPartition
from tests.core.clients import Client
from tests.core.seen import Crossing, SeenGap
from tests.core.world import KafkaLog, Written


def judge(client: Client) -> None:
    """Raise `AssertionError` with the first fault in a client's events and gaps."""
    if client.rogue:
        return
    for log in client.logs():
        _in_order_and_once(client, log)
        for gap in _joined(gap for gap in client.gaps if gap.log == log):
            _is_true(client, log, gap)
        _goes_on_behind_gaps(client, log)
        _complete(client, log)


def _in_order_and_once(client: Client, log: TopicPartition) -> None:
    """Check order; events may repeat after a reset, which continues by time."""
    resets = [
        gap.received for gap in client.gaps if gap.log == log and gap.reason is GapReason.RESET
    ]
    for begin, end in pairwise([0, *resets, len(client.received)]):
        seen = [client.world.events[number] for number in client.received[begin:end]]
        positions = [
            (each.incarnation, written.offset) for each, written in seen if each.log == log
        ]
        for before, after in pairwise(positions):
            assert before < after, f"{log}: {after} came after {before}"


def _goes_on_behind_gaps(client: Client, log: TopicPartition) -> None:
    """Check that events of a gap do not follow it, and that no gap is repeated.

    Gaps before a reset do not count: they may belong to the former incarnation.
    """
    gaps = [gap for gap in client.gaps if gap.log == log]
    for index, gap in enumerate(gaps):
        assert gap.next is not None
        told = _incarnation_at(client, log, gap.epoch)
        resets = (g.received for g in gaps[index + 1 :] if g.reason is GapReason.RESET)
        for number in client.received[gap.received : next(resets, None)]:
            kafka, written = client.world.events[number]
            if (kafka.log, kafka.incarnation) == (log, told):
                assert written.offset >= gap.next, f"{written} came after {gap}"
    for before, after in pairwise(gaps):
        if before.epoch == after.epoch and after.first is not None:
            assert (before.next or 0) <= after.first, f"{after} was told after {before}"


def _complete(client: Client, log: TopicPartition) -> None:
    received = set(client.received)
    if log not in client.expects:  # its worker does not follow the partition any more
        return
    begin = client.expects[log]
    for kafka in client.world.incarnations(log):
        for written in kafka.all:
            if (
                (kafka.incarnation, written.offset) < begin
                or not client.concerns(kafka, written)
                or client.is_new(kafka, written)
                or written.number in received
                or written.offset in kafka.compacted
            ):
                continue
            assert _excused(client, kafka, written), (
                f"lost: {written} of {log}, incarnation {kafka.incarnation}"
            )


def _excused(client: Client, kafka: KafkaLog, written: Written) -> bool:
    log, offset = kafka.log, written.offset
    if (kafka.incarnation, offset) < client.excused.get(log, (-1, 0)):
        return True
    if len(client.world.topics[log.topic].counts) > 1 and any(
        # The gap is told in the present partition, and covers the former one.
        gap.reason is GapReason.RESET and gap.log is not None and gap.log.topic == log.topic
        for gap in client.gaps
    ):
        return True
    gaps = [gap for gap in client.gaps if gap.log == log]
    for gap in gaps:
        assert gap.next is not None
        told = _incarnation_at(client, log, gap.epoch)
        if told < kafka.incarnation:
            continue
        if gap.reason is GapReason.RESET:
            if told > kafka.incarnation or offset < gap.next:
                return True
        elif (gap.first or 0) <= offset < gap.next:
            return True
    return any(
        _covers(client, crossing, kafka, offset, gaps)
        for crossing in client.crossings
        if crossing.log == log and crossing.incarnation >= kafka.incarnation
    )


def _covers(
    client: Client, crossing: Crossing, kafka: KafkaLog, offset: int, gaps: list[SeenGap]
) -> bool:
    """Return whether a new incarnation accepted the client's position without proof."""
    (new,) = (
        each
        for each in client.world.incarnations(kafka.log)
        if each.incarnation == crossing.incarnation
    )
    position = crossing.position
    later = new.incarnation > kafka.incarnation
    limited = [
        gap
        for gap in gaps
        if gap.reason is not GapReason.RESET
        and _incarnation_at(client, new.log, gap.epoch) == new.incarnation
    ]
    if any(later or offset < (gap.next or 0) for gap in limited):
        return True
    if crossing.foreign:
        return False
    if not isinstance(position, OffsetPosition):
        return later
    if position.offset > new.end or (position.seen and new.holds(position.offset - 1)):
        return False
    return later or offset < position.offset


def _joined(gaps: Iterable[SeenGap]) -> list[SeenGap]:
    """Return the gaps, with adjacent `limit` gaps of scan and tail joined."""
    joined: list[SeenGap] = []
    for gap in gaps:
        last = joined[-1] if joined else None
        if last and last.reason is gap.reason is GapReason.LIMIT and last.next == gap.first:
            joined[-1] = last._replace(next=gap.next, epoch=gap.epoch)
        else:
            joined.append(gap)
    return joined


def _incarnation_at(client: Client, log: TopicPartition, epoch: int) -> int:
    incarnations = [kafka.incarnation for kafka in client.world.incarnations(log)]
    return max([incarnation for incarnation in incarnations if incarnation <= epoch], default=-1)


def _is_true(client: Client, log: TopicPartition, gap: SeenGap) -> None:
    told = _incarnation_at(client, log, gap.epoch)
    logs = [kafka for kafka in client.world.incarnations(log) if kafka.incarnation <= told]
    assert any(_is_true_of(client, kafka, gap) for kafka in logs), f"a false gap: {gap}"


def _is_true_of(client: Client, kafka: KafkaLog, gap: SeenGap) -> bool:
    assert gap.next is not None
    if gap.reason is GapReason.RESET:
        crossed = any(
            (each.log == kafka.log and each.incarnation == kafka.incarnation)
            # The position was in another partition, before the topic has grown.
            or (
                each.log.topic == kafka.log.topic
                and len(client.world.topics[kafka.log.topic].counts) > 1
            )
            for each in client.crossings
        )
        skipped = [w for w in kafka.records if w.offset < gap.next]
        if (
            client.world.topics_recreated
        ):  # skipped events were sent before, by a worker with old metadata
            return True
        return crossed and not any(client.concerns(kafka, w) for w in skipped)
    assert gap.first is not None
    if gap.reason is GapReason.EXPIRED:
        return gap.first < gap.next <= kafka.start
    assert gap.reason is GapReason.LIMIT
    setup = client.world.setup
    # A worker that has not noticed that the topic was recreated reads both incarnations as one.
    read = client.world.incarnations(kafka.log) if client.world.topics_recreated else [kafka]
    events = [w for k in read for w in k.all if client.concerns(k, w) and w.offset >= gap.first]
    oldest = client.world.now - setup.max_age_ms
    young = next((w.offset for w in kafka.all if w.timestamp >= oldest), kafka.end)
    # For a range too long to be read, offsets and the cursor's age are enough; a range that was
    # read must contain an event, and records that exceed the limits.
    unseen = gap.since < oldest or kafka.end - gap.first > setup.max_records
    if unseen and gap.next - gap.first > replay_plan.SHORT:
        return True
    exceeded = (
        len(events) > setup.max_events
        or kafka.end - gap.first > setup.max_records
        or gap.first < young
    )
    return exceeded and any(w.offset < gap.next for w in events)
