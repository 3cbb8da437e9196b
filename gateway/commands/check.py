"""`gateway check`: test whether a worker with these settings can serve.

Each failed finding has a remedy.
"""

from __future__ import annotations

import asyncio
import resource
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from rich.markup import escape

from gateway import log
from gateway.commands.console import ConfigFile, to_stdout
from gateway.commands.findings import (
    Finding,
    Status,
    clock_finding,
    compaction_finding,
    deletion_finding,
    events_finding,
    file_finding,
    files_finding,
    partitioner_finding,
    port_finding,
    read_record,
    retention_finding,
    topic_findings,
)
from gateway.commands.reading import reading, topic_decoder
from gateway.commands.rehearsal import Sample, postponed, rehearse
from gateway.commands.token_check import TokenFile, judge, read_token
from gateway.config import Settings, foreign_variables, load_settings
from gateway.core.records import Event, LogKind, Record, TopicPartition
from gateway.core.registry import Registry
from gateway.errors import BrokerError, KeySetError, SettingsError
from gateway.event_types import load_registry
from gateway.http.auth.signing_keys import SigningKeys
from gateway.http.transport.tls import Certificate
from gateway.kafka.client.options import connection_options
from gateway.kafka.probe import probe
from gateway.kafka.topics import (
    compactions,
    connected,
    dead_letter_topic,
    missing_rights,
    retentions,
    topic_specs,
)
from gateway.readiness import Readiness
from gateway.schemas.errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.core.event import Decoder
    from gateway.core.source import Source
    from gateway.http.auth.jwks_client import JwksClient
    from gateway.schemas.cache import Schemas

SAMPLE = 50
"""Records read from the end of each partition."""

SAMPLED_PARTITIONS = 24
"""Upper bound of sampled partitions.

Reading one takes 2 to 5 ms; the first few keys reveal a wrong partitioner.
"""

_COLOURS = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "red"}


def check(config: ConfigFile = None, token_file: TokenFile = None) -> None:
    """Check that a worker can serve with these settings.

    Checks settings, keys, ports, Kafka, topics, records and this machine, and starts a worker.
    Prints each finding on a line and its remedy below. Writes nothing to Kafka. The exit code is 1
    if a check failed.
    """
    console = to_stdout()
    findings = _findings(config, token_file)
    width = max(len(finding.what) for finding in findings)
    for what, status, found, advice in findings:
        label = f"[{_COLOURS[status]}]{status:7}[/]"
        console.print(f"{escape(what):{width}}  {label}  {escape(found)}", soft_wrap=True)
        if advice:
            console.print(f"{'':{width}}  {advice}", markup=False, soft_wrap=True)
    if any(finding.status is Status.FAILED for finding in findings):
        raise typer.Exit(1)


def _findings(config: Path | None, token_file: Path | None) -> list[Finding]:
    try:
        settings = load_settings(config)
    except SettingsError as error:
        return [Finding("settings", Status.FAILED, line) for line in str(error).splitlines()]
    log.configure("json", "critical")  # the findings contain what the worker would log
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    findings = [
        Finding("settings", Status.OK, str(config) if config else "from the environment"),
        *(
            Finding("settings", Status.WARNING, f"{name} is not a setting of the gateway: ignored")
            for name in foreign_variables()
        ),
        *_key_findings(settings),
        *_token_findings(settings, token_file),
        file_finding(
            "registry", str(settings.registry or "built in"), lambda: load_registry(settings)
        ),
        *_certificate_findings(settings),
        port_finding("GATEWAY_LISTEN", settings.listen),
        port_finding("GATEWAY_OPS_LISTEN", settings.ops_listen),
    ]
    topics = asyncio.run(_topics_findings(settings))
    findings += topics.findings
    if not any(finding.status is Status.FAILED for finding in findings):
        findings.append(
            postponed() if topics.missing else asyncio.run(rehearse(settings, topics.sample))
        )
    return [*findings, files_finding(limit, settings.max_streams)]


def _key_findings(settings: Settings) -> list[Finding]:
    """Check the keys that verify tokens: one row for each issuer."""
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
        return Finding("key", Status.FAILED, f"{client.setting}: {error.found}", error.advice)
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


def _certificate_findings(settings: Settings) -> Iterator[Finding]:
    certfile, keyfile = settings.tls_certfile, settings.tls_keyfile
    if certfile is not None and keyfile is not None:
        yield file_finding(
            "certificate", f"{certfile} and its key", lambda: Certificate(certfile, keyfile)
        )


class _Topics(NamedTuple):
    findings: list[Finding]
    sample: Sample | None = None
    """The newest event that a stream could get."""
    missing: bool = False
    """Whether a topic of events does not exist."""


