"""What a person on call should know of a fleet, in words, and what to do about it.

From statuses to sentences, and nothing else: no clock, no question to anybody. What is counted
since a worker's start is a concern only for as long as the history has seen it grow.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from gateway.fleet.status import WorkerState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.fleet.history import History, Sample
    from gateway.fleet.members import Member
    from gateway.fleet.status import Status

SKEW_MS = 5_000
"""Clocks that differ by less do no harm; a status is up to a second on its way."""

LAG_RECORDS = 1_000
"""Fewer are read in one fetch."""

LAG_SAMPLES = 10
"""Lag grows if it is higher, on average of so many samples, than in as many before: 30 s each."""

LATE_SECONDS = 0.5
"""The event loop of a worker that has enough CPU is never so late."""

BUSY_SHARE = 0.9
"""Of the one core that a worker can use."""

STUCK_SHARE = 0.1
STUCK_STREAMS = 10
"""A few clients that do not read are always there."""

_DOUBTS = {
    "kafka": "Streams stay open and beat; they go on where they were once Kafka answers.",
    "topics": "Make the topic, or grant the right: the worker looks again by itself.",
    "revocations": "No stream opens here until it is read: look at the topic and the rights on it.",
    "keys": "Look whether GATEWAY_JWT_JWKS_URL answers, seen from this worker's host.",
}
"""What to do about a doubt, where its own detail does not say it."""


class Severity(StrEnum):
    """How soon somebody should look."""

    CRITICAL = "critical"
    """Users do not get events, or soon will not."""
    WARNING = "warning"
    NOTICE = "notice"
    """Nothing is wrong yet, or no longer."""


class Issue(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    severity: Severity
    kind: str
    worker: str | None
    """None where it is the whole fleet's."""
    what: str
    action: str


def concerns(members: Sequence[Member], history: History, wall: int, problem: str) -> list[Issue]:
    """Return what is wrong, the worst first.

    `wall` is the time, Unix ms; `problem` says why this worker does not see the fleet, or nothing.
    """
    found = [*_of_the_fleet(members, history, problem)]
    for member in members:
        found += _of_worker(member, history, wall)
    ranks = list(Severity)
    return sorted(found, key=lambda concern: ranks.index(concern.severity))


def _of_the_fleet(members: Sequence[Member], history: History, problem: str) -> Iterator[Issue]:
    there = [m.status for m in members if m.status.state is not WorkerState.GONE]
    if there and all(status.state is not WorkerState.READY for status in there):
        yield Issue(
            Severity.CRITICAL,
            "nobody_ready",
            None,
            "No worker is ready.",
            "Load balancers send nobody here. The workers' own reasons are below.",
        )
    if problem:
        yield Issue(
            Severity.WARNING,
            "fleet_unseen",
            None,
            f"Other workers are not to be seen: {problem}.",
            "Streams are served all the same. Until it is mended this page shows one worker.",
        )
    if lag_grows(list(history.samples)):
        yield Issue(
            Severity.CRITICAL,
            "lag",
            None,
            f"Lag grows: {history.samples[-1].lag:,} records are not read yet.",
            "Events come late. If workers are at a full core add some; else look at Kafka and the"
            " network in between.",
        )
    yield from _of_topics(there)
    versions = Counter(status.version for status in there)
    if len(versions) > 1:
        [(usual, _), *_] = versions.most_common(1)
        for status in there:
            if status.version != usual:
                yield Issue(
                    Severity.NOTICE,
                    "version",
                    status.worker,
                    f"Runs version {status.version}; most run {usual}.",
                    "Expected during an update; else restart it with the version of the others.",
                )


def _of_topics(there: Sequence[Status]) -> Iterator[Issue]:
    """Tell once what every worker finds that reads the same."""
    for short in sorted(
        {short for status in there for short in status.short_retentions}, key=lambda it: it.topic
    ):
        yield Issue(
            Severity.WARNING,
            "short_retention",
            None,
            f"{short.topic} keeps records for {_lasting(short.kept_seconds)}, and clients may come"
            f" back after {_lasting(short.promised_seconds)}: they miss events (gap expired).",
            f"Set retention.ms of the topic to {short.promised_seconds * 1000:.0f} or more, or"
            " lower GATEWAY_REPLAY_MAX_AGE_SECONDS.",
        )
    found = [(status.time_off, status) for status in there if status.time_off is not None]
    for off, status in sorted(found, key=lambda pair: -abs(pair[0].seconds))[:1]:
        ahead = off.seconds > 0
        yield _concern(
            Severity.WARNING,
            "producer_clock",
            status,
            f"Reads records whose times are {_lasting(abs(off.seconds))}"
            f" {'ahead of' if ahead else 'behind'} its clock, last in"
            f" {off.topic}-{off.partition} at {off.offset}.",
            f"{'Set' if ahead else 'If the producer does not keep them back, set'} the clock (NTP)"
            " of its host: replay by age, retention and delivery times go by these times. With"
            " message.timestamp.type=LogAppendTime at the topic the broker's clock counts.",
        )


