"""Every error that the gateway raises on purpose.

    GatewayError
    ├── SettingsError            a setting is wrong, unknown or missing
    ├── PublishError             an event that cannot be written to Kafka as it is
    ├── BrokerError              Kafka did not answer, or refused
    ├── EventIdError             text that is no event id
    ├── KeySetError              keys that cannot be fetched, or are none
    ├── OperationsError          an operations listener did not answer, or refused
    ├── IdFileError              a file that is to keep an id cannot
    ├── StreamRefused            a server's answer to a client, which a second try cannot change
    │   ├── TokenRefused         the token is not accepted, and no better one was given
    │   ├── RequestRefused       the request has to be another one
    │   └── NotAStream           what answers is no gateway
    ├── ConformanceError         a server cannot be judged as the command says; the text says why
    └── HttpError                an answer to a request that opens no stream
        ├── BadRequest           400
        ├── Unauthorized         401
        │   └── UnknownKey       401, unless the key is found after all
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

`status` and `retry` are class attributes: what an error means never depends on who catches it.
The texts are for the person who reads them, so they say what to do.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class TokenFault(StrEnum):
    """Why a request was not authorized: for operators, never in the response."""

    MISSING = "missing"
    """No token, or one in a place that the settings do not allow."""
    ORIGIN = "origin"
    """A cookie in a request of another web site."""
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
    """A claim that is needed is missing: `exp`, the user id, one of `require`."""
    CLAIM_TYPE = "claim_type"
    """A claim has a value that cannot be used."""
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    """`nbf` or `iat` is ahead of the clock by more than the leeway."""
    REVOKED = "revoked"


class GatewayError(Exception):
    """The root of the tree."""

    exit_code: ClassVar[int] = 1


class SettingsError(GatewayError):
    """The start is stopped by settings that cannot work; one line for each, nothing else."""

    exit_code: ClassVar[int] = 2


class PublishError(GatewayError):
    """An event was rejected before it was sent, or Kafka did not confirm it.

    `may_be_written` is true where Kafka may have the event all the same: an answer was lost, or did
    not come in time. Publish such an event again only with the same `event_id`, by which clients
    discard a repeated one. Otherwise the event was not written.
    """

    def __init__(self, text: str, *, may_be_written: bool = False) -> None:
        super().__init__(text)
        self.may_be_written = may_be_written


class BrokerError(GatewayError):
    """Kafka did not answer in time, or refused what was asked; the text says where and what.

    `advice`, where there is any, says what to do about what was `found`.
    """

    def __init__(self, found: str, advice: str = "") -> None:
        super().__init__(f"{found}; {advice}" if advice else found)
        self.found = found
        self.advice = advice


class EventIdError(GatewayError):
    """The text is not an event id of this gateway: malformed, truncated or over-long."""


class KeySetError(GatewayError):
    """The keys that verify tokens were not to be had where they should be; the text says why."""


class OperationsError(GatewayError):
    """An operations listener did not answer a command, or refused; the text says what to do."""


class IdFileError(GatewayError):
    """The file where a client keeps its last id cannot be read or written, or holds none."""


class StreamRefused(GatewayError):
    """A server will not open the stream that a client asked for; the text says what to do."""


class TokenRefused(StreamRefused):
    """The token has expired, is revoked or is bad, and its source gave no better one."""


class RequestRefused(StreamRefused):
    """The server does not want this request, whoever asks and whenever."""


class NotAStream(StreamRefused):
    """What answers at the URL sends no event stream."""


class ConformanceError(GatewayError):
    """A server could not be judged: no event of a command came, or it failed; the text says why."""


class HttpError(GatewayError):
    """A request that is answered with problem details (RFC 9457) instead of a stream."""

    status: ClassVar[int]
    title: ClassVar[str]
    retry_after: int | None = None
    """Seconds for `Retry-After`, where trying again makes sense."""
    reason: str = ""
    """What it is counted as."""

    def __init__(self, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}


class BadRequest(HttpError):
    """The request cannot be served as it is written."""

    status = 400
    title = "Bad Request"
    reason = "bad_request"


class Unauthorized(HttpError):
    """No token, or one that is not accepted; the response never says which check failed.

    `fault` and `explanation` do, for metrics, logs and commands. The explanation may quote claims,
    so it is for whoever holds the token.
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
    """The token names a key that is not known: perhaps a new one, most often one made up.

    `renew` waits for newer keys of its issuer.
    """

    renew: Callable[[], Awaitable[None]]


class InsufficientScope(HttpError):
    """The token is valid, and its scopes do not allow what is asked for (RFC 6750, §3.1)."""

    status = 403
    title = "Forbidden"
    reason = "insufficient_scope"


class Forbidden(HttpError):
    """The request comes from where nobody may ask."""

    status = 403
    title = "Forbidden"
    reason = "forbidden"


class NotFound(HttpError):
    """There is nothing at this path."""

    status = 404
    title = "Not Found"
    reason = "not_found"


class MethodNotAllowed(HttpError):
    """The path exists, the method does not; `Allow` lists those that do."""

    status = 405
    title = "Method Not Allowed"
    reason = "method_not_allowed"


class UriTooLong(HttpError):
    """The path and query are longer than any that make sense."""

    status = 414
    title = "URI Too Long"
    reason = "uri_too_long"


class HeadTooLarge(HttpError):
    """The headers together are larger than any that make sense (RFC 6585, §5)."""

    status = 431
    title = "Request Header Fields Too Large"
    reason = "head_too_large"


class InternalError(HttpError):
    """A defect of the gateway; the log has its traceback under the request id."""

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
    """A limit is reached; `reason` says which, and is what the refusal is counted as."""

    def __init__(self, detail: str, reason: str, retry_after: int) -> None:
        super().__init__(detail)
        self.reason = reason
        self.retry_after = retry_after


class TooMany(Refused):
    """The user or the address has all that it may have; others are served."""

    status = 429
    title = "Too Many Requests"


class Overloaded(Refused):
    """The worker has all that it can serve; another one may serve the request now."""

    status = 503
    title = "Service Unavailable"
