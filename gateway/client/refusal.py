"""What a server's answer means that is no stream: try again, or give up and say what to do."""

from __future__ import annotations

import msgspec

from gateway.errors import RequestRefused, StreamRefused, TokenRefused

TRANSIENT = frozenset({408, 425, 429})
"""Refusals that time heals, besides every 5xx (RFC 9110, §15.5.9; RFC 8470, §5.2; RFC 6585, §4)."""

_ADVICE = {
    400: "mend the request",
    403: "ask from where it is allowed",
    404: "mend the URL: a gateway's ends with /api/v1/events",
    405: "mend the URL: a gateway's ends with /api/v1/events",
    414: "make the URL shorter",
    431: "send fewer headers and cookies",
}


class Problem(msgspec.Struct, frozen=True):
    """What is read of problem details (RFC 9457); a body that is none has none of it."""

    title: str = ""
    detail: str = ""


def is_transient(status: int) -> bool:
    """Return whether the same request may be answered otherwise later."""
    return status in TRANSIENT or status >= 500


def said(status: int, reason: str, body: bytes) -> str:
    """Return what the server said, on one line."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except msgspec.DecodeError:
        problem = Problem()
    text = f"{status} {problem.title or reason}"
    return f"{text}: {problem.detail}" if problem.detail else text


def refusal(status: int, text: str) -> StreamRefused:
    """Return the error for an answer that no second try can change."""
    if status == 401:
        return TokenRefused(f"{text}; get a new token: this one has expired, is revoked or is bad")
    return RequestRefused(f"{text}; {_ADVICE.get(status, 'ask whoever runs the gateway')}")
