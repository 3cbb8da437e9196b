"""The exceptions that the gateway raises deliberately.

    GatewayError
    ├── SettingsError            a setting is wrong, unknown or missing
    ├── PublishError             an event is invalid, or Kafka did not confirm it
    ├── BrokerError              Kafka did not answer, or rejected a request
    ├── EventIdError             text is not a valid event id
    ├── KeySetError              keys cannot be fetched, or are invalid
    ├── OperationsError          an operations listener did not answer, or rejected a request
    ├── IdFileError              a file cannot store or provide an event id
    ├── StreamRefused            a server rejects a client; a retry cannot succeed
    │   ├── TokenRefused         the token is rejected, and its source lacks a newer one
    │   ├── RequestRefused       the request must be changed
    │   └── NotAStream           the response is not an event stream
    ├── ConformanceError         a conformance test cannot run; the text has the reason
    └── HttpError                an error response to a request
        ├── BadRequest           400
        ├── Unauthorized         401
        │   └── UnknownKey       401, unless a key refresh finds the key
        ├── InsufficientScope    403, the token's scopes do not allow it
        ├── NotFound             404
        ├── MethodNotAllowed     405
        ├── UriTooLong           414
        ├── HeadTooLarge         431
        ├── InternalError        500
        ├── NotReady             503
        └── Refused              a limit is reached
            ├── TooMany          429, of the user or address
            └── Overloaded       503, of the worker

`status` and `retry` are class attributes: the meaning of an error never depends on the handler.
Error texts are written for operators and state the remedy.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class TokenFault(StrEnum):
    """Why a request was not authorized; shown to operators, never in the response."""

    MISSING = "missing"
    """The token is missing, or in a place that the settings do not allow."""
    ORIGIN = "origin"
    """The request with a cookie comes from another web site."""
    MALFORMED = "malformed"
    """Not a JWT: segments, base64url, JSON, `crit`, length."""
    TYPE = "type"
    """`typ` names another kind of token, such as a logout token."""
    ALGORITHM = "algorithm"
    """`alg` is not accepted."""
    UNKNOWN_KEY = "unknown_key"
    """No key has this `kid` and algorithm."""
    SIGNATURE = "signature"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    CLAIM_MISSING = "claim_missing"
    """A required claim is missing: `exp`, the user id, one of `require`."""
    CLAIM_TYPE = "claim_type"
    """A claim has an invalid value."""
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    """`nbf` or `iat` is ahead of the clock by more than the leeway."""
    REVOKED = "revoked"


class GatewayError(Exception):
    """Base class of all errors of the gateway."""

    exit_code: ClassVar[int] = 1


class SettingsError(GatewayError):
    """Invalid settings prevent the start; the text has one line for each."""

    exit_code: ClassVar[int] = 2


class PublishError(GatewayError):
    """An event was rejected before it was sent, or Kafka did not confirm it.

    `may_be_written` is true if Kafka may have written the event although the response was lost or
    late. Publish such an event again only with the same `event_id`, by which clients discard
    duplicates. Otherwise the event was not written.
    """

    def __init__(self, text: str, *, may_be_written: bool = False) -> None:
        super().__init__(text)
        self.may_be_written = may_be_written


class BrokerError(GatewayError):
    """Kafka did not answer in time, or rejected a request; the text names the cause.

    `found` describes the failure; `advice` is the remedy, or empty.
    """

    def __init__(self, found: str, advice: str = "") -> None:
        super().__init__(f"{found}; {advice}" if advice else found)
        self.found = found
        self.advice = advice


class EventIdError(GatewayError):
    """The text is not an event id of this gateway: malformed, truncated or over-long."""


class KeySetError(GatewayError):
    """The keys that verify tokens cannot be loaded: `found` is the cause, `advice` the remedy."""

    def __init__(self, found: str, advice: str) -> None:
        super().__init__(f"{found}; {advice}")
        self.found = found
        self.advice = advice


class OperationsError(GatewayError):
    """An operations listener did not answer or rejected a command."""


class IdFileError(GatewayError):
    """The file with a client's last event id is unreadable, unwritable or invalid."""


