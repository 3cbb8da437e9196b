from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sse import EventStreamParser, ReceivedEvent


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        # The examples of the standard, §9.2.6.
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("message", "YHOO\n+2\n10", "")]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\n"
            b"data:second event\nid\n\ndata:  third event\n\n",
            [
                ("message", "first event", "1"),
                ("message", "second event", ""),
                ("message", " third event", ""),
            ],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [("message", "", ""), ("message", "\n", "")]),
        (b"data:test\n\ndata: test\n\n", [("message", "test", "")] * 2),
        # What the steps say besides.
        (b"event: a\ndata: 1\n\ndata: 2\n\n", [("a", "1", ""), ("message", "2", "")]),
        (b"event: a\n\ndata: 2\n\n", [("message", "2", "")]),
        (b"id: 7\n\ndata: 2\n\n", [("message", "2", "7")]),
        (b"id: 7\n\nid: 8\0\ndata: 2\n\n", [("message", "2", "7")]),
        (b"data: 1\r\rdata: 2\r\n\r\ndata: 3\n\n", [("message", text, "") for text in "123"]),
        (b"\xef\xbb\xbfdata: 1\n\n", [("message", "1", "")]),
        (b"\n\xef\xbb\xbfdata: 1\n\n", []),
        (b"DATA: 1\n data: 1\nunknown: 1\n\n", []),
        (b"data: \xff\n\n", [("message", "\ufffd", "")]),
        (b"data: cut off\n", []),
    ],
)
def test_a_stream_becomes_these_events_however_it_is_cut(
    stream: bytes, events: list[tuple[str, str, str]]
) -> None:
    expected = [ReceivedEvent(*event) for event in events]
    assert EventStreamParser().feed(stream) == expected
    parser = EventStreamParser()
    one_by_one = [event for byte in stream for event in parser.feed(bytes([byte]))]
    assert one_by_one == expected


def test_comments_retry_and_an_id_without_an_event_are_kept() -> None:
    parser = EventStreamParser()
    assert parser.feed(b": hello\nretry: 3000\nretry: 3s\nid: 9\n") == []
    assert (parser.comments, parser.retry, parser.last_event_id) == (["hello"], 3000, "")
    parser.feed(b"\n")
    assert parser.last_event_id == "9"


@given(st.binary(), st.integers(0, 50))
def test_where_the_bytes_are_cut_changes_nothing(stream: bytes, at: int) -> None:
    whole, cut = EventStreamParser(), EventStreamParser()
    assert whole.feed(stream) == cut.feed(stream[:at]) + cut.feed(stream[at:])
    assert whole.last_event_id == cut.last_event_id
