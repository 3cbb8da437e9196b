from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.conformance.parser import Block, Parser
from tests.sse import EventStreamParser


def events(stream: bytes) -> list[tuple[str, str | None, str]]:
    blocks = Parser().feed(stream)
    return [(each.type, each.data, each.last_event_id) for each in blocks if each.data is not None]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [("message", "a", "")]),
        (b"id: 1\r\nevent: t\r\ndata: a\r\n\r\n", [("t", "a", "1")]),
        (b"data: a\rdata: b\r\rx", [("message", "a\nb", "")]),
        (b"\xef\xbb\xbfdata:a\n\n", [("message", "a", "")]),
        (b"data\n\ndata: \n\n", [("message", "", ""), ("message", "", "")]),
        (b"data:  two spaces\n\n", [("message", " two spaces", "")]),
        (b"id: 1\n\ndata: a\n\n", [("message", "a", "1")]),
        (b"id: 1\n\nid\ndata: a\n\n", [("message", "a", "")]),
        (b"data: cut off\n", []),
    ],
)
def test_streams_are_parsed_as_the_standard_requires(
    stream: bytes, expected: list[tuple[str, str, str]]
) -> None:
    assert events(stream) == expected


@pytest.mark.parametrize(
    ("stream", "oddity"),
    [
        (b"id: a\0b\n\n", "an id that contains NULL"),
        (b"retry: soon\n\n", "retry: 'soon' is not a number"),
        (b"date: a\n\n", "an unknown field 'date'"),
        (b"data: \xff\n\n", "bytes that are not UTF-8"),
        (b"event: t\n\n", "an event without data, which a browser drops"),
    ],
)
def test_input_that_a_browser_ignores_is_recorded_once(stream: bytes, oddity: str) -> None:
    parser = Parser()
    parser.feed(stream + stream)
    assert list(parser.oddities) == [oddity]


def test_comments_ids_and_retries_are_recorded() -> None:
    parser = Parser()
    blocks = parser.feed(b": hi\n:\nretry: 10\nid: 1\n\ndata: a\n\nretry: 20\n")
    assert blocks == [Block("message", None, "1", "1"), Block("message", "a", None, "1")]
    assert (parser.comments, parser.ids, parser.retry) == (2, ["1"], [(10, 0), (20, 1)])
    assert not parser.oddities


PIECES = st.sampled_from(
    [b"data: a", b"id: 7", b"id", b"event: t", b": c", b"\n", b"\r", b"\r\n", b"\xe2\x98\x83", b"x"]
)


@given(st.lists(PIECES), st.integers(1, 5))
def test_two_independent_parsers_agree_for_any_chunk_size(pieces: list[bytes], size: int) -> None:
    stream = b"".join(pieces) + b"."  # a CR at the end could be half of a CR LF
    ours, other = Parser(), EventStreamParser()
    expected = [tuple(event) for event in other.feed(stream)]
    seen = [
        (each.type, each.data, each.last_event_id)
        for at in range(0, len(stream), size)
        for each in ours.feed(stream[at : at + size])
        if each.data is not None
    ]
    assert seen == expected
