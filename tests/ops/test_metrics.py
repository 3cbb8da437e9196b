from __future__ import annotations

import platform
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from gateway import __version__
from gateway.core.admission import Refusal
from gateway.core.gap import CloseReason, GapReason
from gateway.core.observer import Path, Summary
from gateway.core.records import Moment, TopicPartition, UnreadableReason
from gateway.delivery_times import DELIVERY_BUCKETS
from gateway.errors import TokenFault
from gateway.metrics import Metrics
from gateway.ops.pseudonyms import Pseudonyms
from gateway.ops.stream_log import StreamLog
from gateway.supervise import Part, Supervisor
from gateway.throttled_log import ThrottledLog

LOG = TopicPartition("user-events", 3)
NOW = Moment(1.0, 1_700_000_000_000)
SCAN = Summary(LOG, (), 500, 3)

DESIGN = {
    "gateway_events_sent_total": {"path": set(Path)},
    "gateway_gaps_total": {"reason": set(GapReason)},
    "gateway_closes_total": {"reason": set(CloseReason)},
    "gateway_rejects_total": {
        "reason": {
            *("bad_request", "unauthorized", "forbidden", "not_found", "method_not_allowed"),
            *("uri_too_long", "head_too_large", "internal_error", "service_unavailable"),
            "insufficient_scope",
            *Refusal,
        }
    },
    "gateway_token_refusals_total": {"reason": set(TokenFault)},
    "gateway_unreadable_records_total": {"reason": set(UnreadableReason)},
    "gateway_delivery_seconds_count": {},
    "gateway_replay_seconds_count": {},
    "gateway_replay_records_scanned_total": {},
    "gateway_unknown_types_total": {},
    "gateway_dead_letters_total": {"result": {"written", "discarded"}},
    "gateway_internal_errors_total": {"part": set(Part)},
    "gateway_partitioner_mismatches_total": {},
    "gateway_records_read_total": {},
    "gateway_fetch_stalls_total": {},
    "gateway_redirects_total": {},
    "gateway_handovers_total": {},
    "gateway_info": {"version": {__version__}},
    "gateway_build_info": {"version": {__version__}, "python": {platform.python_version()}},
    "gateway_loop_delay_seconds_count": {},
    "gateway_streams_open": {},
}
"""Every metric that does not need a worker, with all its labels and their values, and one gauge."""


def make_metrics(partitioner: str = "murmur2") -> Metrics:
    return Metrics(ThrottledLog(lambda: 0.0), StreamLog(Pseudonyms(None)), partitioner)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_names_and_labels_are_those_of_the_design() -> None:
    metrics = make_metrics()
    metrics.gauge("gateway_streams_open", "Streams that are open", lambda: 7)
    metrics.rejected("unauthorized")
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            if sample.name.endswith(("_bucket", "_sum")):
                continue
            if sample.name.startswith("process_"):
                continue
            labels = found.setdefault(sample.name, {})
            for label, text in sample.labels.items():
                labels.setdefault(label, set()).add(text)
    assert found == DESIGN


def test_contained_exception_is_counted_and_logged_with_its_traceback() -> None:
    metrics = make_metrics()
    with capture_logs() as lines, Supervisor(metrics).contain(Part.FLEET):
        raise ValueError("text of a client")
    assert value(metrics, "gateway_internal_errors_total", part="fleet") == 1
    [line] = lines
    assert (line["log_level"], line["part"]) == ("error", "fleet")
    assert isinstance(line["exc_info"], ValueError)


def test_a_gauge_is_asked_for_when_it_is_read() -> None:
    metrics = make_metrics()
    streams: list[int] = []
    metrics.gauge("gateway_streams_open", "Streams that are open", lambda: len(streams))
    assert value(metrics, "gateway_streams_open") == 0
    streams.append(1)
    assert value(metrics, "gateway_streams_open") == 1


