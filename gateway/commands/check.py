"""`gateway check`: does everything fit together? A table, with what to do where it does not."""

from __future__ import annotations

import asyncio
import resource
import time
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape
from rich.table import Table

from gateway.commands.console import ConfigFile, prepare, to_stdout
from gateway.commands.findings import (
    Finding,
    Status,
    clock_finding,
    compaction_finding,
    files_finding,
    partitioner_finding,
    retention_finding,
    topic_findings,
)
from gateway.commands.token_check import TokenFile, judge, read_token
from gateway.core.log import Log
from gateway.errors import BrokerError, KeySetError, SettingsError
from gateway.event_types import load_registry
from gateway.http.auth.signing_keys import SigningKeys
from gateway.kafka.client.options import connection_options
from gateway.kafka.probe import probe
from gateway.kafka.rights import missing_rights
from gateway.kafka.topics import compactions, connected, retentions, topic_specs
from gateway.ops.readiness import Readiness

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.config import Settings
    from gateway.core.log import Record
    from gateway.http.auth.jwks_client import JwksClient

SAMPLE = 50
"""Records read from the end of each partition."""

SAMPLED_PARTITIONS = 24
"""A broker answers for one in 2 to 5 ms; a wrong partitioner shows in the first few keys."""

_COLOURS = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "red"}


def check(
    config: ConfigFile = None,
    token_file: TokenFile = None,
) -> None:
    """Look at settings, key, Kafka, topics and this machine, and say what to do.

    The exit code is 1 where something failed.
    """
    table = Table("what", "", "found", "what to do", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    findings = _findings(config, token_file)
    for what, status, found, advice in findings:
        table.add_row(what, f"[{_COLOURS[status]}]{status}[/]", escape(found), escape(advice))
    to_stdout().print(table)
    if any(finding.status is Status.FAILED for finding in findings):
        raise typer.Exit(1)


def _findings(config: Path | None, token_file: Path | None) -> list[Finding]:
    try:
        settings = prepare(config)
    except SettingsError as error:
        return [Finding("settings", Status.FAILED, line) for line in str(error).splitlines()]
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [
        Finding("settings", Status.OK, str(config) if config else "from the environment"),
        *_key_findings(settings),
        *_token_findings(settings, token_file),
        _tried("registry", lambda: load_registry(settings), str(settings.registry or "built in")),
        *asyncio.run(_kafka_findings(settings)),
        files_finding(limit, settings.max_streams),
    ]


def _key_findings(settings: Settings) -> list[Finding]:
    """Judge the keys that verify tokens: one row for each issuer."""
    try:
        keys = SigningKeys(settings, Readiness())
    except SettingsError as error:
        return [Finding("key", Status.FAILED, str(error))]
    if not keys.clients:
        return [Finding("key", Status.OK, ", ".join(settings.algorithms))]
    return [asyncio.run(_published_finding(client)) for client in keys.clients]


async def _published_finding(client: JwksClient) -> Finding:
    try:
        keys = await client.load()
    except KeySetError as error:
        return Finding("key", Status.FAILED, f"{client.setting}: {error}")
    names = sorted({kid for kid, _ in keys if kid is not None})
    found = ", ".join(sorted({algorithm for _, algorithm in keys}))
    return Finding("key", Status.OK, f"{found} from {client.url}; kid {', '.join(names) or 'none'}")


def _token_findings(settings: Settings, file: Path | None) -> list[Finding]:
    if file is None:
        return []
    try:
        accepted, line = asyncio.run(judge(settings.require_key(), read_token(file)))
    except SettingsError as error:
        return [Finding("token", Status.FAILED, str(error))]
    advice = "" if accepted else "see docs/identity.md for the reason"
    return [Finding("token", Status.OK if accepted else Status.FAILED, line, advice)]


def _tried(what: str, make: Callable[[], object], found: str) -> Finding:
    try:
        make()
    except SettingsError as error:
        return Finding(what, Status.FAILED, str(error))
    return Finding(what, Status.OK, found)


async def _kafka_findings(settings: Settings) -> list[Finding]:
    specs = topic_specs(settings)
    try:
        options = connection_options(settings)
        names = [spec.name for spec in specs]
        async with connected(options) as client:
            cluster = await client.describe(names)
            refused = await missing_rights(client, cluster, names)
            existing = list(cluster.partitions)
            kept = await retentions(client, existing)
            compacted = await compactions(client, existing)
        findings = [
            Finding("Kafka", Status.OK, f"cluster {cluster.cluster_id}"),
            *topic_findings(specs, cluster, refused, settings),
        ]
        findings += [
            retention_finding(topic, kept.get(topic), settings.replay_max_age_seconds)
            for topic in (settings.topic, settings.broadcast_topic)
            if topic in cluster.partitions
        ]
        findings += [
            compaction_finding(topic, compacted.get(topic))
            for topic in (settings.revocations_topic, settings.workers_topic)
            if topic in cluster.partitions
        ]
        if settings.topic in cluster.partitions and settings.topic not in refused:
            partitions = cluster.partitions[settings.topic]
            records = await _sample(options, settings.topic, partitions)
            findings += [
                partitioner_finding(records, partitions, settings.partitioner),
                clock_finding(_newest(records), time.time_ns() // 1_000_000),
            ]
    except SettingsError as error:
        return [Finding("Kafka", Status.FAILED, str(error))]
    except BrokerError as error:
        return [Finding("Kafka", Status.FAILED, error.found, error.advice)]
    return findings


async def _sample(options: dict[str, Any], topic: str, partitions: int) -> dict[int, list[Record]]:
    async with probe(options) as looking:
        return {
            partition: await looking.newest(Log(topic, partition), SAMPLE)
            for partition in range(min(partitions, SAMPLED_PARTITIONS))
        }


def _newest(records: dict[int, list[Record]]) -> int | None:
    timestamps = [record.timestamp for found in records.values() for record in found]
    return max(timestamps, default=None)
