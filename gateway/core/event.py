"""Decoding of records into events: by the mapping of their source, or in one of three formats.

A source without a mapping takes three formats, distinguished by the headers:

    content-type: application/cloudevents…   CloudEvents 1.0 Kafka binding, structured (§3.3)
    ce_specversion                           CloudEvents 1.0 Kafka binding, binary (§3.2)
    event_type                               headers: the value is the payload
    other headers, or without any            envelope: the value is JSON that holds the payload

The decoder only finds the end of the payload, does not interpret it, and passes it on byte for
byte. Producers make mistakes, and a stream must survive each of them: the decoder never raises and
returns a reason (`UnreadableReason`) instead.
"""

from __future__ import annotations

import re
from base64 import b64decode
from typing import TYPE_CHECKING

import msgspec

from gateway.core import frame
from gateway.core.json_text import parse, restored, text
from gateway.core.mapping import MappedRecords
from gateway.core.records import Event, LogKind, Record, Unreadable, UnreadableReason
from gateway.core.registry import MAX_NAME_BYTES, RESERVED_PREFIX, Registry

if TYPE_CHECKING:
    from gateway.core.source import Source

MAX_RECORD_BYTES = 1_200_000
"""Maximum size of a record in memory (`Record.size`): the default of Kafka's `message.max.bytes`
(1 MiB), and a margin. Every stream of the user holds a copy until its client has read it. A client
slower than 300 kbit/s cannot read a larger one within GATEWAY_SLOW_SECONDS: its stream would be
closed and sent the same record after each reconnect."""

_STRUCTURED = b"application/cloudevents+json"
_CLOUD_EVENTS = b"application/cloudevents"

# C0, DEL and C1 contain every character that some client treats as a line break, as are Unicode's
# line and paragraph separators; surrogates cannot be encoded in UTF-8.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class _Envelope(msgspec.Struct, gc=False):
    event_type: str
    data: msgspec.Raw
    user_id: str | int | None = None


class _CloudEvent(msgspec.Struct, gc=False):
    specversion: str
    type: str
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None


_Content = tuple[str, bytes] | Unreadable
"""Event type and payload, or the reason why the record is unreadable."""


def type_fault(event_type: str) -> UnreadableReason | None:
    """Return why a record of this type would be unreadable; None for a valid type."""
    if not event_type or _UNFIT.search(event_type) or len(event_type.encode()) > MAX_NAME_BYTES:
        return UnreadableReason.BAD_TYPE
    if event_type.startswith(RESERVED_PREFIX):
        return UnreadableReason.RESERVED_TYPE
    return None


