from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from gateway.core import event_id
from gateway.core.event_id import CursorEntry
from gateway.core.filter import Selection
from gateway.core.records import LogKind, OffsetPosition
from gateway.core.request import StreamRequest
from gateway.errors import BadRequest
from gateway.http.auth.claims import Identity
from gateway.http.query import (
    LATEST_SINCE,
    SECONDS_BELOW,
    last_event_id,
    read_categories,
    read_opening,
    read_types,
)

CATEGORIES = ("data_sync", "ai", "import")
IDENTITY = Identity("zoë", "session-1", 2e9, 1e9)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = 1_769_860_800_000
"""2026-01-31T12:00:00Z in Unix ms."""

MARK = CursorEntry(LogKind.USER, b"tagA", 3, OffsetPosition(40, 999, True))
ID = event_id.encode([MARK]).decode()
OTHER = event_id.encode([MARK._replace(partition=4)]).decode()
THIRD = event_id.encode([MARK._replace(partition=5)]).decode()


def request(query: str = "", *ids: str) -> web.Request:
    headers = CIMultiDict([("Last-Event-ID", each) for each in ids])
    return make_mocked_request("GET", f"/api/v1/events?{query}", headers)


def opening(query: str = "", *ids: str) -> StreamRequest:
    return read_opening(request(query, *ids), IDENTITY)


def types(query: str) -> Selection | None:
    return read_types(request(query).query)


def categories(query: str) -> frozenset[str]:
    return read_categories(request(query).query, CATEGORIES)


def test_a_plain_request_asks_for_everything_from_now_on() -> None:
    assert opening() == StreamRequest("zoë".encode(), session="session-1", issued_at=1e9)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("categories=ai", {"ai"}),
        ("categories=ai,import", {"ai", "import"}),
        ("categories=ai&categories=import", {"ai", "import"}),
        ("categories=ai,import&categories=ai", {"ai", "import"}),
        ("categories=ai,%20import%20", {"ai", "import"}),
        ("categories=ai%2Cimport", {"ai", "import"}),
        ("categories=,ai,,", {"ai"}),
        ("categories=", set()),
        ("categories=,", set()),
        ("categories=%20&categories=", set()),
        ("category=ai", set()),
    ],
)
def test_categories(query: str, wanted: set[str]) -> None:
    assert categories(query) == wanted


@pytest.mark.parametrize("value", ["weather", "ai,weather", "AI", "ai;import", "ai|import", "*"])
def test_an_unknown_category_is_refused_with_the_valid_ones(value: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        categories(f"categories={value}")
    assert "data_sync, ai, import" in refusal.value.detail


def test_the_refusal_of_a_very_long_category_is_short() -> None:
    with pytest.raises(BadRequest) as refusal:
        categories(f"categories={'x' * 5000}")
    assert len(refusal.value.detail) < 250


@pytest.mark.parametrize(
    ("query", "patterns"),
    [
        ("types=import.started", ["import.started"]),
        ("types=import.*,ai.response.complete", ["ai.response.complete", "import.*"]),
        ("types=import.*&types=%20a%20,,", ["a", "import.*"]),
        ("types=a.b%2Ca.*", ["a.*", "a.b"]),
        ("types=caf%C3%A9.*", ["café.*"]),
        ("types=import.*,*", None),
        ("types=", None),
        ("types=,", None),
        ("type=import.started", None),
    ],
)
def test_types(query: str, patterns: list[str] | None) -> None:
    selection = types(query)
    assert (selection and selection.patterns) == patterns


@pytest.mark.parametrize("value", ["a*", "*.b", "a.*.b", "a.**", "%00", "stream.gap", "x" * 256])
def test_an_invalid_type_is_refused_with_the_remedy(value: str) -> None:
    with pytest.raises(BadRequest, match=r"types: .*(import\.\*|leave it out)"):
        types(f"types={value}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1769860800123", 1_769_860_800_123),
        ("001769860800123", 1_769_860_800_123),
        ("1769860800", 1_769_860_800_000),
        ("99999999999", 99_999_999_999_000),
        ("100000000000", 100_000_000_000),
        (str(LATEST_SINCE - 1), LATEST_SINCE - 1),
        ("2026-01-31T12:00:00Z", NOON),
        ("2026-01-31t12:00:00z", NOON),
        ("2026-01-31T12:00Z", NOON),
        ("2026-01-31T12:00:00.1Z", NOON + 100),
        ("2026-01-31T12:00:00.001Z", NOON + 1),
        ("2026-01-31T12:00:00.0019Z", NOON + 1),
        ("2026-01-31T12:00:00.123456789Z", NOON + 123),
        ("2026-01-31T17:30:00+05:30", NOON),
        ("2026-01-31T17:30:00 05:30", NOON),
        ("2026-01-31T04:00:00-08:00", NOON),
        ("2026-01-31T12:00:00-00:00", NOON),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:59:59+00:59", 59_000),
    ],
)
def test_a_start_in_the_past(text: str, expected: int) -> None:
    assert opening(str(URL.build(query={"since": text}))[1:]).since == expected


