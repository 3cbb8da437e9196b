"""Gaps and ends of a stream: what a client is told besides its events."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from gateway.core.records import LogKind


class GapReason(StrEnum):
    """Why a stretch of a log can no longer be seen."""

    EXPIRED = "expired"
    """Retention has removed it."""
    RESET = "reset"
    """The log is not the one that the id was made for."""
    INVALID = "invalid"
    """The id cannot be read, so nobody knows what was missed."""
    LIMIT = "limit"
    """It is more than the replay limits allow."""


class CloseReason(StrEnum):
    """Why the server ends a stream on purpose."""

    DRAINING = "draining"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a reason, no secret
    REVOKED = "revoked"
    REPLACED = "replaced"
    SLOW = "slow"
    MAX_AGE = "max_age"
    CLOSED = "closed"


class Gap(msgspec.Struct, frozen=True):
    """A stretch that a cursor can no longer see; what is not known is None.

    `first` is the first offset that cannot be seen, `next` the offset at which the stream goes on,
    `since` the time (ms) from which on the client should fetch its state again.
    """

    reason: GapReason
    log: LogKind | None = None
    partition: int | None = None
    first: int | None = None
    next: int | None = None
    since: int | None = None
