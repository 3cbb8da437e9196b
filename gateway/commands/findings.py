"""The findings of `gateway check`, each with a status and a remedy.

Each function takes the facts as arguments; its tests need no broker.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gateway.core.partitioner import partitioner
from gateway.core.records import Event, LogKind, Record, Unreadable
from gateway.errors import SettingsError
from gateway.fleet.capacity import OTHER_FILES
from gateway.kafka.diagnosis import config_command
from gateway.kafka.topics import TopicSpec, creation_command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.config import Settings
    from gateway.core.event import Decoder
    from gateway.core.source import Source
    from gateway.kafka.client.metadata import Cluster
    from gateway.kafka.diagnosis import Diagnosis
    from gateway.settings.setting_types import Address

MAX_FAULTS = 3
"""Upper bound of the record faults that one finding lists."""

SKEW_MS = 5000
"""Tolerated clock skew; beyond that, `since=` and latencies are wrong."""

RELEASED_MS = 1_735_689_600_000
"""2025-01-01, before this version was made: an earlier clock is wrong."""


PartitionerName = Literal["murmur2", "crc32"]

_PARTITIONERS: tuple[PartitionerName, ...] = ("murmur2", "crc32")


class Status(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(NamedTuple):
    """One row of the table."""

    what: str
    status: Status
    found: str
    advice: str = ""


def topic_findings(
    specs: Sequence[TopicSpec],
    cluster: Cluster,
    refused: Mapping[str, Diagnosis],
    settings: Settings,
    options: Mapping[str, Any],
) -> list[Finding]:
    """Check that each topic exists, is readable and has the required partition count.

    `refused` maps each topic with a missing right to its diagnosis.
    """
    read_whole = {
        source.topic for source in settings.event_sources if source.kind is LogKind.BROADCAST
    }
    findings = []
    for spec in specs:
        what = f"topic {spec.name}"
        count = cluster.partitions.get(spec.name)
        needed = spec.name not in (settings.workers_topic, settings.dead_letter_topic)
        bad = Status.FAILED if needed else Status.WARNING
        if spec.name in refused:
            findings.append(Finding(what, bad, *refused[spec.name]))
        elif count is None and settings.create_topics:
            found = f"missing; a worker creates it ({partitions_of(spec.partitions)})"
            findings.append(Finding(what, Status.OK, found))
        elif count is None:
            findings.append(Finding(what, bad, "missing", creation_command(spec, options)))
        elif count > 1 and spec.name in read_whole:
            findings.append(
                Finding(
                    what,
                    Status.WARNING,
                    f"{count} partitions, only the first one is read",
                    "recreate it with 1 partition",
                )
            )
        else:
            findings.append(Finding(what, Status.OK, partitions_of(count)))
    return findings


def partitions_of(count: int) -> str:
    """Return the number of partitions in words."""
    return f"{count} partition{'s' * (count > 1)}"


def file_finding(what: str, found: str, make: Callable[[], object]) -> Finding:
    """Check that `make`, which reads files, succeeds; `found` describes the files."""
    try:
        make()
    except SettingsError as error:
        return Finding(what, Status.FAILED, str(error))
    return Finding(what, Status.OK, found)


def port_finding(setting: str, address: Address) -> Finding:
    """Check that a worker can listen on the address, by binding it briefly."""
    try:
        for family, _, _, _, where in socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            both = where[0] == "::" and socket.has_dualstack_ipv6()
            socket.create_server(where, family=family, dualstack_ipv6=both).close()
    except OSError as error:
        fault = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        if error.errno == errno.EADDRINUSE:
            advice = f"expected if a worker is running; otherwise set {setting}"
            return Finding(setting, Status.WARNING, f"{address}: in use", advice)
        advice = f"set {setting} to an address of this machine that this user may listen on"
        return Finding(setting, Status.FAILED, f"{address}: {fault}", advice)
    return Finding(setting, Status.OK, f"{address} is free")


def read_record(source: Source, record: Record, decoder: Decoder) -> Event | Unreadable:
    """Return the event that a worker makes of a record, or why it is unreadable."""
    return decoder.decode(record, keyed=source.kind is not LogKind.BROADCAST, source=source)


def events_finding(
    source: Source,
    records: Mapping[int, Sequence[Record]],
    decoder: Decoder,
    *,
    in_file: bool = False,
) -> Finding:
    """Check how many of the newest records are events; list the faults of the others.

    `in_file` states that the source is in a file of sources.
    """
    topic = source.topic
    what = f"events of {topic}"
    faults: Counter[str] = Counter()
    last: dict[str, str] = {}
    total = 0
    for partition, found in records.items():
        for record in found:
            total += 1
            read = read_record(source, record, decoder)
            if isinstance(read, Unreadable):
                fault = f"{read.reason} ({read.detail})" if read.detail else str(read.reason)
                faults[fault] += 1
                last[fault] = f"{topic} {partition} {record.offset}"
    if not total:
        return Finding(what, Status.OK, "no records")
    bad = faults.total()
    if not bad:
        return Finding(what, Status.OK, f"all of the newest {total} records are events")
    told = faults.most_common(MAX_FAULTS)
    parts = [f"{count} {fault}" for fault, count in told]
    others = bad - sum(count for _, count in told)
    if others:
        parts.append(f"{others} for other reasons")
    found_text = f"{total - bad} of the newest {total} records are events; skipped: "
    found_text += ", ".join(parts)
    advice = f"show one with: gateway record {last[told[0][0]]}"
    if source.mapping is None and bad == total and in_file:
        advice += "; or write with type, in its [[source]], how these records become events"
    return Finding(what, Status.WARNING if bad < total else Status.FAILED, found_text, advice)


def deletion_finding(
    topic: str, compacted: bool | None, options: Mapping[str, Any]
) -> Finding | None:
    """Warn if compaction can remove events before clients receive them."""
    if not compacted:
        return None
    return Finding(
        f"compaction of {topic}",
        Status.WARNING,
        "compacted: Kafka keeps only each user's newest event; older ones are lost without a gap",
        config_command(topic, "cleanup.policy=delete", options),
    )


def compaction_finding(topic: str, compacted: bool | None, options: Mapping[str, Any]) -> Finding:
    """Check that the topic is compacted: it must keep the last record of each key."""
    what = f"compaction of {topic}"
    if compacted:
        return Finding(what, Status.OK, "compacted")
    if compacted is None:
        advice = "make sure that cleanup.policy is compact"
        return Finding(what, Status.WARNING, "not reported by the broker", advice)
    return Finding(
        what,
        Status.WARNING,
        "not compacted: its records expire with its retention",
        config_command(topic, "cleanup.policy=compact", options),
    )


def retention_finding(
    topic: str, retention_ms: int | None, max_age_seconds: float, options: Mapping[str, Any]
) -> Finding:
    """Check that the topic keeps records for at least the replay period."""
    what = f"retention of {topic}"
    if retention_ms is None:
        advice = f"make sure that retention.ms is {max_age_seconds * 1000:.0f} or more"
        return Finding(what, Status.WARNING, "not reported by the broker", advice)
    if retention_ms < 0:
        return Finding(what, Status.OK, "unlimited")
    seconds = retention_ms / 1000
    if seconds >= max_age_seconds:
        return Finding(what, Status.OK, f"{seconds:g} s")
    return Finding(
        what,
        Status.WARNING,
        f"{seconds:g} s, but GATEWAY_REPLAY_MAX_AGE_SECONDS promises {max_age_seconds:g} s",
        config_command(topic, f"retention.ms={max_age_seconds * 1000:.0f}", options),
    )


def partitioner_finding(
    records: Mapping[int, Sequence[Record]],
    partitions: int,
    configured: PartitionerName,
    suffix: str = "",
) -> Finding:
    """Check that recent keys are where the configured partitioner puts them.

    `records` maps each partition to its newest records. A single partition proves nothing. `suffix`
    names the topic, if there are several.
    """
    what = f"partitioner{suffix}"
    keys = [
        (record.key, partition)
        for partition, found in records.items()
        for record in found
        if record.key
    ]
    if not keys or partitions == 1:
        return Finding(what, Status.OK, f"{configured}; no records to check it with")
    misses = {
        name: sum(partitioner(name)(key, partitions) != partition for key, partition in keys)
        for name in _PARTITIONERS
    }
    missed = misses[configured]
    if not missed:
        return Finding(what, Status.OK, f"{configured} fits all of {len(keys)} recent keys")
    other = min(misses, key=misses.__getitem__)
    found = f"{configured} does not fit {missed} of {len(keys)} recent keys"
    if not misses[other]:
        advice = f"set GATEWAY_PARTITIONER={other}"
    elif other != configured:
        advice = f"more fit {other}: set GATEWAY_PARTITIONER={other}, and fix the other producers"
    else:
        advice = (
            "fix the producers that use another one; expected right after partitions were added"
        )
    return Finding(what, Status.FAILED if not misses[other] else Status.WARNING, found, advice)


def clock_finding(newest_ms: int | None, now_ms: int, suffix: str = "") -> Finding:
    """Check the clocks: this machine's, and that the newest record is not in the future."""
    what = f"clocks{suffix}"
    if now_ms < RELEASED_MS:
        return Finding(
            what,
            Status.FAILED,
            f"this machine's clock says {datetime.fromtimestamp(now_ms / 1000, UTC):%Y-%m-%d}",
            "set it: tokens, replays and retention depend on the time",
        )
    if newest_ms is None:
        return Finding(what, Status.OK, "no records to check them with")
    ahead = newest_ms - now_ms
    if ahead > SKEW_MS:
        return Finding(
            what,
            Status.WARNING,
            f"the newest record is {ahead / 1000:.1f} s ahead of this machine",
            "synchronise the clocks of this machine and of the producers",
        )
    return Finding(what, Status.OK, f"the newest record is {-ahead / 1000:.1f} s old")


def files_finding(limit: int, max_streams: int) -> Finding:
    """Check the file limit against `max_streams`; `limit` < 0 means unlimited."""
    needed = max_streams + OTHER_FILES
    if limit < 0 or limit >= needed:
        return Finding("open files", Status.OK, "no limit" if limit < 0 else str(limit))
    return Finding(
        "open files",
        Status.WARNING,
        f"the limit is {limit}; {max_streams} streams (GATEWAY_MAX_STREAMS) need {needed}",
        f"ulimit -n {needed} (LimitNOFILE= of systemd), or lower GATEWAY_MAX_STREAMS",
    )
