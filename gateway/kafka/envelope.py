"""Validates and encodes events before they are sent.

The checks are those of the worker that reads the record (`gateway.core.event`). The publisher can
still report a mistake to the caller; a worker can only skip an invalid record.
"""

from __future__ import annotations

import math
import re
import uuid
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from gateway.core.event import type_fault
from gateway.core.records import UnreadableReason
from gateway.errors import PublishError
from gateway.revocation.record import Change, write_value

MAX_USER_BYTES = 512
"""Maximum bytes of a user id in a token (`gateway.http.auth.tokens`)."""

_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f]")


class Envelope(msgspec.Struct):
    """The value of a record, in the default shape; a broadcast omits the user."""

    event_id: str
    event_type: str
    user_id: str | None
    data: msgspec.Raw
    occurred_at: datetime


class Message(NamedTuple):
    """A record to send; `key` None: broadcast; `value` None: lifts a revocation."""

    event_id: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


def user_key(user_id: str) -> bytes:
    """Return the record key of a user. Raises `PublishError` for an invalid user id."""
    if not isinstance(user_id, str) or not user_id:
        raise PublishError(f"the user id must be a non-empty string, not {user_id!r}")
    key = _utf8("user id", user_id)
    if len(key) > MAX_USER_BYTES or not user_id.strip() or _UNFIT.search(user_id):
        raise PublishError(
            f"no token can name the user id {user_id[:64]!r}: it must have 1 to {MAX_USER_BYTES}"
            " bytes of UTF-8, and no control characters"
        )
    return key


def check_type(event_type: str) -> None:
    """Raise `PublishError` for an event type that workers would skip."""
    if not isinstance(event_type, str):
        raise PublishError(f"the event type must be a text, not {event_type!r}")
    fault = type_fault(event_type)
    if fault is UnreadableReason.RESERVED_TYPE:
        raise PublishError(
            f"the event type {event_type!r} begins with 'stream.', which is the gateway's own:"
            " choose another name"
        )
    if fault is not None:
        raise PublishError(
            f"the event type {event_type[:64]!r} must have 1 to 255 bytes of UTF-8 without control"
            " characters or line breaks"
        )


def encode_data(data: object) -> msgspec.Raw:
    """Return the payload as JSON; `msgspec.Raw` is already encoded JSON.

    Raises `PublishError` for values without a JSON form. About 1 µs for a small dictionary.
    """
    if isinstance(data, msgspec.Raw):
        return data
    try:
        encoded = msgspec.json.encode(data)
        # msgspec encodes NaN and infinities as null: search only payloads that contain null.
        unfit = b"null" in encoded and _is_unfit(msgspec.to_builtins(data, enc_hook=_opaque))
    except (TypeError, ValueError, RecursionError) as error:
        raise PublishError(f"the data cannot be written as JSON: {error}") from None
    if unfit:
        raise PublishError(
            "the data cannot be written as JSON: it holds NaN or an infinity; use null or a text"
        )
    return msgspec.Raw(encoded)


def encode(
    key: bytes | None,
    event_type: str,
    data: msgspec.Raw,
    *,
    event_id: str | uuid.UUID | None = None,
    occurred_at: datetime | None = None,
    category: str | None = None,
) -> Message:
    """Return the record of an event; id and time default to a new UUID and now.

    `key`, `event_type` and `data` were validated by `user_key`, `check_type` and `encode_data`;
    a broadcast is sent without a key. Raises `PublishError` for other invalid arguments.
    """
    user_id = None if key is None else key.decode()
    moment = datetime.now(UTC) if occurred_at is None else occurred_at
    if moment.tzinfo is None:
        raise PublishError("occurred_at must say its time zone, as datetime.now(UTC) does")
    name = str(uuid.uuid4()) if event_id is None else str(event_id)
    _utf8("event id", name)
    headers = [] if category is None else [("category", _utf8("category", category))]
    value = msgspec.json.encode(Envelope(name, event_type, user_id, data, moment))
    return Message(name, key, value, headers)


def session_id_of(session_id: str) -> str:
    """Return the session id. Raises `PublishError` if it is invalid."""
    if not isinstance(session_id, str) or not session_id:
        raise PublishError(f"the session id must be a non-empty string, not {session_id!r}")
    _utf8("session id", session_id)
    return session_id


def encode_change(change: Change) -> Message:
    """Return the record of a revocation or of its removal; it is not an event."""
    revocation = change.revocation
    return Message("", change.key, None if revocation is None else write_value(revocation), [])


def _utf8(noun: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        reason = "cannot be encoded in UTF-8: it contains an unpaired surrogate"
        raise PublishError(f"the {noun} {text!r} {reason}") from None


def _opaque(value: object) -> None:
    """Replace encoded JSON, which cannot contain NaN, by None."""


def _is_unfit(data: object) -> bool:
    """Whether the data contains NaN or an infinity."""
    if isinstance(data, float):
        return not math.isfinite(data)
    if isinstance(data, dict):
        return any(map(_is_unfit, data.values()))
    return isinstance(data, (list, tuple)) and any(map(_is_unfit, data))
