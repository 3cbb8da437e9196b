"""How long to wait before the next try: pure, the random number is an argument."""

from __future__ import annotations

MIN_SPREAD_SECONDS = 0.2
"""Where the server asks for no wait at all, tries that fail are still spread and slowed down."""

MAX_SPREAD_SECONDS = 30.0

MAX_ASKED_SECONDS = 3600.0
"""Of what a server may ask for; so a wrong number does not end a client."""

MAX_DOUBLINGS = 16
"""`MAX_SPREAD_SECONDS` is reached long before."""


def wait_seconds(retry: float, retry_after: float, failures: int, draw: float) -> float:
    """Return the wait after that many failures in a row; `draw` is random, from 0 to 1.

    The server's `retry:`, and `Retry-After` where that is more, is the least. A random part of a
    span that doubles with each failure comes on top (full jitter), so that clients which lost their
    server together do not come back together. 0 failures: the server has said goodbye, and has
    itself drawn what it asks for.
    """
    asked = min(max(retry, retry_after), MAX_ASKED_SECONDS)
    if not failures:
        return asked
    span = max(retry, MIN_SPREAD_SECONDS) * 2.0 ** min(failures - 1, MAX_DOUBLINGS)
    return asked + draw * min(span, MAX_SPREAD_SECONDS)


def retry_after_seconds(text: str) -> float:
    """Return the wait that `Retry-After` asks for; a date counts as none (RFC 9110, §10.2.3)."""
    return float(text) if text.isascii() and text.isdigit() else 0.0
