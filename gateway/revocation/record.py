"""A revocation, and its record in the compacted topic that all workers read.

    key                  revokes                                             value
    -------------------  --------------------------------------------------  ----------------------
    session:<session>    that session of the user in the value               JSON, or null: lifted
    user:<user>          the user's tokens issued before `revoked_at`, and   JSON, or null: lifted
                         tokens without an issue time

The JSON is `{"user_id", "revoked_at", "expires_at"}`, the times in Unix ms. A missing field gets a
default where one exists, because a record with a forgotten field is still meant to revoke.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

from gateway.core.json_text import text
from gateway.core.records import TIMESTAMP_LIMIT, Event, UnreadableReason

REVOKED_TYPE = "security.session.revoked"
"""The event that revokes a session of its user, named in the payload."""

_SESSION = b"session:"
_USER = b"user:"

MIN_TIME = 100_000_000_000
"""Unix ms of 1973. A smaller number is a time in seconds, which would expire at once."""

_Time = Annotated[int, msgspec.Meta(ge=MIN_TIME, lt=TIMESTAMP_LIMIT)]


class Revocation(NamedTuple):
    """A session of `user`, or all tokens of `user`, revoked until `expires_at` (Unix ms)."""

    user: bytes
    """The user id in UTF-8, as it is in record keys."""
    revoked_at: int
    expires_at: int


class Change(NamedTuple):
    """A record of the topic; `revocation` is None where the record lifts those of its key."""

    key: bytes
    revocation: Revocation | None


class _Value(msgspec.Struct):
    user_id: str | int | None = None
    revoked_at: _Time | None = None
    expires_at: _Time | None = None


class _Payload(msgspec.Struct):
    session_id: str | int


_value = msgspec.json.Decoder(_Value)
_payload = msgspec.json.Decoder(_Payload)


def session_key(session: str) -> bytes:
    """Return the key of a session's revocation."""
    return _SESSION + session.encode()


def user_key(user: bytes) -> bytes:
    """Return the key of a user's revocation."""
    return _USER + user


def read_change(
    key: bytes | None, value: bytes | None, timestamp: int, life: int
) -> Change | UnreadableReason:
    """Return the change of a record of the topic, or why it is unreadable; never raises.

    `timestamp` (ms) is the record's, and stands in for `revoked_at`; without `expires_at` the
    revocation lasts for `life` ms from then.
    """
    if not key:
        return UnreadableReason.NO_KEY
    if text(key) is None:
        return UnreadableReason.KEY_NOT_UTF8
    if not key.startswith((_SESSION, _USER)) or key in {_SESSION, _USER}:
        return UnreadableReason.WRONG_SHAPE
    if value is None:
        return Change(key, None)
    try:
        fields = _value.decode(value)
    except msgspec.ValidationError:
        return UnreadableReason.WRONG_SHAPE
    except ValueError:  # msgspec's own, and UnicodeDecodeError from inside a string
        return UnreadableReason.NOT_JSON
    except RecursionError:
        return UnreadableReason.TOO_DEEP
    user = None if fields.user_id is None else str(fields.user_id).encode()
    if key.startswith(_USER):
        named = key.removeprefix(_USER)
        if user not in {None, named}:
            return UnreadableReason.USER_MISMATCH
        user = named
    elif not user:
        return UnreadableReason.WRONG_SHAPE
    begin = timestamp if fields.revoked_at is None else fields.revoked_at
    end = begin + life if fields.expires_at is None else fields.expires_at
    return Change(key, Revocation(user, begin, end))


def write_value(revocation: Revocation) -> bytes:
    """Return the value of a revocation's record."""
    user = revocation.user.decode()
    return msgspec.json.encode(_Value(user, revocation.revoked_at, revocation.expires_at))


def revoked_session(event: Event) -> str | None:
    """Return the session that an event revokes; None for any other event."""
    if event.event_type != REVOKED_TYPE:
        return None
    # As clients read it: all lines after the first are `data:`, and JSON allows line breaks.
    lines = event.body.split(b"\ndata: ")[1:]
    try:
        session = str(_payload.decode(b"\n".join(lines)).session_id)
        session.encode()
    except (ValueError, RecursionError):  # invalid JSON, no session, or a lone surrogate
        return None
    return session or None