class Decoder:
    """Decodes records into events with one registry; one instance serves a worker."""

    def __init__(self, registry: Registry) -> None:
        self._types: dict[str, tuple[str | None, bytes]] = {
            name: (category, frame.event_head(name)) for name, category in registry.types.items()
        }
        """The category of each known type, and the head of its events' bodies."""
        self._envelope = msgspec.json.Decoder(_Envelope)
        self._cloud_event = msgspec.json.Decoder(_CloudEvent)
        self._mapped = MappedRecords()

    def decode(
        self, record: Record, *, keyed: bool, source: Source | None = None
    ) -> Event | Unreadable:
        """Return the event in `record`, or why it is unreadable; never raises.

        `keyed` is false for a broadcast topic, whose keys are ignored. `source` is that of the
        record; None: the formats of this module with user ids as keys. An envelope takes about
        2 µs.
        """
        key = record.key if keyed else None
        mapping = None if source is None else source.mapping
        if keyed:
            if not key:
                return Unreadable(UnreadableReason.NO_KEY)
            if not key.isascii() and text(key) is None:
                return Unreadable(UnreadableReason.KEY_NOT_UTF8)
            if source is not None:
                name = source.key.name(key) if any(source.key) else key
                if name is None:
                    return Unreadable(UnreadableReason.KEY_MISMATCH, f"it is not {source.form}")
                # A record of a group may name the user who wrote it.
                key = name if source.kind is LogKind.USER else None
        if not record.value:
            return Unreadable(UnreadableReason.EMPTY)
        if record.size > MAX_RECORD_BYTES:
            return Unreadable(
                UnreadableReason.TOO_LARGE, f"{record.size} bytes, the limit is {MAX_RECORD_BYTES}"
            )
        category = None
        content: _Content
        if mapping is not None:
            mapped = self._mapped.read(mapping, record.headers, record.value)
            if isinstance(mapped, Unreadable):
                return mapped
            event_type, payload, category = mapped
            content = event_type, payload
        elif record.headers:
            # Of two headers with the same name the last one counts, as in every Kafka client.
            headers = {name.lower(): value for name, value in record.headers}
            category = text(headers.get("category", b""))
            if category is None:
                return Unreadable(UnreadableReason.BAD_CATEGORY, "header `category` is not UTF-8")
            content = self._read(headers, record.value, key)
        else:
            content = self._read_envelope(record.value, key)
        if isinstance(content, Unreadable):
            return content
        event_type, payload = content
        known: tuple[str | None, bytes] | None = self._types.get(event_type)
        if known is None:
            fault = type_fault(event_type)
            if fault is not None:
                return Unreadable(fault, _TYPE_DETAILS[fault])
            known = None, frame.event_head(event_type)
        return Event(event_type, category or known[0], frame.body(known[1], payload))

    def _read(self, headers: dict[str, bytes], value: bytes, key: bytes | None) -> _Content:
        content_type = headers.get("content-type", b"").lower()
        if content_type.startswith(_STRUCTURED):
            return self._read_structured(value)
        if content_type.startswith(_CLOUD_EVENTS):
            return _wrong_shape("header `content-type` is a CloudEvents format other than JSON")
        if "ce_specversion" in headers:
            if headers["ce_specversion"] != b"1.0":
                return _wrong_shape("header `ce_specversion` is not 1.0")
            if "ce_type" not in headers:
                return _wrong_shape("header `ce_type` is missing")
            name = "ce_type"
        elif "event_type" in headers:
            name = "event_type"
        else:
            return self._read_envelope(value, key)
        event_type = text(headers[name])
        if event_type is None:
            return Unreadable(UnreadableReason.BAD_TYPE, f"header `{name}` is not UTF-8")
        return event_type, value

    def _read_envelope(self, value: bytes, key: bytes | None) -> _Content:
        envelope = parse(self._envelope, value)
        if isinstance(envelope, Unreadable):
            return envelope
        user = envelope.user_id
        if user is not None and key is not None and str(user).encode() != key:
            return Unreadable(UnreadableReason.USER_MISMATCH, "`user_id` is not the record's key")
        return envelope.event_type, restored(envelope.data, value)

    def _read_structured(self, value: bytes) -> _Content:
        event = parse(self._cloud_event, value)
        if isinstance(event, Unreadable):
            return event
        payload = restored(event.data, value)
        if event.specversion != "1.0":
            return _wrong_shape("`specversion` is not 1.0")
        if payload and event.data_base64 is not None:
            return _wrong_shape("both `data` and `data_base64` are present")
        if event.data_base64 is not None:
            try:
                payload = b64decode(event.data_base64, validate=True)
            except ValueError:
                return Unreadable(UnreadableReason.BAD_BASE64, "`data_base64` is not base64")
        return (event.type, payload) if payload else Unreadable(UnreadableReason.EMPTY)


_TYPE_DETAILS = {
    UnreadableReason.BAD_TYPE: (
        f"the event type must have 1 to {MAX_NAME_BYTES} bytes and no control characters"
    ),
    UnreadableReason.RESERVED_TYPE: f"the event type begins with `{RESERVED_PREFIX}`",
}


def _wrong_shape(detail: str) -> Unreadable:
    return Unreadable(UnreadableReason.WRONG_SHAPE, detail)
