from __future__ import annotations

import socket

import pytest

from gateway.commands.findings import (
    PartitionerName,
    Status,
    clock_finding,
    compaction_finding,
    deletion_finding,
    events_finding,
    files_finding,
    partitioner_finding,
    port_finding,
    retention_finding,
    topic_findings,
)
from gateway.config import Settings
from gateway.core.event import Decoder
from gateway.core.partitioner import partitioner
from gateway.core.records import LogKind, Record, make_record
from gateway.core.registry import Registry
from gateway.core.source import Source
from gateway.kafka.client.metadata import Cluster
from gateway.kafka.diagnosis import missing_right
from gateway.kafka.topics import topic_specs
from gateway.settings.setting_types import Address
from gateway.sources import parse_sources

PARTITIONS = 6
OPTIONS = {"bootstrap_servers": ["kafka:9092"]}


def keyed(name: PartitionerName, count: int) -> dict[int, list[Record]]:
    """Return records where producers with that partitioner would put them."""
    records: dict[int, list[Record]] = {number: [] for number in range(PARTITIONS)}
    for number in range(count):
        key = b"user-%d" % number
        partition = partitioner(name)(key, PARTITIONS)
        records[partition].append(make_record(number, 0, key, b"{}", ()))
    return records


def test_topics_are_judged_by_their_purpose() -> None:
    settings = Settings()
    cluster = Cluster("c", {"user-events": 12, "broadcast-events": 3, "gateway-revocations": 2}, {})
    findings = topic_findings(topic_specs(settings), cluster, {}, settings, OPTIONS)
    assert [(finding.what, finding.status, finding.found) for finding in findings] == [
        ("topic user-events", "ok", "12 partitions"),
        ("topic broadcast-events", "warning", "3 partitions, only the first one is read"),
        ("topic gateway-revocations", "ok", "2 partitions"),
        ("topic gateway-workers", "warning", "missing"),
    ]
    assert "--create --topic gateway-workers" in findings[3].advice


@pytest.mark.parametrize("missing", ["user-events", "broadcast-events", "gateway-revocations"])
def test_a_topic_that_streams_need_must_not_be_missing(missing: str) -> None:
    settings = Settings()
    specs = topic_specs(settings)
    cluster = Cluster("c", {spec.name: 1 for spec in specs if spec.name != missing}, {})
    findings = topic_findings(specs, cluster, {}, settings, OPTIONS)
    failed = [finding for finding in findings if finding.status is Status.FAILED]
    assert [finding.what for finding in failed] == [f"topic {missing}"]


@pytest.mark.parametrize(
    ("topic", "status"),
    [
        ("user-events", "failed"),
        ("broadcast-events", "failed"),
        ("gateway-revocations", "failed"),
        ("gateway-workers", "warning"),
    ],
)
@pytest.mark.parametrize("right", ["Describe", "Read"])
def test_a_right_that_is_missing_is_named(topic: str, status: str, right: str) -> None:
    settings = Settings()
    specs = topic_specs(settings)
    seen = [spec.name for spec in specs if right == "Read" or spec.name != topic]
    cluster = Cluster("c", dict.fromkeys(seen, 1), {})
    refused = {topic: missing_right(right, topic, OPTIONS)}
    findings = topic_findings(specs, cluster, refused, settings, OPTIONS)
    [finding] = [finding for finding in findings if finding.status is not Status.OK]
    assert (finding.what, finding.status) == (f"topic {topic}", status)
    assert right in finding.found
    assert f"--operation Read --topic {topic}" in finding.advice


@pytest.mark.parametrize(
    ("compacted", "status"), [(True, "ok"), (False, "warning"), (None, "warning")]
)
def test_revocations_must_be_compacted(compacted: bool | None, status: str) -> None:
    finding = compaction_finding("gateway-revocations", compacted, OPTIONS)
    assert finding.status == status
    assert ("cleanup.policy" in finding.advice) == (status != "ok")


@pytest.mark.parametrize(
    ("retention_ms", "status"),
    [(-1, "ok"), (3_600_000, "ok"), (3_599_000, "warning"), (None, "warning")],
)
def test_retention_must_cover_the_replay_limit(retention_ms: int | None, status: str) -> None:
    finding = retention_finding("user-events", retention_ms, 3600.0, OPTIONS)
    assert finding.status == status
    assert bool(finding.advice) == (status != "ok")


@pytest.mark.parametrize(
    ("records", "configured", "status", "text"),
    [
        (keyed("murmur2", 99), "murmur2", "ok", "fits all of 99"),
        (keyed("crc32", 99), "crc32", "ok", "fits all of 99"),
        (keyed("crc32", 99), "murmur2", "failed", "set GATEWAY_PARTITIONER=crc32"),
        (keyed("murmur2", 99), "crc32", "failed", "set GATEWAY_PARTITIONER=murmur2"),
        ({}, "murmur2", "ok", "no records"),
        ({0: [make_record(0, 0, None, b"{}", ())]}, "murmur2", "ok", "no records"),
    ],
)
def test_keys_tell_the_partitioner(
    records: dict[int, list[Record]], configured: PartitionerName, status: str, text: str
) -> None:
    finding = partitioner_finding(records, PARTITIONS, configured)
    assert finding.status == status
    assert text in f"{finding.found} {finding.advice}"


@pytest.mark.parametrize(
    ("many", "few", "text"),
    [("crc32", "murmur2", "more fit crc32"), ("murmur2", "crc32", "fix the producers that")],
)
def test_producers_that_differ_are_a_warning(
    many: PartitionerName, few: PartitionerName, text: str
) -> None:
    records = keyed(many, 200)
    for partition, others in keyed(few, 20).items():
        records[partition] += others
    finding = partitioner_finding(records, PARTITIONS, "murmur2")
    assert finding.status == "warning"
    assert text in finding.advice


