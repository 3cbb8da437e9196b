"""Computes the wait before a reconnect; pure, the random number is an argument."""

from __future__ import annotations

MIN_SPREAD_SECONDS = 0.2
"""Least spread of failed attempts, also where the server requests no wait."""

MAX_SPREAD_SECONDS = 30.0

MAX_ASKED_SECONDS = 3600.0
"""Longest wait that a server can request: a wrong number must not stop a client."""

MAX_DOUBLINGS = 16
"""Bound of the exponent; `MAX_SPREAD_SECONDS` is reached long before."""


def wait_seconds(retry: float, retry_after: float, failures: int, draw: float) -> float:
    """Return the wait after `failures` failures in a row, in seconds; `draw` is from 0 to 1.

    The longer of the server's `retry:` and `Retry-After` is the minimum. A random part of a span
    that doubles with each failure is added (full jitter), so that clients that lost their server
    at the same time reconnect at different times. 0 failures: the server has announced the close,
    and its `retry:` is already random.
    """
    asked = min(max(retry, retry_after), MAX_ASKED_SECONDS)
    if not failures:
        return asked
    span = max(retry, MIN_SPREAD_SECONDS) * 2.0 ** min(failures - 1, MAX_DOUBLINGS)
    return asked + draw * min(span, MAX_SPREAD_SECONDS)


def retry_after_seconds(text: str) -> float:
    """Return the seconds of `Retry-After`; 0 for a date (RFC 9110, §10.2.3)."""
    return float(text) if text.isascii() and text.isdigit() else 0.0
