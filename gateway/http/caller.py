"""The caller of a request, for logs and responses: address, request id, trace id.

A request has one id for its answer, its line in the log and bug reports. The id of a
trusted proxy is kept; an id from any other client is replaced, since the client could write the ids
of others, or any text, into the log.

`traceparent` (W3C Trace Context, §3.2) is accepted from every client, since traces begin there; a
malformed one is ignored.
"""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import hdrs, web

from gateway.http.addresses import Addresses

if TYPE_CHECKING:
    from collections.abc import Iterable

REQUEST_ID = "X-Request-Id"

_ID = re.compile(r"[0-9A-Za-z._~:@=+/-]{1,64}")
"""An accepted request id: all common formats; no characters that logs escape."""

_TRACE = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}"
    r"-[0-9a-f]{2}(?P<more>-.*)?"
)
"""Version 00, and the part of every later version that stays the same (§3.2.2)."""


class Caller(NamedTuple):
    """A request's origin, as text that is safe to log."""

    address: str
    """As limits count it: an IPv6 client by its network. Empty if disconnected."""
    request_id: str
    trace_id: str | None
    traceparent: str = ""
    """The header `traceparent`; empty without one."""
    at: int = 0
    """Time of arrival, in Unix nanoseconds."""

    def facts(self) -> dict[str, str]:
        """Return the fields of a log line."""
        facts = {"address": self.address, "request_id": self.request_id}
        if self.trace_id is not None:
            facts["trace_id"] = self.trace_id
        return facts


CALLER = web.RequestKey("caller", Caller)
"""Request key of the caller, set by `problems`."""


class Callers:
    """Identifies requests' callers. `trusted` are networks of proxies."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._addresses = Addresses(trusted)

    def identify(self, request: web.Request) -> Caller:
        """Return the request's caller, with a new id at every call."""
        given = _only(request, REQUEST_ID)
        taken = _ID.fullmatch(given) is not None and self._addresses.by_proxy(request)
        traceparent = _only(request, "traceparent")
        trace_id = _trace_id(traceparent)
        return Caller(
            self._addresses.client(request),
            given if taken else f"{random.getrandbits(96):024x}",
            trace_id,
            "" if trace_id is None else traceparent,
            time.time_ns(),
        )


async def finish_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the request's id and remove `Server`; a signal of aiohttp, sent before each response.

    aiohttp names the versions of Python and aiohttp, which no client needs to know.
    """
    response.headers.pop(hdrs.SERVER, None)
    caller = request.get(CALLER)
    if caller is not None:
        response.headers[REQUEST_ID] = caller.request_id


def _only(request: web.Request, name: str) -> str:
    """Return the value of a header; empty if it is missing or repeated."""
    values = request.headers.getall(name, [])
    return values[0] if len(values) == 1 else ""


def _trace_id(given: str) -> str | None:
    parts = _TRACE.fullmatch(given)
    if parts is None or (parts["version"] == "00" and parts["more"] is not None):
        return None
    return parts["trace"]
