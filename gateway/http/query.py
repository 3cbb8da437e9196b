"""The query of a stream request: filter, position to resume from, start in the past."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gateway.core import event_id
from gateway.core.filter import Selection, select_types
from gateway.core.request import StreamRequest
from gateway.errors import BadRequest, EventIdError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web
    from multidict import MultiMapping

    from gateway.http.auth.claims import Identity

LATEST_SINCE = 1 << 47
"""Unix ms, exclusive: the year 6429, the maximum of an event id."""

_TIME = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)
"""RFC 3339, with optional seconds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SECONDS_BELOW = 100_000_000_000
"""A number below this is Unix seconds, up to the year 5138; in ms it would be before March 1973."""

EXAMPLES = (
    "an RFC 3339 time with offset such as 2026-01-31T12:00:00Z, or a Unix time in seconds or"
    " milliseconds"
)


def read_opening(request: web.Request, identity: Identity) -> StreamRequest:
    """Return the stream request, without a filter.

    Raises `BadRequest` for a `since` that is not a time. A malformed id is not an error, since a
    browser would repeat it in every request: the opening reports it.
    """
    text = last_event_id(request)
    malformed = False
    cursor: Sequence[event_id.CursorEntry] = ()
    if text:
        try:
            cursor = event_id.parse(text)
        except EventIdError:
            malformed = True
    return StreamRequest(
        user=identity.user.encode(),
        session=identity.session,
        cursor=cursor,
        since=_since(request.query),
        malformed=malformed,
        issued_at=identity.issued_at,
        groups=identity.groups,
    )


def last_event_id(request: web.Request) -> str:
    """Return the client's last event id; the header wins. Empty without one."""
    return (
        request.headers.get("Last-Event-ID")
        or request.query.get("Last-Event-ID")
        or request.query.get("last_event_id")
        or ""
    )


def read_categories(query: MultiMapping[str], known: Sequence[str]) -> frozenset[str]:
    """Return the requested categories; empty: all events, also without a category.

    Raises `BadRequest` for a category that is not among `known`.
    """
    wanted = frozenset(_words(query.getall("categories", [])))
    unknown = sorted(wanted.difference(known))
    if unknown:
        raise BadRequest(
            f"unknown category {', '.join(unknown)[:100]}; the categories are {', '.join(known)}"
        )
    return wanted


def read_types(query: MultiMapping[str]) -> Selection | None:
    """Return the events of the requested types; None: all events.

    Raises `BadRequest` for a text that is neither a type nor a prefix.
    """
    words = _words(query.getall("types", []))
    try:
        return select_types(words) if words else None
    except ValueError as error:
        raise BadRequest(f"types: {error}") from None


def _words(values: Sequence[str]) -> list[str]:
    """Return the parts, separated by commas, of a parameter's values; none is empty."""
    words = [part.strip() for value in values for part in value.split(",")]
    return [word for word in words if word]


def _since(query: MultiMapping[str]) -> int | None:
    text = query.get("since")
    if text is None:
        return None
    milliseconds = _milliseconds(text)
    if milliseconds is None or not 0 <= milliseconds < LATEST_SINCE:
        raise BadRequest(f"since must be {EXAMPLES}")
    return milliseconds


def _milliseconds(text: str) -> int | None:
    if text.isascii() and text.isdecimal() and len(text) <= 15:
        number = int(text)
        return number * 1000 if number < SECONDS_BELOW else number
    text = text.replace(" ", "+")  # a plus sign in a query is read as a space
    if not _TIME.fullmatch(text):
        return None
    try:
        time = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    # `timestamp()` is a float: times a thousand, one of a hundred falls short of its millisecond.
    return (time - _EPOCH) // timedelta(milliseconds=1)
