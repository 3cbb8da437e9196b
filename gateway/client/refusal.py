"""Evaluates a response other than a stream: retry, or an error with its remedy."""

from __future__ import annotations

import msgspec

from gateway.errors import RequestRefused, StreamRefused, TokenRefused

TRANSIENT = frozenset({408, 425, 429})
"""Statuses worth a retry, besides every 5xx (RFC 9110, §15.5.9; RFC 8470, §5.2; RFC 6585, §4)."""

_ADVICE = {
    400: "correct the request",
    403: "send the request from an allowed origin",
    404: "correct the URL: a gateway's ends with /api/v1/events",
    405: "correct the URL: a gateway's ends with /api/v1/events",
    414: "make the URL shorter",
    431: "send fewer headers and cookies",
}


class Problem(msgspec.Struct, frozen=True):
    """Fields of problem details (RFC 9457); empty for any other body."""

    title: str = ""
    detail: str = ""


def is_transient(status: int) -> bool:
    """Return whether the same request may succeed later."""
    return status in TRANSIENT or status >= 500


def describe(status: int, reason: str, body: bytes) -> str:
    """Return the status and the problem details on one line."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except msgspec.DecodeError:
        problem = Problem()
    text = f"{status} {problem.title or reason}"
    return f"{text}: {problem.detail}" if problem.detail else text


def refusal(status: int, text: str) -> StreamRefused:
    """Return the error for a response that no retry can change."""
    if status == 401:
        return TokenRefused(f"{text}; get a new token: this one is expired, revoked or invalid")
    return RequestRefused(f"{text}; {_ADVICE.get(status, 'ask the operator of the gateway')}")