@pytest.mark.parametrize("path", Path)
def test_events_are_counted_by_path_and_only_live_ones_are_timed(path: Path) -> None:
    metrics = make_metrics()
    metrics.sent(path, [(NOW.wall - 10, 3), (NOW.wall - 1000, 2)], NOW)
    counts = {each: value(metrics, "gateway_events_sent_total", path=each) for each in Path}
    assert counts == {each: 5 if each is path else 0 for each in Path}
    timed = value(metrics, "gateway_delivery_seconds_count")
    assert timed == (5 if path is Path.LIVE else 0)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(-5_000, 20_000), st.integers(1, 50)), max_size=5), max_size=8
    )
)
def test_delivery_times_are_those_of_a_histogram_that_was_fed_one_by_one(
    batches: list[list[tuple[int, int]]],
) -> None:
    metrics = make_metrics()
    registry = CollectorRegistry()
    expected = Histogram(
        "gateway_delivery_seconds", "x", buckets=DELIVERY_BUCKETS, registry=registry
    )
    for batch in batches:
        metrics.sent(Path.LIVE, [(NOW.wall - age, number) for age, number in batch], NOW)
        for age, number in batch:
            for _ in range(number):
                expected.observe(max(0, age) / 1000)
    bounds = [str(bound) for bound in DELIVERY_BUCKETS] + ["+Inf"]
    counts = [
        value(metrics, "gateway_delivery_seconds_bucket", le=bound) or 0.0 for bound in bounds
    ]
    assert counts == [
        registry.get_sample_value("gateway_delivery_seconds_bucket", {"le": bound})
        for bound in bounds
    ]
    assert counts == sorted(counts)
    for name in ("gateway_delivery_seconds_sum", "gateway_delivery_seconds_count"):
        assert value(metrics, name) == pytest.approx(registry.get_sample_value(name))


@pytest.mark.parametrize(
    ("happen", "name", "labels", "count"),
    [
        (lambda m: m.gap(GapReason.RESET), "gateway_gaps_total", {"reason": "reset"}, 1),
        (lambda m: m.rejected("not_found"), "gateway_rejects_total", {"reason": "not_found"}, 1),
        (
            lambda m: m.unreadable(LOG, 7, UnreadableReason.NOT_JSON),
            "gateway_unreadable_records_total",
            {"reason": UnreadableReason.NOT_JSON},
            1,
        ),
        (
            lambda m: m.token_refused(TokenFault.EXPIRED),
            "gateway_token_refusals_total",
            {"reason": "expired"},
            1,
        ),
        (
            lambda m: m.dead_letter("written"),
            "gateway_dead_letters_total",
            {"result": "written"},
            1,
        ),
        (lambda m: m.unknown_type("a.b"), "gateway_unknown_types_total", {}, 1),
        (lambda m: m.misplaced(LOG, 7, 1), "gateway_partitioner_mismatches_total", {}, 1),
        (lambda m: m.replayed(0.3, SCAN), "gateway_replay_records_scanned_total", {}, 500),
        (lambda m: m.replayed(0.3, SCAN), "gateway_replay_seconds_bucket", {"le": "0.5"}, 1),
        (lambda m: m.replayed(0.3, SCAN), "gateway_replay_seconds_bucket", {"le": "0.25"}, 0),
    ],
)
def test_what_happens_is_counted(
    happen: Callable[[Metrics], None], name: str, labels: dict[str, str], count: int
) -> None:
    metrics = make_metrics()
    happen(metrics)
    assert value(metrics, name, **labels) == count


def test_nothing_that_a_producer_writes_becomes_a_label() -> None:
    metrics = make_metrics()
    for number in range(100):
        metrics.unknown_type(f"mischief.{number}")
        metrics.misplaced(LOG, number, number)
        metrics.unreadable(TopicPartition("user-events", number), number, UnreadableReason.NOT_JSON)
    text = metrics.text().decode()
    assert "mischief" not in text
    labels = {"path", "reason", "le", "part", "result", "version", "python"}
    assert set(re.findall(r'(\w+)="', text)) == labels


@pytest.mark.parametrize(("own", "other"), [("murmur2", "crc32"), ("crc32", "murmur2")])
def test_a_misplaced_key_is_logged_with_the_setting_to_change(
    own: str, other: str, capfd: pytest.CaptureFixture[str]
) -> None:
    make_metrics(own).misplaced(LOG, 7, 1)
    line = capfd.readouterr().out
    assert f"GATEWAY_PARTITIONER={other}" in line
    assert re.search(r"expected_partition\W+1\b", line)
    assert re.search(r"offset\W+7\b", line)


def test_refusals_are_counted_and_logged_once_a_second_per_reason() -> None:
    metrics = make_metrics()
    with capture_logs() as lines:
        for number in range(5):
            metrics.rejected("unauthorized", status=401, request_id=str(number))
            metrics.rejected("not_found", status=404, request_id=str(number))
            metrics.rejected("bad_request")
    assert value(metrics, "gateway_rejects_total", reason="unauthorized") == 5
    assert value(metrics, "gateway_rejects_total", reason="bad_request") == 5
    assert [(line["event"], line["reason"], line["request_id"]) for line in lines] == [
        ("request refused", "unauthorized", "0"), ("request refused", "not_found", "0")
    ]  # fmt: skip
