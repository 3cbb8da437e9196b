"""Files of sources, and records that their mappings turn into events; filters by type."""

from __future__ import annotations

import json
from contextlib import suppress

from gateway.core import frame
from gateway.core.event import Decoder, type_fault
from gateway.core.filter import EventFilter, select_types
from gateway.core.records import Event, LogKind, Unreadable, make_record
from gateway.core.registry import Registry
from gateway.core.source import Source
from gateway.errors import SettingsError
from gateway.sources import MAX_SOURCES, parse_sources
from tests.core.payloads import as_text
from tests.sse import EventStreamParser
from tests.tools.fuzz.target import SEPARATOR, Target, joined, parts

NOW = 1_700_000_000_000
WHERE = "GATEWAY_SOURCES: sources.toml"
_DECODER = Decoder(Registry.built_in())


def _sources(data: bytes) -> None:
    """Take a file, a key, a value, and alternating names and contents of headers."""
    text, key, value, rest = parts(data, 4)
    flat = rest.split(SEPARATOR) if rest else []
    names = [name.decode("utf-8", "replace") for name in flat[::2]]
    headers = tuple(zip(names, flat[1::2], strict=False))
    try:
        sources = parse_sources(text.decode("utf-8", "replace"), WHERE)
    except SettingsError as error:
        lines = str(error).split("\n")
        assert all(line.startswith(f"{WHERE}: ") for line in lines), "a line without its file"
        assert len(lines) <= len(text) + 1
        assert max(map(len, lines)) < 2000 + 8 * len(text)
        return
    assert 1 <= len(sources) <= MAX_SOURCES
    assert len({source.mark for source in sources}) == len(sources)
    kinds = [source.kind is LogKind.BROADCAST for source in sources]
    assert kinds == sorted(kinds), "topics for all come last"
    for source in sources:
        _check_source(source)
        keyed = source.kind is not LogKind.BROADCAST
        record = make_record(7, NOW, key or None, value or None, headers)
        read = _DECODER.decode(record, keyed=keyed, source=source)
        if isinstance(read, Unreadable):
            assert len(read.detail) < 600 + 8 * len(text)
        else:
            _check_event(read, source, value)
            assert not keyed or source.key.name(key), "an event whose key names no user or group"


def _check_source(source: Source) -> None:
    for name in (b"42", b"\xff", b"{user}"):
        assert source.key.name(source.key.key(name)) == name
    assert source.key.name(source.key.key(b"")) is None
    assert (source.kind is LogKind.GROUP) == bool(source.groups)


def _check_event(event: Event, source: Source, value: bytes) -> None:
    assert type_fault(event.event_type) is None
    parser = EventStreamParser()
    (received,) = parser.feed(frame.id_line(b"1abc") + event.body)
    assert (received.type, received.last_event_id) == (event.event_type, "1abc")
    assert (parser.retry, parser.comments) == (None, [])
    mapping = source.mapping
    if mapping is None:
        return
    if mapping.type.fixed:
        assert event.event_type == mapping.type.text
    if mapping.data is None:
        assert received.data == as_text(value), "not the whole value"
    else:
        with suppress(RecursionError, ValueError):
            assert json.loads(received.data) == json.loads(as_text(value))[mapping.data]


def _filter(data: bytes) -> None:
    """Take an event type and patterns of types."""
    event_type, rest = (part.decode("utf-8", "replace") for part in parts(data, 2))
    patterns = rest.split(",")
    try:
        selection = select_types(patterns)
    except ValueError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
        return
    if type_fault(event_type) is not None:
        return
    expected = selection is None or any(
        event_type == pattern or (pattern[-2:] == ".*" and event_type.startswith(pattern[:-1]))
        for pattern in patterns
    )
    accepted = selection is None or EventFilter([selection]).accepts(Event(event_type, None, b""))
    assert accepted == expected


_FILE = b"""[[source]]
topic = "orders.v1"
key = "customer:{user}"
type = "order.{header:kind}"
category = "{field:area}"

[[source]]
topics = ["tickets", "notes"]
audience = "group"
key = "team/{group}"
groups = "teams"
type = "{field:kind}"
data = "field:payload"

[[source]]
topic = "news"
audience = "all"
type = "news"
"""

SOURCES = Target(
    "sources",
    _sources,
    [
        joined(_FILE, b"customer:42", b'{"area": "x"}', b"kind", b"paid"),
        joined(_FILE, b"team/red", b'{"kind": "a", "payload": {"n": 1e5}}'),
        joined(b'[[source]]\ntopic = "a"', b"42", b'{"event_type": "a.b", "data": 1}'),
        joined(b'[[source]]\ntopic = "a"\ntype = "{field:a}"', b"42", b'{"a": 17}'),
        joined(
            b'[[source]]\ntopic = "a"\nformat = "avro"\ntype = "x"\npartitions = 3', b"4", b"\0"
        ),
    ],
    [
        *(b"[[source]]", b"topic", b"topics", b"audience", b"key", b"groups", b"type", b"category"),
        *(
            b"data",
            b"format",
            b"partitions",
            b'"all"',
            b'"group"',
            b'"user"',
            b"{user}",
            b"{group}",
        ),
        *(b"{header:", b"{field:", b"}", b"{", b"field:", b"value", b"stream.", b'"', b"'", b'"""'),
        *(b"\n", b"#", b"=", b"[", b"]", b",", b"9" * 5000, b"[" * 2000, b"a." * 2000, b"\\u0000"),
        *(SEPARATOR, b"null", b"true", b'{"a":', b"\\ud800", b"\xff", b"1e999", b"-0", b"kind"),
    ],
)
FILTER = Target(
    "filter",
    _filter,
    [joined(b"import.done", b"import.*,ai.response.complete"), joined(b"a", b"a"), b"*"],
    [
        b".*",
        b"*",
        b",",
        b".",
        b"stream.",
        b"stream.gap",
        SEPARATOR,
        b"\xff",
        b"a" * 300,
        b"a," * 101,
    ],
)
