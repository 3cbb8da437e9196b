from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core import frame
from gateway.core.gap import CloseReason, Gap, GapReason
from gateway.core.records import LogKind
from tests.core.payloads import as_text, hostile
from tests.sse import EventStreamParser, ReceivedEvent

types = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1)


@given(types, hostile)
@example("a", b"")
@example("a", b"\r\n")
@example(" a", b" leading blank")
@example("a", b"cut \xe2\r\n\xa8 apart")
def test_an_event_arrives_unchanged_and_injects_no_field(event_type: str, payload: bytes) -> None:
    body = frame.event_body(event_type, payload)
    parser = EventStreamParser()
    before = parser.feed(frame.retry(3000) + frame.id_block(b"1abc"))
    events = parser.feed(frame.id_line(b"1def") + body)
    after = parser.feed(frame.id_line(b"1ghi") + frame.event_body("next", b"{}"))

    assert before == []
    assert events == [ReceivedEvent(event_type, as_text(payload), "1def")]
    assert after == [ReceivedEvent("next", "{}", "1ghi")]
    assert (parser.retry, parser.comments) == (3000, [])


@pytest.mark.parametrize(
    ("payload", "data"),
    [
        (b'{"a":1}', b'data: {"a":1}'),
        (b"one\ntwo", b"data: one\ndata: two"),
        (b"one\r\ntwo", b"data: one\ndata: two"),
        (b"one\rtwo", b"data: one\ndata: two"),
        (b"one\n\rtwo\r", b"data: one\ndata: \ndata: two\ndata: "),
        ("é\u2028\0".encode(), "data: é\u2028\0".encode()),
        (b"\xff\xe2\x82", "data: \ufffd\ufffd".encode()),
    ],
)
def test_a_payload_is_split_into_data_lines(payload: bytes, data: bytes) -> None:
    assert frame.event_body("a.b", payload) == b"event: a.b\n" + data + b"\n\n"


@pytest.mark.parametrize("event_type", ["a\nb", "a\rb"])
def test_a_type_with_a_line_break_is_rejected(event_type: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        frame.event_body(event_type, b"{}")


def test_an_id_block_sets_the_id_without_an_event() -> None:
    parser = EventStreamParser()
    assert parser.feed(frame.id_block(b"1abc")) == []
    assert parser.last_event_id == "1abc"


def test_a_heartbeat_contains_the_id_if_given() -> None:
    parser = EventStreamParser()
    assert parser.feed(frame.heartbeat(None)) == []
    assert parser.last_event_id == ""
    assert parser.feed(frame.heartbeat(b"1abc")) == []
    assert (parser.last_event_id, parser.comments) == ("1abc", ["heartbeat", "heartbeat"])


@pytest.mark.parametrize(
    ("gap", "facts"),
    [
        (Gap(GapReason.INVALID), {"reason": "invalid"}),
        (
            Gap(GapReason.EXPIRED, LogKind.USER, 3, 5, 90, 1_700_000_000_007),
            {
                "reason": "expired",
                "log": "user",
                "partition": 3,
                "from": 5,
                "to": 90,
                "since": "2023-11-14T22:13:20.007Z",
            },
        ),
        (
            Gap(GapReason.RESET, LogKind.BROADCAST, next=0),
            {"reason": "reset", "log": "broadcast", "to": 0},
        ),
        (Gap(GapReason.LIMIT, since=0), {"reason": "limit", "since": "1970-01-01T00:00:00.000Z"}),
        (
            Gap(GapReason.LIMIT, since=(1 << 47) - 1),
            {"reason": "limit", "since": "6429-10-17T02:45:55.327Z"},
        ),
    ],
)
def test_a_gap_event_contains_the_known_fields_and_sets_the_id(
    gap: Gap, facts: dict[str, object]
) -> None:
    (event,) = EventStreamParser().feed(frame.gap(b"1abc", gap))
    assert (event.type, event.last_event_id) == ("stream.gap", "1abc")
    assert json.loads(event.data) == facts


@pytest.mark.parametrize("reason", CloseReason)
def test_a_close_event_has_a_reason_and_keeps_id_and_retry(reason: CloseReason) -> None:
    parser = EventStreamParser()
    parser.feed(frame.id_block(b"1abc"))
    (event,) = parser.feed(frame.close(reason))
    assert event == ReceivedEvent("stream.close", f'{{"reason":"{reason}"}}', "1abc")
    assert parser.retry is None


def test_a_close_event_can_set_retry_in_the_same_block() -> None:
    parser = EventStreamParser()
    (event,) = parser.feed(frame.close(CloseReason.DRAINING, 4210))
    assert (event.type, parser.retry) == ("stream.close", 4210)


@given(st.binary(min_size=1, max_size=5000))
def test_a_chunk_is_the_length_in_hex_and_the_data(data: bytes) -> None:
    size, _, rest = frame.chunk(data).partition(b"\r\n")
    assert rest == data + b"\r\n"
    assert int(size, 16) == len(data)


def test_only_the_last_chunk_is_empty() -> None:
    assert frame.LAST_CHUNK == b"0\r\n\r\n"
    assert frame.chunk(b"") == b"", "an empty chunk would end the response"


@pytest.mark.parametrize("body", [b"", b"event: t\ndata: 1\n\n", b"x" * 300])
def test_an_event_equals_its_id_line_and_body(body: bytes) -> None:
    whole = frame.id_line(b"1abc") + body
    assert frame.event(b"1abc", body, chunked=False) == whole
    assert frame.event(b"1abc", body, chunked=True) == frame.chunk(whole)
