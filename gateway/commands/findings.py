"""What `gateway check` has found, judged: each finding with what to do about it.

Facts come in as arguments, so that every judgement can be tested without a broker.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

from gateway.core.partitioner import partitioner
from gateway.fleet.capacity import OTHER_FILES
from gateway.kafka.topics import creation_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.config import Settings
    from gateway.core.log import Record
    from gateway.kafka.diagnosis import Diagnosis
    from gateway.kafka.metadata import Cluster
    from gateway.kafka.topics import TopicSpec

SKEW_MS = 5000
"""A producer's clock may be this far ahead before `since=` and latencies mislead anyone."""


PartitionerName = Literal["murmur2", "crc32"]

_PARTITIONERS: tuple[PartitionerName, ...] = ("murmur2", "crc32")


class Status(StrEnum):
    """How a check ended."""

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
) -> list[Finding]:
    """Judge which topics exist, may be read, and have one partition where they need just one.

    `refused` has those that a right is missing on.
    """
    findings = []
    for spec in specs:
        what = f"topic {spec.name}"
        count = cluster.partitions.get(spec.name)
        needed = spec.name != settings.workers_topic
        bad = Status.FAILED if needed else Status.WARNING
        if spec.name in refused:
            findings.append(Finding(what, bad, *refused[spec.name]))
        elif count is None:
            command = creation_command(spec, ",".join(settings.kafka_bootstrap))
            findings.append(Finding(what, bad, "missing", command))
        elif count > 1 and spec.name == settings.broadcast_topic:
            findings.append(
                Finding(
                    what,
                    Status.WARNING,
                    f"{count} partitions, only the first one is read",
                    "recreate it with 1 partition",
                )
            )
        else:
            findings.append(Finding(what, Status.OK, f"{count} partition{'s' * (count > 1)}"))
    return findings


def compaction_finding(topic: str, compacted: bool | None) -> Finding:
    """Judge whether the topic keeps the last record of each key, which retention would remove."""
    what = f"compaction of {topic}"
    if compacted:
        return Finding(what, Status.OK, "compacted")
    if compacted is None:
        advice = "see that cleanup.policy is compact"
        return Finding(what, Status.WARNING, "the broker does not tell", advice)
    return Finding(
        what,
        Status.WARNING,
        "not compacted: what it holds is forgotten with its retention",
        f"kafka-configs.sh --alter --topic {topic} --add-config cleanup.policy=compact",
    )


def retention_finding(topic: str, retention_ms: int | None, max_age_seconds: float) -> Finding:
    """Judge whether the topic keeps its records as long as they may be replayed."""
    what = f"retention of {topic}"
    if retention_ms is None:
        advice = f"see that retention.ms is {max_age_seconds * 1000:.0f} or more"
        return Finding(what, Status.WARNING, "the broker does not tell", advice)
    if retention_ms < 0:
        return Finding(what, Status.OK, "for ever")
    seconds = retention_ms / 1000
    if seconds >= max_age_seconds:
        return Finding(what, Status.OK, f"{seconds:g} s")
    return Finding(
        what,
        Status.WARNING,
        f"{seconds:g} s, but up to {max_age_seconds:g} s are promised",
        f"raise retention.ms to {max_age_seconds * 1000:.0f}, or lower"
        " GATEWAY_REPLAY_MAX_AGE_SECONDS",
    )


def partitioner_finding(
    records: Mapping[int, Sequence[Record]], partitions: int, configured: PartitionerName
) -> Finding:
    """Judge whether recent keys are where the configured partitioner would have put them.

    `records` are those of each partition. One partition proves nothing.
    """
    what = "partitioner"
    keys = [
        (record.key, partition)
        for partition, found in records.items()
        for record in found
        if record.key
    ]
    if not keys or partitions == 1:
        return Finding(what, Status.OK, f"{configured}; there are no records to hold it against")
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
        advice = f"more fit {other}: set GATEWAY_PARTITIONER={other}, and mend the other producers"
    else:
        advice = (
            "mend the producers that use another one; right after the topic has gained partitions"
            " this is normal"
        )
    return Finding(what, Status.FAILED if not misses[other] else Status.WARNING, found, advice)


def clock_finding(newest_ms: int | None, now_ms: int) -> Finding:
    """Judge the clocks by the newest record, which must not be of a time to come."""
    what = "clocks"
    if newest_ms is None:
        return Finding(what, Status.OK, "there are no records to hold them against")
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
    """Judge whether the process may open a file for each stream; a limit below 0 is none."""
    needed = max_streams + OTHER_FILES
    if limit < 0 or limit >= needed:
        return Finding("open files", Status.OK, "no limit" if limit < 0 else str(limit))
    return Finding(
        "open files",
        Status.WARNING,
        f"{limit}, but {max_streams} streams may open",
        f"ulimit -n {needed} (LimitNOFILE= of systemd), or lower GATEWAY_MAX_STREAMS",
    )
