"""Records of events and revocations, as a worker reads them and the library writes them."""

from __future__ import annotations

import json
from contextlib import suppress

from gateway.core import frame
from gateway.core.event import Decoder, type_fault
from gateway.core.feed import PartitionFeed
from gateway.core.interpreter import Interpreter
from gateway.core.key_check import KeyCheck
from gateway.core.partitioner import key_hash
from gateway.core.records import TIMESTAMP_LIMIT, Event, LogKind, TopicPartition, make_record
from gateway.core.registry import Registry
from gateway.core.source import Topic
from gateway.errors import PublishError
from gateway.kafka import envelope
from gateway.revocation.record import Change, Revocation, read_change, revoked_session, write_value
from gateway.revocation.table import Revocations, mentioning
from tests.core.payloads import as_text
from tests.core.workers import Faults, SilentObserver
from tests.records import envelope as written
from tests.sse import EventStreamParser
from tests.tools.fuzz.target import SEPARATOR, Target, joined, parts

DAY = 86_400_000
NOW = 1_700_000_000_000
_REGISTRY = Registry.built_in()
_DECODER = Decoder(_REGISTRY)
_TOPIC = Topic("user-events", LogKind.USER, b"tagA", 4)


def _record(data: bytes) -> None:
    """Take key, value, and alternating names and contents of headers."""
    key, value, rest = parts(data, 3)
    flat = rest.split(SEPARATOR) if rest else []
    names = [name.decode("utf-8", "replace") for name in flat[::2]]
    headers = tuple(zip(names, flat[1::2], strict=False))
    for keyed in (True, False):
        record = make_record(7, NOW, key or None, value or None, headers)
        event = _DECODER.decode(record, keyed=keyed)
        if isinstance(event, Event):
            _check_event(event, value, dict(headers))
            if keyed and not headers:
                _check_user(value, key)
    _interpret(key, value, headers)


def _check_event(event: Event, value: bytes, headers: dict[str, bytes]) -> None:
    assert type_fault(event.event_type) is None
    assert event.category or event.event_type not in _REGISTRY.types
    assert len(event.body) <= 7 * len(value) + 4 * len(event.event_type) + 20
    parser = EventStreamParser()
    (received,) = parser.feed(frame.id_line(b"1abc") + event.body)
    assert (received.type, received.last_event_id) == (event.event_type, "1abc")
    assert (parser.retry, parser.comments) == (None, [])
    if not headers:
        with suppress(RecursionError):
            said = json.loads(as_text(value))
            assert said["event_type"] == event.event_type
            assert json.loads(received.data) == said["data"] or "\n" in as_text(value)
    elif set(headers) == {"event_type"}:
        assert received.data == as_text(value), "not the written payload"


def _check_user(value: bytes, key: bytes) -> None:
    with suppress(RecursionError):
        said = json.loads(value.decode("utf-8", "replace")).get("user_id")
        assert said is None or str(said).encode() == key, "an envelope of another user"


def _interpret(key: bytes, value: bytes, headers: tuple[tuple[str, bytes], ...]) -> None:
    """Each record is reported at most once and needs no more memory than counted."""
    observer = SilentObserver()
    interpreter = Interpreter(_DECODER, observer, Faults().contain)
    feed = PartitionFeed(TopicPartition("user-events", 2), _TOPIC)
    record = make_record(7, NOW, key or None, value or None, headers)
    first = interpreter.decode(feed, record)
    assert interpreter.decode(feed, record) is first
    assert len(observer.unreadables) == (first is None)
    assert record.value is None
    KeyCheck(key_hash("murmur2"), observer).check(feed, [record], [record])
    assert len(observer.misplacements) <= 1
    for _, _, expected in observer.misplacements:
        assert expected != 2
        assert 0 <= expected < _TOPIC.partitions


def _publish(data: bytes) -> None:
    """Every worker reads the events that the publisher library accepts, unchanged."""
    user, kind, content, event_id, category = (
        part.decode("utf-8", "surrogatepass") if part.isascii() else part.decode("utf-8", "replace")
        for part in parts(data, 5)
    )
    try:
        meant = json.loads(content)
    except (ValueError, RecursionError):
        meant = content
    try:
        key = envelope.user_key(user)
        envelope.check_type(kind)
        payload = envelope.encode_data(meant)
        message = envelope.encode(
            key, kind, payload, event_id=event_id or None, category=category or None
        )
    except PublishError:
        return
    assert message.value is not None
    assert len(message.value) <= 12 * len(data) + 300
    record = make_record(7, NOW, message.key, message.value, tuple(message.headers))
    event = _DECODER.decode(record, keyed=True)
    assert isinstance(event, Event), event
    assert event.event_type == kind
    assert event.category == (category or _REGISTRY.category_of(kind))
    (received,) = EventStreamParser().feed(event.body)
    assert json.loads(received.data) == meant