def _of_worker(member: Member, history: History, wall: int) -> Iterator[Issue]:
    status = member.status
    if status.state is WorkerState.GONE:
        if member.silent:
            yield _concern(
                Severity.WARNING,
                "gone",
                status,
                f"Was last heard of {_lasting(member.age)} ago, and did not say that it ends.",
                f"Its {status.streams:,} streams come back elsewhere, with their ids. Look at its"
                " host and log: killed, out of memory, or cut off from Kafka.",
            )
        return
    for doubt in status.doubts:
        if doubt.reason == "draining":
            yield _concern(
                Severity.NOTICE,
                "draining",
                status,
                f"Is being stopped; {status.streams:,} streams are left.",
                "Nothing to do: they end evenly, and come back elsewhere.",
            )
        elif doubt.reason != "starting":
            yield _concern(
                Severity.CRITICAL,
                f"doubt_{doubt.reason}",
                status,
                f"Not ready ({doubt.reason}): {doubt.detail}",
                _DOUBTS.get(doubt.reason, "The detail says what to do."),
            )
    if status.unread_first is not None:
        first = status.unread_first
        yield _concern(
            Severity.CRITICAL,
            "unread",
            status,
            f"Does not read {status.partitions_unread:,} partitions that have streams, among them"
            f" {first.topic}-{first.partition}: {first.reason}.",
            "Streams stay open and resume once the partition is read. Look at its leader:"
            f" kafka-topics.sh --bootstrap-server HOST:PORT --describe --topic {first.topic}",
        )
    yield from _of_records(status, history)
    yield from _of_resources(status)
    if status.at and not member.silent:
        skew = status.at - (wall - round(member.age * 1000))
        if abs(skew) > SKEW_MS:
            yield _concern(
                Severity.WARNING,
                "clock",
                status,
                f"Its clock is {abs(skew) / 1000:.0f} s {'ahead of' if skew > 0 else 'behind'}"
                " this worker's.",
                "Tokens and times are judged by it, and delivery times are wrong: set the clock"
                " (NTP) of one of the two.",
            )


def _of_records(status: Status, history: History) -> Iterator[Issue]:
    if status.mismatch_last is not None and history.lately(status.worker, "mismatches"):
        seen = status.mismatch_last
        yield _concern(
            Severity.CRITICAL,
            "partitioner",
            status,
            f"{status.partitioner_mismatches:,} keys were in other partitions than the partitioner"
            f" puts them in, last in {seen.topic}-{seen.partition} at {seen.offset}.",
            "Those users do not get their events. Set"
            f" GATEWAY_PARTITIONER={seen.reason} if all producers use it, else change the"
            " producer.",
        )
    if status.unreadable_last is not None and history.lately(status.worker, "unreadable"):
        seen = status.unreadable_last
        yield _concern(
            Severity.WARNING,
            "unreadable",
            status,
            f"Records that could not be understood: {sum(status.unreadable.values()):,}, last in"
            f" {seen.topic}-{seen.partition} at {seen.offset} ({seen.reason}).",
            "They are skipped. Show the last one: gateway record"
            f" {seen.topic} {seen.partition} {seen.offset}",
        )
    if history.lately(status.worker, "expired"):
        yield _concern(
            Severity.WARNING,
            "retention",
            status,
            "Clients came back for records that retention has removed (gap expired).",
            "Keep the topic for longer than GATEWAY_REPLAY_MAX_AGE_SECONDS (retention.ms,"
            " retention.bytes): gateway check compares the two.",
        )


def _of_resources(status: Status) -> Iterator[Issue]:
    if status.cpu_share >= BUSY_SHARE or status.loop_delay_seconds >= LATE_SECONDS:
        yield _concern(
            Severity.WARNING,
            "busy",
            status,
            f"Is at {status.cpu_share:.0%} of its core; its loop was late by up to"
            f" {status.loop_delay_seconds * 1000:.0f} ms.",
            "Everything waits for the loop. Add a worker, or give it a core of its own.",
        )
    if status.streams_stuck > max(STUCK_STREAMS, STUCK_SHARE * status.streams):
        yield _concern(
            Severity.WARNING,
            "stuck",
            status,
            f"{status.streams_stuck:,} of {status.streams:,} streams do not take what is sent.",
            "Their clients or the network to them are slow; they are closed (slow) and lose"
            " nothing. So many at once point to a proxy or a link that they share.",
        )


def lag_grows(samples: Sequence[Sample]) -> bool:
    """Whether the fleet falls behind, rather than being behind for a moment."""
    newer, older = samples[-LAG_SAMPLES:], samples[-2 * LAG_SAMPLES : -LAG_SAMPLES]
    if len(older) < LAG_SAMPLES:
        return False
    now, before = (sum(s.lag for s in part) / LAG_SAMPLES for part in (newer, older))
    return now > LAG_RECORDS and now > 1.2 * before and newer[-1].lag > LAG_RECORDS


def _concern(severity: Severity, kind: str, status: Status, what: str, action: str) -> Issue:
    return Issue(severity, kind, status.worker, what, action)


def _lasting(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"
