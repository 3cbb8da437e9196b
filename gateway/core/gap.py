"""Gaps and close reasons: the payloads of `stream.gap` and `stream.close`."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from gateway.core.records import LogKind


class GapReason(StrEnum):
    """Why a range of a partition is not delivered."""

    EXPIRED = "expired"
    """Retention has deleted it."""
    RESET = "reset"
    """The id belongs to another incarnation of the partition."""
    INVALID = "invalid"
    """The id cannot be parsed, so the missed range is unknown."""
    LIMIT = "limit"
    """It exceeds the replay limits."""
    SCHEMA = "schema"
    """The schema registry has not answered in time, so the record cannot be decoded."""


class CloseReason(StrEnum):
    """Why the server closes a stream."""

    DRAINING = "draining"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a reason, no secret
    REVOKED = "revoked"
    REPLACED = "replaced"
    SLOW = "slow"
    MAX_AGE = "max_age"
    CLOSED = "closed"


class Gap(msgspec.Struct, frozen=True):
    """A range of a partition that a stream does not deliver; None for unknown fields.

    `first` is the first missing offset, `next` the offset at which the stream continues, `since`
    the time (ms) from which the client should fetch its state again.
    """

    reason: GapReason
    log: LogKind | None = None
    partition: int | None = None
    first: int | None = None
    next: int | None = None
    since: int | None = None