def test_unescaped_plus_sign_is_accepted() -> None:
    assert opening("since=2026-01-31T17:30:00+05:30").since == NOON


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "now", "-1", "+1", "1.5", "1e9", "1_000", "0x10", "nan", "NaN", "inf", "٣",
        str(LATEST_SINCE), "9" * 15, "9" * 16, "9" * 5000,
        "2026-01-31", "2026-01-31Z", "2026-01-31T12Z", "2026-01-31T12:00:00", "12:00:00Z",
        "2026-13-31T12:00:00Z", "2026-02-30T12:00:00Z", "2026-01-31T25:00:00Z",
        "2026-01-31T12:00:60Z", "2026-01-31T12:00:00+24:00", "2026-01-31T12:00:00+0100",
        "2026-01-31T12:00:00.Z", "2026-01-31T12:00:00,5Z", "2026-01-31 12:00:00Z",
        "20260131T120000.000000Z", "2026-W05-6T12:00:00Z", "٢026-01-31T12:00:00Z",
        "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59Z", "2026-01-31T12:00:00Z\n", "\x00", "x" * 5000,
    ],
    ids=lambda text: repr(text[:26]),
)  # fmt: skip
def test_invalid_start_time_is_rejected(text: str) -> None:
    with pytest.raises(BadRequest, match="since must be an RFC 3339 time"):
        opening(str(URL.build(query={"since": text}))[1:])


@given(
    st.integers(0, 4_102_444_800_000),
    st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_a_start_is_exact_to_the_millisecond_in_every_offset(
    milliseconds: int, zone: timezone
) -> None:
    time = (EPOCH + timedelta(milliseconds=milliseconds)).astimezone(zone)
    assert opening(f"since={time.isoformat(timespec='milliseconds')}").since == milliseconds
    assert opening(f"since={time.isoformat(timespec='microseconds')}").since == milliseconds
    if milliseconds >= SECONDS_BELOW:
        assert opening(f"since={milliseconds}").since == milliseconds


@pytest.mark.parametrize(
    ("query", "ids", "expected"),
    [
        ("", [], ""),
        ("", [ID], ID),
        (f"Last-Event-ID={ID}", [], ID),
        (f"last_event_id={ID}", [], ID),
        (f"Last-Event-ID={OTHER}&last_event_id={THIRD}", [ID], ID),
        (f"last_event_id={THIRD}&Last-Event-ID={OTHER}", [], OTHER),
        (f"Last-Event-ID=&last_event_id={THIRD}", [], THIRD),
        (f"Last-Event-ID={OTHER}", [""], OTHER),
        (f"Last-Event-ID={OTHER}&Last-Event-ID={THIRD}", [], OTHER),
        ("", [ID, OTHER], ID),
        (f"last-event-id={ID}", [], ""),
    ],
)
def test_where_the_id_is_taken_from(query: str, ids: list[str], expected: str) -> None:
    assert last_event_id(request(query, *ids)) == expected


def test_event_id_sets_the_resume_position() -> None:
    asked = opening("since=0", ID)
    assert asked.cursor == [MARK]
    assert not asked.malformed


def test_empty_event_id_is_ignored() -> None:
    asked = opening("Last-Event-ID=", "")
    assert asked.cursor == ()
    assert not asked.malformed


@given(st.text(min_size=1))
def test_foreign_event_id_is_not_an_error(text: str) -> None:
    asked = opening(str(URL.build(query={"last_event_id": text}))[1:])
    assert asked.malformed
    assert asked.cursor == ()


@given(st.text())
def test_whatever_stands_in_the_query_is_read_or_refused(text: str) -> None:
    for name in ("categories", "types", "since"):
        query = str(URL.build(query={name: text}))[1:]
        for read in (opening, categories, types):
            try:
                read(query)
            except BadRequest:
                continue