@pytest.mark.parametrize(
    ("age", "status"), [(None, "ok"), (10_000, "ok"), (-4000, "ok"), (-6000, "warning")]
)
def test_a_record_of_a_time_to_come_shows_a_wrong_clock(age: int | None, status: str) -> None:
    now = 1_800_000_000_000
    assert clock_finding(None if age is None else now - age, now).status == status


@pytest.mark.parametrize("newest", [None, 1_800_000_000_000])
def test_a_clock_in_1970_is_named_also_without_records(newest: int | None) -> None:
    finding = clock_finding(newest, 5000)
    assert finding.status == "failed"
    assert finding.found == "this machine's clock says 1970-01-01"


@pytest.mark.parametrize(
    ("limit", "status"), [(1024, "warning"), (20_000, "warning"), (20_256, "ok"), (-1, "ok")]
)
def test_every_stream_needs_a_file(limit: int, status: str) -> None:
    assert files_finding(limit, 20_000).status == status


@pytest.mark.parametrize(("compacted", "warns"), [(True, True), (False, False), (None, False)])
def test_event_topic_must_not_be_compacted(compacted: bool | None, warns: bool) -> None:
    finding = deletion_finding("user-events", compacted, OPTIONS)
    assert (finding is not None) == warns
    if finding is not None:
        assert finding.status is Status.WARNING
        assert "cleanup.policy=delete" in finding.advice


def test_missing_topic_is_in_order_where_workers_create_it() -> None:
    settings = Settings(create_topics=True)
    findings = topic_findings(topic_specs(settings), Cluster("c", {}, {}), {}, settings, OPTIONS)
    assert {finding.status for finding in findings} == {Status.OK}
    assert findings[0].found == "missing; a worker creates it (12 partitions)"


ENVELOPE = b'{"event_type": "import.started", "data": {}}'


@pytest.mark.parametrize(
    ("values", "status", "found", "advice"),
    [
        ([], "ok", "no records", ""),
        ([ENVELOPE] * 3, "ok", "all of the newest 3 records are events", ""),
        (
            [b'{"data": 1}', ENVELOPE, b"\0\0\0\0\x07avro", b'{"data": 2}'],
            "warning",
            "1 of the newest 4 records are events; skipped: 2 wrong_shape (Object missing required"
            " field `event_type`), 1 not_json (the value is not JSON but written with a schema"
            " registry: schema id 7)",
            "show one with: gateway record user-events 2 3",
        ),
        (
            [b'{"event_type": 7, "data": 1}'],
            "failed",
            "0 of the newest 1 records are events; skipped: 1 wrong_shape (Expected `str`, got"
            " `int` - at `$.event_type`)",
            "show one with: gateway record user-events 2 0",
        ),
    ],
)
def test_sampled_records_show_how_many_are_events(
    values: list[bytes], status: str, found: str, advice: str
) -> None:
    records = {2: [make_record(n, 0, b"alice", value, ()) for n, value in enumerate(values)]}
    source = Source("user-events", LogKind.USER)
    finding = events_finding(source, records, Decoder(Registry.built_in()))
    assert finding == ("events of user-events", status, found, advice)


def test_records_of_a_source_show_what_is_missing() -> None:
    (source,) = parse_sources(
        '[[source]]\ntopic = "orders"\nkey = "customer:{user}"\ntype = "order.{header:kind}"\n'
        'data = "field:body"'
    )
    kind = (("kind", b"paid"),)
    records = [
        make_record(0, 0, b"customer:7", b'{"body": 1}', kind),
        make_record(1, 0, b"customer:7", b'{"body": 1}'),
        make_record(2, 0, b"customer:7", b"{}", kind),
        make_record(3, 0, b"customer:7", b"{}", kind),
        make_record(4, 0, b"7", b'{"body": 1}', kind),
    ]
    records.append(make_record(5, 0, b"customer:7", b"no json", kind))
    finding = events_finding(source, {3: records}, Decoder(Registry.built_in()))
    assert finding == (
        "events of orders",
        "warning",
        "1 of the newest 6 records are events; skipped: 2 wrong_shape (field `body` is missing),"
        " 1 wrong_shape (header `kind` is missing),"
        " 1 key_mismatch (it is not `customer:{user}`), 1 for other reasons",
        "show one with: gateway record orders 3 3",
    )


@pytest.mark.parametrize(("in_file", "advised"), [(True, True), (False, False)])
def test_records_of_another_form_need_a_mapping(*, in_file: bool, advised: bool) -> None:
    source = Source("orders", LogKind.USER)
    records = {0: [make_record(0, 0, b"7", b'{"order": 1}')]}
    decoder = Decoder(Registry.built_in())
    finding = events_finding(source, records, decoder, in_file=in_file)
    assert ("or write with type" in finding.advice) == advised


def test_port_is_free_in_use_or_not_of_this_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(f"127.0.0.1:{server.getsockname()[1]}")
        taken = port_finding("GATEWAY_LISTEN", address)
    assert (taken.status, taken.found) == (Status.WARNING, f"{address}: in use")
    assert port_finding("GATEWAY_LISTEN", address).status is Status.OK
    foreign = port_finding("GATEWAY_LISTEN", Address("192.0.2.1:8080"))
    assert (foreign.status, "GATEWAY_LISTEN" in foreign.advice) == (Status.FAILED, True)
    unknown = port_finding("GATEWAY_LISTEN", Address("no-such-host.invalid:8080"))
    assert unknown.status is Status.FAILED
