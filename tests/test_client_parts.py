"""The parts of the Python client that do no I/O, and its file."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client import Close, Delivery, Event, EventStream, Gap, IdFile, Message
from gateway.client import decoder as decoding
from gateway.client.decoder import EventStreamDecoder
from gateway.client.messages import message
from gateway.client.wait import retry_after_seconds, wait_seconds
from gateway.errors import IdFileError, NotAStream
from tests.sse import EventStreamParser

LINES = st.lists(
    st.sampled_from(
        ["", "data: a", "data:b", "data", ": beat", "id: 1", "id", "id: \0", "event: x", "event",
         "retry: 20", "retry: x", "unknown: y", "data: \ufeff", "data: é\u2028"]
    ),
    max_size=30,
)  # fmt: skip


@given(
    lines=LINES,
    ends=st.lists(st.sampled_from(["\n", "\r", "\r\n"]), min_size=30, max_size=30),
    cuts=st.sets(st.integers(0, 400)),
    mark=st.booleans(),
)
def test_a_stream_is_read_as_a_browser_reads_it(
    lines: list[str], ends: list[str], cuts: set[int], mark: bool
) -> None:
    text = "\ufeff" * mark + "".join(line + end for line, end in zip(lines, ends, strict=False))
    data = text.encode()
    parser, decoder = EventStreamParser(), EventStreamDecoder()
    # Only the decoder holds back a CR at the end of the input, until the next byte.
    expected = parser.feed(data + b":\n")
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    events = []
    for begin, end in pairwise(places):
        events += decoder.feed(data[begin:end])
    events += decoder.feed(b":\n")
    assert [(event.type, event.data, event.id) for event in events] == [*map(tuple, expected)]
    assert decoder.last_event_id == parser.last_event_id
    assert decoder.retry_seconds == (3.0 if parser.retry is None else parser.retry / 1000)


def test_an_event_tells_the_id_before_it() -> None:
    decoder = EventStreamDecoder("0")
    events = decoder.feed(b"id: 1\n\ndata: a\nid: 2\n\ndata: b\nid: 3\n\n")
    assert events == [Event("message", "a", "2", "1"), Event("message", "b", "3", "2")]


def test_a_connection_leaves_nothing_unfinished_to_the_next() -> None:
    decoder = EventStreamDecoder()
    assert decoder.feed(b"id: 1\n\nevent: x\nid: 2\ndata: a") == []
    decoder.connected()
    assert decoder.feed(b"data: b\n\n") == [Event("message", "b", "1", "1")]


@pytest.mark.parametrize("end", [b"\n", b""])
def test_endless_event_is_rejected(monkeypatch: pytest.MonkeyPatch, end: bytes) -> None:
    monkeypatch.setattr(decoding, "MAX_EVENT_CHARACTERS", 100)
    decoder = EventStreamDecoder()
    assert decoder.feed(b"data: " + b"x" * 101 + end) == []
    with pytest.raises(NotAStream, match="not a gateway"):
        decoder.feed(b"\n\n")


@pytest.mark.parametrize(
    ("event_type", "kind"),
    [("stream.gap", Gap), ("stream.close", Close), ("stream.new", Message), ("stream", Event)],
)
def test_event_type_selects_the_message_class(event_type: str, kind: type[Message]) -> None:
    assert type(message(event_type, "{}", "2", "1")) is kind


@pytest.mark.parametrize(
    ("data", "reason"), [('{"reason": "limit"}', "limit"), ("{}", "{}"), ("[]", "[]"), ("x", "x")]
)
def test_a_reason_is_the_servers_word_or_all_it_said(data: str, reason: str) -> None:
    assert Gap("stream.gap", data, "", "").reason == reason
    assert Close("stream.close", data, "", "").reason == reason


@dataclass
class Import:
    rows: int


def test_payload_is_read_as_json_or_as_the_requested_type() -> None:
    event = Event("import.completed", '{"rows": 9}', "", "")
    assert event.json() == {"rows": 9}
    assert event.decode(Import) == Import(9)
    with pytest.raises(msgspec.ValidationError, match="rows"):
        Event("import.completed", '{"rows": "9"}', "", "").decode(Import)


@pytest.mark.parametrize(
    ("retry", "retry_after", "failures", "least", "most"),
    [
        (3, 0, 0, 3, 3),
        (3, 0, 1, 3, 6),
        (3, 0, 2, 3, 9),
        (3, 0, 3, 3, 15),
        (3, 0, 50, 3, 33),
        (3, 7, 1, 7, 10),
        (3, 1, 1, 3, 6),
        (0, 0, 1, 0, 0.2),
        (0, 0, 10**6, 0, 30),
        (1e300, 0, 3, 3600, 3630),
    ],
)
def test_a_wait_is_at_least_what_is_asked_for_and_spread_by_a_span_that_doubles(
    retry: float, retry_after: float, failures: int, least: float, most: float
) -> None:
    assert wait_seconds(retry, retry_after, failures, 0.0) == pytest.approx(least)
    assert wait_seconds(retry, retry_after, failures, 1.0) == pytest.approx(most)


@pytest.mark.parametrize(("text", "seconds"), [("7", 7), ("", 0), ("-1", 0), ("soon", 0), ("²", 0)])
def test_a_number_of_seconds_is_understood_and_nothing_else(text: str, seconds: float) -> None:
    assert retry_after_seconds(text) == seconds


@pytest.mark.parametrize("delivery", Delivery)
def test_an_id_is_kept_before_or_after_its_event(tmp_path: Path, delivery: Delivery) -> None:
    path = tmp_path / "id"
    file = IdFile(path, delivery)
    assert file.load() == ""
    file.handled("1")
    file.handed_out("2")
    again = IdFile(path, delivery)
    assert again.load() == ("1" if delivery is Delivery.AT_LEAST_ONCE else "2")
    file.handled("2")
    assert again.load() == "2"
    assert [entry.name for entry in tmp_path.iterdir()] == ["id"], "nothing is left beside it"


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff", b"a\0b", b"a\nb"])
def test_a_file_without_an_id_is_an_error_and_no_beginning(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "id"
    path.write_bytes(content)
    with pytest.raises(IdFileError, match=str(path)):
        IdFile(path, Delivery.AT_LEAST_ONCE).load()


def test_an_id_beyond_ascii_is_read_as_it_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "id"
    IdFile(path, Delivery.AT_LEAST_ONCE).handled("é€")
    assert IdFile(path, Delivery.AT_LEAST_ONCE).load() == "é€"


async def test_an_event_whose_id_cannot_be_kept_is_returned_once_it_can(tmp_path: Path) -> None:
    folder, once = tmp_path / "folder", Delivery.AT_MOST_ONCE
    stream = EventStream("http://127.0.0.1:9/", "", resume=IdFile(folder / "id", once))
    stream._ready.extend(  # noqa: SLF001
        [message("a", "1", "1", ""), message("a", "2", "2", "1")]
    )
    with pytest.raises(IdFileError, match="cannot be written"):
        await anext(stream)
    folder.mkdir()
    assert [(await anext(stream)).id, (await anext(stream)).id] == ["1", "2"]  # type: ignore[union-attr]


def test_a_line_in_many_pieces_is_joined_once() -> None:
    decoder = EventStreamDecoder()
    decoder.feed(b"data: ")
    for _ in range(2000):
        decoder.feed(b"x" * 100)
    assert len(decoder._rest) == 2001  # noqa: SLF001 - the pieces, none of them copied
    [found] = decoder.feed(b"\n\n")
    assert found.data == "x" * 200_000


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "id"
    file = IdFile(path, Delivery.AT_LEAST_ONCE)
    assert file.load() == ""
    with pytest.raises(IdFileError, match=f"{path} cannot be written"):
        file.handled("1")


def test_the_client_imports_nothing_of_a_workers() -> None:
    program = "import sys, gateway.client; print(*sys.modules)"
    finished = subprocess.run(
        [sys.executable, "-I", "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ,
    )
    modules = finished.stdout.split()
    installed = {"aiokafka", "cramjam", "jwt", "prometheus_client", "pydantic", "rich", "structlog"}
    assert not installed & {module.partition(".")[0] for module in modules}
    ours = {module for module in modules if module.startswith("gateway.")}
    assert all(module.startswith(("gateway.client", "gateway.errors")) for module in ours)