async def _topics_findings(settings: Settings) -> _Topics:
    """Check schemas and Kafka."""
    try:
        async with reading(settings) as schemas:
            findings = await _schema_findings(schemas)
            topics = await _kafka_findings(settings, schemas)
    except SettingsError as error:
        findings = [Finding("schemas", Status.FAILED, str(error))]
        topics = await _kafka_findings(settings, None)
    return topics._replace(findings=[*findings, *topics.findings])


async def _schema_findings(schemas: Schemas | None) -> list[Finding]:
    """Check that the schema registry answers, if a source needs it."""
    if schemas is None or not schemas.url:
        return []
    try:
        await schemas.probe()
    except SchemaError as error:
        advice = "check GATEWAY_SCHEMA_REGISTRY_URL, its credentials and certificates"
        return [Finding("schemas", Status.FAILED, f"{schemas.url}: {error}", advice)]
    return [Finding("schemas", Status.OK, f"{schemas.url} answers")]


async def _kafka_findings(settings: Settings, schemas: Schemas | None) -> _Topics:
    """Check the cluster, its topics and their newest records."""
    specs = topic_specs(settings)
    if settings.dead_letter_topic:
        specs.append(dead_letter_topic(settings))
    samples: list[Sample] = []
    try:
        options = connection_options(settings)
        names = [spec.name for spec in specs]
        async with connected(options) as client:
            cluster = await client.describe(names)
            read = [name for name in names if name != settings.dead_letter_topic]
            refused = await missing_rights(client, cluster, read)
            existing = list(cluster.partitions)
            kept = await retentions(client, existing)
            compacted = await compactions(client, existing)
        findings = [
            Finding("Kafka", Status.OK, f"cluster {cluster.cluster_id}"),
            *topic_findings(specs, cluster, refused, settings, options),
        ]
        sources = settings.event_sources
        for topic in (source.topic for source in sources):
            if topic in cluster.partitions:
                age = settings.replay_max_age_seconds
                findings.append(retention_finding(topic, kept.get(topic), age, options))
                unwanted = deletion_finding(topic, compacted.get(topic), options)
                findings += filter(None, [unwanted])
        findings += [
            compaction_finding(topic, compacted.get(topic), options)
            for topic in (settings.revocations_topic, settings.workers_topic)
            if topic in cluster.partitions
        ]
        registry = _registry(settings)
        for source in sources:
            topic = source.topic
            if topic not in cluster.partitions or topic in refused:
                continue
            if source.format is not None and schemas is None:
                continue  # the finding of the schemas has the cause
            count = cluster.partitions[topic]
            records = await _sample(options, topic, count)
            every = [record for found in records.values() for record in found]
            decoder = await topic_decoder(registry, schemas, topic, every)
            in_file = settings.sources is not None
            findings.append(events_finding(source, records, decoder, in_file=in_file))
            if source.kind is LogKind.BROADCAST:
                continue
            now = time.time_ns() // 1_000_000
            suffix = f" of {topic}" if settings.sources else ""
            findings += [
                partitioner_finding(records, count, settings.partitioner, suffix),
                clock_finding(_newest(records), now, suffix),
            ]
            oldest = now - int(settings.replay_max_age_seconds * 1000)
            if source.kind is LogKind.USER:
                samples += _newest_event(source, records, decoder, oldest)
        sample = max(samples, key=lambda sample: sample.timestamp, default=None)
    except SettingsError as error:
        return _Topics([Finding("Kafka", Status.FAILED, str(error))])
    except BrokerError as error:
        return _Topics([Finding("Kafka", Status.FAILED, error.found, error.advice)])
    missing = any(source.topic not in cluster.partitions for source in sources)
    return _Topics(findings, sample, missing)


def _registry(settings: Settings) -> Registry:
    """Return the registry of event types; the built-in one if the configured one is unreadable.

    `_findings` reports the unreadable registry.
    """
    try:
        return load_registry(settings)
    except SettingsError:
        return Registry.built_in()


async def _sample(options: dict[str, Any], topic: str, partitions: int) -> dict[int, list[Record]]:
    async with probe(options) as looking:
        return {
            partition: await looking.newest(TopicPartition(topic, partition), SAMPLE)
            for partition in range(min(partitions, SAMPLED_PARTITIONS))
        }


def _newest(records: dict[int, list[Record]]) -> int | None:
    timestamps = [record.timestamp for found in records.values() for record in found]
    return max(timestamps, default=None)


def _newest_event(
    source: Source, records: dict[int, list[Record]], decoder: Decoder, oldest: int
) -> list[Sample]:
    """Return the newest event that is not older than `oldest` (ms), and its user; or none."""
    events = [
        Sample((source.key.name(record.key) or b"").decode(), record.timestamp)
        for found in records.values()
        for record in found
        if record.key
        and record.timestamp > oldest
        and isinstance(read_record(source, record, decoder), Event)
    ]
    return sorted(events, key=lambda sample: sample.timestamp)[-1:]
