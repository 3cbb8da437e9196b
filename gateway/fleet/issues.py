"""The issues of a fleet as text for operators: the fault and the remedy.

Issues are derived from statuses alone: no clock, no I/O. A count since a worker's start is an issue
only while the history contains an increase of it.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from gateway.fleet.status import Status, WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.fleet.history import History, Sample
    from gateway.fleet.members import Member

SKEW_MS = 5_000
"""Smaller differences are harmless; a status arrives within a second."""

LAG_RECORDS = 1_000
"""One fetch reads fewer records."""

LAG_SAMPLES = 10
"""Lag grows if its average over this many samples, 30 s, exceeds that of the 30 s before."""

LATE_SECONDS = 0.5
"""The event loop of a worker with enough CPU is never this late."""

BUSY_SHARE = 0.9
"""Share of the one core that a worker can use."""

STUCK_SHARE = 0.1
STUCK_STREAMS = 10
"""Any fleet has a few clients that do not read."""

_REMEDIES = {
    "kafka": "Streams stay open with heartbeats and resume once Kafka answers.",
    "topics": "Create the topic, or grant the right: the worker checks again without a restart.",
    "revocations": "No stream opens here until the topic is read: check it and the rights on it.",
    "keys": "Check that GATEWAY_JWT_JWKS_URL answers on this worker's host.",
    "schemas": "Check the registry and its settings: the worker asks again every 2 s.",
}
"""Remedies by not-ready reason, for reasons whose detail lacks a remedy."""


class Severity(StrEnum):
    """How soon an operator should act."""

    CRITICAL = "critical"
    """Users get no events, or soon will not."""
    WARNING = "warning"
    NOTICE = "notice"
    """No fault yet, or a fault that is over."""


class Issue(msgspec.Struct, frozen=True):
    """One fault, with its remedy."""

    severity: Severity
    kind: str
    worker: str | None
    """None: the issue concerns the whole fleet."""
    what: str
    action: str


def find_issues(
    members: Sequence[Member],
    history: History,
    wall: int,
    problem: str,
    describe: Callable[[str], str],
) -> list[Issue]:
    """Return all issues, the most severe first.

    `wall` is the time in Unix ms; `problem` is the reason why fleet status is unavailable, or "".
    `describe` returns the command that shows the leaders of a topic.
    """
    found = [*_of_the_fleet(members, history, problem)]
    for member in members:
        found += _of_worker(member, history, wall, describe)
    ranks = list(Severity)
    return sorted(found, key=lambda issue: ranks.index(issue.severity))


def _of_the_fleet(members: Sequence[Member], history: History, problem: str) -> Iterator[Issue]:
    there = [m.status for m in members if m.status.state is not WorkerState.GONE]
    if there and all(status.state is not WorkerState.READY for status in there):
        yield Issue(
            Severity.CRITICAL,
            "nobody_ready",
            None,
            "No worker is ready.",
            "Load balancers send no clients here. The workers' own reasons are below.",
        )
    if problem:
        yield Issue(
            Severity.WARNING,
            "fleet_unseen",
            None,
            f"Other workers are not visible: {problem}.",
            "Streams are not affected. Until this is fixed the page shows one worker.",
        )
    if lag_grows(list(history.samples)):
        yield Issue(
            Severity.CRITICAL,
            "lag",
            None,
            f"Lag grows: {history.samples[-1].lag:,} records are not read yet.",
            "Events are late. If workers use a full core, add workers; else check Kafka and the"
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
    """Yield issues of topics once, although each worker reports them."""
    for short in sorted(
        {short for status in there for short in status.short_retentions}, key=lambda it: it.topic
    ):
        yield Issue(
            Severity.WARNING,
            "short_retention",
            None,
            f"{short.topic} keeps records for {_lasting(short.kept_seconds)}, and clients may"
            f" resume after {_lasting(short.promised_seconds)}: they miss events (gap expired).",
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
            " of its host: replay by age, retention and delivery times use these times. With"
            " message.timestamp.type=LogAppendTime at the topic the broker's clock is used.",
        )


def _of_worker(
    member: Member, history: History, wall: int, describe: Callable[[str], str]
) -> Iterator[Issue]:
    status = member.status
    if status.state is WorkerState.GONE:
        if member.silent:
            yield _concern(
                Severity.WARNING,
                "gone",
                status,
                f"Has sent no status for {_lasting(member.age)}, and did not announce its end.",
                f"Its {status.streams:,} streams resume on other workers. Check its host and log:"
                " killed, out of memory, or disconnected from Kafka.",
            )
        return
    for doubt in status.doubts:
        if doubt.reason == "draining":
            yield _concern(
                Severity.NOTICE,
                "draining",
                status,
                f"Is being stopped; {status.streams:,} streams are left.",
                "No action needed: the streams end evenly and resume on other workers.",
            )
        elif doubt.reason != "starting":
            ready = status.state is WorkerState.READY
            yield _concern(
                Severity.WARNING if ready else Severity.CRITICAL,
                f"doubt_{doubt.reason}",
                status,
                f"{'Degraded' if ready else 'Not ready'} ({doubt.reason}): {doubt.detail}",
                _REMEDIES.get(doubt.reason, "The detail names the remedy."),
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
            f" {describe(first.topic)}",
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
    if status.mismatch_last is not None and history.has_grown(status.worker, "mismatches"):
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
    if status.unreadable_last is not None and history.has_grown(status.worker, "unreadable"):
        seen = status.unreadable_last
        yield _concern(
            Severity.WARNING,
            "unreadable",
            status,
            f"Unreadable records: {sum(status.unreadable.values()):,}, last in"
            f" {seen.topic}-{seen.partition} at {seen.offset} ({seen.reason}).",
            "Unreadable records are skipped. Show the last one: gateway record"
            f" {seen.topic} {seen.partition} {seen.offset}",
        )
    if history.has_grown(status.worker, "expired"):
        yield _concern(
            Severity.WARNING,
            "retention",
            status,
            "Clients resumed from records that retention has removed (gap expired).",
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
            "All streams wait for the loop. Add a worker, or give this one a dedicated core.",
        )
    if status.streams_stuck > max(STUCK_STREAMS, STUCK_SHARE * status.streams):
        yield _concern(
            Severity.WARNING,
            "stuck",
            status,
            f"{status.streams_stuck:,} of {status.streams:,} streams do not read their data.",
            "Their clients or the network to them are slow; the streams are closed (slow) and"
            " resume without loss. Many slow clients at once indicate a shared proxy or link.",
        )


def lag_grows(samples: Sequence[Sample]) -> bool:
    """Return whether lag rises steadily, rather than for a moment."""
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
