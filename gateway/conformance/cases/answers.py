"""Requests that open no stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.conformance.case import Case
from gateway.conformance.verdict import fail, not_applicable

if TYPE_CHECKING:
    from gateway.conformance.trial import Trial


async def head(trial: Trial) -> str:
    return await _answer(trial, "HEAD")


async def options(trial: Trial) -> str:
    return await _answer(trial, "OPTIONS")


async def other_method(trial: Trial) -> str:
    return await _answer(trial, "PATCH", may_succeed=False)


async def _answer(trial: Trial, method: str, *, may_succeed: bool = True) -> str:
    connection = await trial.listener().ask(method=method)
    status, allow = connection.status, connection.header("allow")
    if status == 405:
        if allow is None:
            fail("405 without Allow")
        return f"405, Allow: {allow}"
    if status >= 500 and status != 501:
        fail(f"{status}")
    if status < 300 and not may_succeed:
        fail(f"{status}")
    return f"{status}"


async def no_token(trial: Trial) -> str:
    return await _unauthorised(trial, None)


async def bad_token(trial: Trial) -> str:
    return await _unauthorised(trial, "eyJhbGciOiJIUzI1NiJ9.e30.AAAA")


async def _unauthorised(trial: Trial, token: str | None) -> str:
    if trial.options.token is None:
        not_applicable("it needs --token")
    connection = await trial.listener().ask(token=token)
    challenge = connection.header("www-authenticate")
    if connection.status != 401:
        fail(f"{connection.status}")
    if challenge is None:
        fail("401 without WWW-Authenticate")
    return f"401, WWW-Authenticate: {challenge}"


CASES = (
    Case("head", "HEAD is answered, and opens nothing.", "RFC 9110 §9.3.2", head),
    Case("options", "OPTIONS is answered.", "RFC 9110 §9.3.7", options),
    Case(
        "other-method",
        "Another method is refused, by 405 with `Allow`.",
        "RFC 9110 §15.5.6",
        other_method,
    ),
    Case("no-token", "Without a token there is no stream: 401.", "RFC 6750 §3", no_token),
    Case("bad-token", "With a bad token there is none: 401.", "RFC 6750 §3", bad_token),
)
