"""Frames: for any payload a client reads one event with its type and id."""

from __future__ import annotations

from gateway.core import frame
from gateway.core.event import type_fault
from gateway.core.gap import CloseReason, Gap, GapReason
from gateway.core.records import TIMESTAMP_LIMIT, LogKind
from tests.core.payloads import as_text
from tests.sse import EventStreamParser, ReceivedEvent
from tests.tools.fuzz.target import Target, joined, parts

ID = b"1uAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def _frames(data: bytes) -> None:
    steps, named, payload = parts(data, 3)
    event_type = named.decode("utf-8", "replace")
    if type_fault(event_type) is not None:
        return
    number = int.from_bytes(steps[:6], "big") % TIMESTAMP_LIMIT
    body = frame.event_body(event_type, payload)
    assert len(body) <= 7 * len(payload) + len(named) * 3 + 20, "each line break starts a field"
    gap = Gap(GapReason.LIMIT, LogKind.USER, 1, number, number, number)
    sent = [
        frame.chunk(frame.retry(number) + frame.id_block(ID)),
        frame.event(ID, body, chunked=True),
        frame.chunk(frame.heartbeat(ID)),
        frame.chunk(frame.gap(ID, gap)),
        frame.event(ID, body, chunked=True),
        frame.chunk(frame.close(CloseReason.DRAINING, number)),
        frame.LAST_CHUNK,
    ]
    content = unchunked(b"".join(sent))
    parser = EventStreamParser()
    received: list[ReceivedEvent] = []
    step = 1 + sum(steps) % 97
    for start in range(0, len(content), step):
        received += parser.feed(content[start : start + step])
    text = as_text(payload)
    event = [ReceivedEvent(event_type, text, ID.decode())]
    own = [each for each in received if each.type.startswith("stream.")]
    assert [each.type for each in own] == ["stream.gap", "stream.close"]
    others = [each for each in received if each not in own]
    assert others == event * 2, "the payload changed"
    assert parser.comments == ["heartbeat"]
    assert parser.retry == number
    assert parser.last_event_id == ID.decode()


def unchunked(data: bytes) -> bytes:
    """Return the content of a chunked body (RFC 9112, §7.1), parsed by the grammar."""
    content = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        content, end, data = content + data[:length], data[length : length + 2], data[length + 2 :]
        assert end == b"\r\n"
        if not length:
            assert not data, "bytes behind the last chunk"
            return content


FRAMES = Target(
    "frames",
    _frames,
    [
        joined(b"\0\0\0\0\x01\x02", b"ai.response.chunk", b'{"n": 1}'),
        joined(b"\1", b"x", b"a\r\n\r\nid: 0\n\nevent: stream.close\rdata\n\ndata: x"),
        joined(b"\2\3", "größe".encode(), b"\xef\xbb\xbfdata: \xe2\x80\xa8 \0 \xed\xa0\x80"),
        joined(b"", b"message", b" "),
    ],
    [
        b"\r",
        b"\n",
        b"\r\n",
        b"\n\n",
        b"\0",
        b"id: 0\n",
        b"\revent: stream.gap\r",
        b"retry: 0\n",
        b":",
        b"data:",
        "\u2028\u2029\u0085\ufeff".encode(),
        b"0\r\n\r\n",
    ],
)