def _revocation(data: bytes) -> None:
    """Take key, value and timestamp: a record revokes only the named user or session."""
    key, value, digits = parts(data, 3)
    timestamp = int(digits) if digits.isdigit() and len(digits) < 19 else NOW
    change = read_change(key, value, timestamp, DAY)
    revocations = Revocations()
    _event_revokes(value, timestamp)
    if not isinstance(change, Change):
        return
    revocations.apply(change, timestamp)
    revocation = change.revocation
    if revocation is None:
        assert not len(revocations)
        return
    assert change.key == key
    user = revocation.user
    kind, _, named = key.partition(b":")
    assert kind != b"user" or user == named
    session = named.decode() if kind == b"session" else None
    within = revocation.revoked_at
    if within < revocation.expires_at:
        assert revocations.cover(user, session, None, within)
    assert not revocations.cover(user + b"x", session, None, within), "another user is revoked"
    assert not revocations.cover(user, session, None, revocation.expires_at)
    _written_again(change, timestamp)


def _written_again(change: Change, timestamp: int) -> None:
    revocation = change.revocation
    assert revocation is not None
    message = envelope.encode_change(change)
    assert message.value == write_value(revocation)
    if max(revocation[1:]) < TIMESTAMP_LIMIT and min(revocation[1:]) >= 10**11:
        assert read_change(message.key, message.value, timestamp, 1) == change


def _event_revokes(value: bytes, timestamp: int) -> None:
    """The session of an event is valid text and is found by the byte search."""
    record = make_record(0, timestamp, b"alice", value or None)
    event = _DECODER.decode(record, keyed=True)
    if not isinstance(event, Event):
        return
    session = revoked_session(event)
    if session is None:
        return
    found = mentioning([record])
    assert found == [record] or b"\\" in value, "a type without escapes is found by the byte search"
    revocations = Revocations()
    change = revocations.revoke_session(b"alice", session, timestamp, DAY, timestamp)
    if change is not None:
        assert change.revocation == Revocation(b"alice", timestamp, timestamp + DAY)
        assert revocations.cover(b"alice", session, None, timestamp)
        assert not revocations.cover(b"bob", session, None, timestamp)
        envelope.encode_change(change)


_ENVELOPE = written("alice", data=b'{"n": [1, "\xc3\xa4"]}')
_CLOUD = b'{"specversion":"1.0","type":"x","data":{"n":1}}'
_BASE64 = b'{"specversion":"1.0","type":"x","data_base64":"e30="}'
_STRUCTURED = b"application/cloudevents+json"
_WORDS = [
    *(b'"%s"' % name for name in (b"event_type", b"data", b"user_id", b"event_id", b"occurred_at")),
    *(b'"%s"' % name for name in (b"specversion", b"type", b"data_base64", b"session_id")),
    *(b"content-type", b"ce_specversion", b"ce_type", b"event_type", b"category", b"1.0"),
    *(b"null", b"true", b"1e400", b"NaN", b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\u0000"),
    *(b"\\ud800", b"\xed\xa0\x80", b"\r", b"\n", b"stream.gap", _STRUCTURED, SEPARATOR),
    b"9" * 40,
    b"[" * 2000,
]

RECORD = Target(
    "record",
    _record,
    [
        joined(b"alice", _ENVELOPE),
        joined(b"", _ENVELOPE),
        joined(b"42", b'{"event_type":"x","data":1,"user_id":42}'),
        joined(b"alice", b"\r\nid: 1\n\n", b"event_type", b"ai.response.chunk", b"category", b"ai"),
        joined(b"alice", b"{}", b"ce_specversion", b"1.0", b"ce_type", b"x"),
        joined(b"alice", _CLOUD, b"content-type", _STRUCTURED),
        joined(b"alice", _BASE64, b"content-type", _STRUCTURED),
    ],
    _WORDS,
)
PUBLISH = Target(
    "publish",
    _publish,
    [
        joined(b"alice", b"ai.response.chunk", b'{"n": [1, 2.5, null]}', b"id-1", b""),
        joined(b"zo\xc3\xab", b"x", b"[NaN]", b"", b"ai"),
        joined(b"a", b"stream.gap", b"text", b"", b""),
    ],
    _WORDS,
)
REVOCATION = Target(
    "revocation",
    _revocation,
    [
        joined(
            b"session:s1", b'{"user_id":"alice","revoked_at":%d,"expires_at":%d}' % (NOW, NOW + 9)
        ),
        joined(b"user:alice", b"{}", b"%d" % NOW),
        joined(b"user:alice", b'{"user_id":42}', b"1"),
        joined(b"", written("alice", "security.session.revoked", b'{"session_id":"s1"}')),
    ],
    [*_WORDS, b"session:", b"user:", b'"revoked_at"', b'"expires_at"', b"security.session.revoked"],
)