class StreamRefused(GatewayError):
    """A server permanently rejects a client's stream; the text has the remedy."""


class TokenRefused(StreamRefused):
    """The token is expired, revoked or invalid, and its source lacks a newer one."""


class RequestRefused(StreamRefused):
    """The server rejects this request for every client, and a retry cannot succeed."""


class NotAStream(StreamRefused):
    """The response from the URL is not an event stream."""


class ConformanceError(GatewayError):
    """A conformance test cannot run: a command failed, or its event did not arrive."""


class HttpError(GatewayError):
    """An error response with problem details (RFC 9457) instead of a stream."""

    status: ClassVar[int]
    title: ClassVar[str]
    retry_after: int | None = None
    """Seconds for `Retry-After`; None if a retry cannot succeed."""
    reason: str = ""
    """Metric label under which the error is counted."""

    def __init__(self, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}


class BadRequest(HttpError):
    """The request is invalid."""

    status = 400
    title = "Bad Request"
    reason = "bad_request"


class Unauthorized(HttpError):
    """The token is missing or rejected; the response never names the failed check.

    `fault` and `explanation` name the check, for metrics, logs and commands. The explanation may
    quote claims: show it only to the holder of the token.
    """

    status = 401
    title = "Unauthorized"
    reason = "unauthorized"

    def __init__(
        self,
        detail: str,
        headers: dict[str, str] | None = None,
        fault: TokenFault = TokenFault.MISSING,
        explanation: str = "",
    ) -> None:
        super().__init__(detail, headers)
        self.fault = fault
        self.explanation = explanation


class UnknownKey(Unauthorized):
    """The token names an unknown key: possibly a new one, usually an invented one.

    `renew` waits for newer keys of the token's issuer.
    """

    renew: Callable[[], Awaitable[None]]


class InsufficientScope(HttpError):
    """The token is valid, but its scopes do not allow the request (RFC 6750, §3.1)."""

    status = 403
    title = "Forbidden"
    reason = "insufficient_scope"


class Forbidden(HttpError):
    """The origin or address of the request is not allowed."""

    status = 403
    title = "Forbidden"
    reason = "forbidden"


class NotFound(HttpError):
    """The path does not exist."""

    status = 404
    title = "Not Found"
    reason = "not_found"


class MethodNotAllowed(HttpError):
    """The path does not support the method; `Allow` lists the supported methods."""

    status = 405
    title = "Method Not Allowed"
    reason = "method_not_allowed"


class UriTooLong(HttpError):
    """The path and query exceed the limit, which is above every valid request."""

    status = 414
    title = "URI Too Long"
    reason = "uri_too_long"


class HeadTooLarge(HttpError):
    """The headers together exceed the limit (RFC 6585, §5)."""

    status = 431
    title = "Request Header Fields Too Large"
    reason = "head_too_large"


class InternalError(HttpError):
    """A bug in the gateway; the log has the traceback with the request id."""

    status = 500
    title = "Internal Server Error"
    reason = "internal_error"


class NotReady(HttpError):
    """The worker was never ready, or is draining; another worker may serve the request now."""

    status = 503
    title = "Service Unavailable"
    reason = "service_unavailable"
    retry_after = 3


class Refused(HttpError):
    """A limit is reached; `reason` names the limit and is the metric label."""

    def __init__(self, detail: str, reason: str, retry_after: int) -> None:
        super().__init__(detail)
        self.reason = reason
        self.retry_after = retry_after


class TooMany(Refused):
    """The user or the address is at its limit; others are served."""

    status = 429
    title = "Too Many Requests"


class Overloaded(Refused):
    """The worker is at its limit; another worker may serve the request now."""

    status = 503
    title = "Service Unavailable"
