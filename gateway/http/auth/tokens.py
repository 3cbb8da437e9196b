"""Who opens a stream: a bearer token (RFC 6750), verified as a JWT (RFC 7519, RFC 8725).

PyJWT's algorithms verify signatures of public keys: the one that the token names, if it is
accepted, with keys that go with it and were looked at once. Its decoder around them costs 50 µs a
token, much of what opening a stream costs, and compares times by a clock of its own, with one
leeway for all of them. So the three segments and the claims are read here: `exp` gets no leeway, or
a stream would open only to end at once.

A token that is refused is refused with the same words whatever is wrong with it.
"""

from __future__ import annotations

import hmac
import json
import re
from binascii import a2b_base64, b2a_base64
from typing import TYPE_CHECKING, Any, NamedTuple

import jwt
import msgspec

from gateway import clock
from gateway.errors import Unauthorized, UnknownKey

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.config import Settings
    from gateway.core.revocations import Revocations
    from gateway.http.auth.keys import Key, Keys
    from gateway.http.origins import Origins

MAX_TOKEN = 8192
"""Characters of a token; aiohttp takes no longer header, so nor does a cookie or a query."""

MAX_CLAIM_BYTES = 512
"""Of a user or session id. The user is hashed and compared for every record of a partition."""

MAX_NUMBER = 2**53 - 1
"""The largest integer that every JSON parser reads alike (RFC 8259, §6); as an id it is text."""

MAX_DATE = 253_402_300_799
"""The end of the year 9999 in Unix seconds; beyond it stand milliseconds taken for seconds."""

TYPES = frozenset({"jwt", "at+jwt"})
"""What a token may say it is, if it says so (RFC 7519, §5.1; RFC 9068, §2.1). Issuers sign other
things with the same key, such as the tokens that log a session out (RFC 8725, §3.11)."""

_DIGESTS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}

_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")

_CHALLENGE = 'Bearer realm="gateway"'
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Identity(NamedTuple):
    """What a verified token says: times in Unix seconds, None for what it does not say."""

    user: str
    session: str | None
    expires_at: float
    issued_at: float | None


class _Header(msgspec.Struct):
    alg: str
    kid: str | msgspec.UnsetType = msgspec.UNSET
    typ: str = "JWT"
    crit: Any = None
    b64: Any = True


class Authenticator:
    """Verifies tokens with keys, as the settings want it, and knows which are revoked."""

    def __init__(self, settings: Settings, keys: Keys, revocations: Revocations) -> None:
        self._keys = keys
        self._revocations = revocations
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._leeway = settings.jwt_leeway_seconds
        self._user_claim = settings.jwt_user_claim
        self._session_claim = settings.jwt_session_claim
        self._methods = {name: jwt.get_algorithm_by_name(name) for name in settings.algorithms}
        self._header = msgspec.json.Decoder(_Header)
        self._payload = msgspec.json.Decoder(dict[str, Any])

    async def identify(self, token: str) -> Identity:
        """Return who the token speaks for, if it is good now.

        Raises `Unauthorized` otherwise, and `NotReady` while there are no keys. Waits a moment for
        a key that is not known.
        """
        try:
            identity = self.verify(token, clock.now().wall / 1000)
        except UnknownKey:
            await self._keys.renew()
            identity = self.verify(token, clock.now().wall / 1000)
        self.admit(identity)
        return identity

    def admit(self, identity: Identity) -> None:
        """Raise `Unauthorized` if what was verified is revoked by now; to be asked after a wait."""
        user, session, _, issued_at = identity
        if self._revocations.cover(user.encode(), session, issued_at, clock.now().wall):
            raise _refusal()

    def verify(self, token: str, now: float) -> Identity:
        """Return who the token speaks for, if it is good at `now` (Unix seconds).

        Raises `Unauthorized` otherwise, and `UnknownKey`, which is one, where another key might
        change that. Costs one signature, 20 to 200 µs by its algorithm.
        """
        if len(token) > MAX_TOKEN or not token.isascii():
            raise _refusal()
        claims = self._claims(token)
        expires_at = _date(claims, "exp")
        if expires_at is None or expires_at <= now:
            raise _refusal()
        issued_at = _date(claims, "iat")
        for begin in (issued_at, _date(claims, "nbf")):
            if begin is not None and begin > now + self._leeway:
                raise _refusal()
        user = _text(claims, self._user_claim)
        if user is None:
            raise _refusal()
        return Identity(user, _text(claims, self._session_claim), expires_at, issued_at)

    def _claims(self, token: str) -> dict[str, Any]:
        """Return what the token's issuer has signed, for us."""
        signed, _, signature = token.rpartition(".")
        head, _, payload = signed.partition(".")
        try:
            # All of it must be UTF-8 (RFC 8725, §3.7), also what msgspec would pass over.
            header = self._header.decode(_segment(head).decode())
            kind = header.typ.lower().removeprefix("application/")
            method = self._methods.get(header.alg)
            extended = header.crit is not None or header.b64 is not True
            if method is None or kind not in TYPES or extended:
                raise _refusal()
            kid = None if header.kid is msgspec.UNSET else header.kid
            keys = self._keys.find(kid, header.alg)
            if not keys:
                raise _refusal(UnknownKey)
            message, proof = signed.encode(), _segment(signature)
            if not any(_signed(method, header.alg, key, message, proof) for key in keys):
                raise _refusal()
            claims = self._read_claims(_segment(payload))
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise _refusal() from None
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise _refusal()
        if self._audience is not None:
            audience = claims.get("aud")
            if self._audience not in (audience if isinstance(audience, list) else [audience]):
                raise _refusal()
        return claims

    def _read_claims(self, payload: bytes) -> dict[str, Any]:
        """Return the claims. Raises `ValueError` for anything but a JSON object in UTF-8.

        A name cut inside an emoji stands in a claim as half of a surrogate pair. JSON allows that
        (RFC 8259, §8.2) and msgspec does not; the slower decoder of the standard library does.
        """
        try:
            return self._payload.decode(payload)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            claims = json.loads(payload.decode(), parse_constant=_no_number)
            if not isinstance(claims, dict):
                raise ValueError("the claims are not an object") from None
            return claims


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _signed(method: Any, name: str, key: Key, message: bytes, proof: bytes) -> bool:
    """Return whether the key has signed the message; a secret in one call, which takes a third."""
    if isinstance(key, bytes):
        return hmac.compare_digest(hmac.digest(key, message, _DIGESTS[name]), proof)
    return bool(method.verify(message, key, proof))


def _segment(text: str) -> bytes:
    """Return what a segment of a token stands for (RFC 7515, §2), written in the one way there is.

    Raises `ValueError`.
    """
    written = text.encode()
    content = a2b_base64(written.translate(_FROM_URL) + b"=" * (-len(written) % 4))
    # It takes much that is not base64url; nothing of that comes out again as it went in.
    if b2a_base64(content, newline=False).translate(_TO_URL).rstrip(b"=") != written:
        raise ValueError("not how it is written")
    return content


def token_of(request: web.Request, settings: Settings, origins: Origins) -> str:
    """Return the token that a request carries.

    A bearer token in the `Authorization` header comes first, then the cookie and the query
    parameter that the settings allow; an `Authorization` header of another scheme is for another
    server, such as a proxy, and is ignored. A cookie counts only in requests of the user's own
    doing: browsers send it along for every page. Raises `Unauthorized` without a token, and for a
    second `Authorization` header beside a bearer token.
    """
    headers = request.headers.getall("Authorization", [])
    for header in headers:
        scheme, _, token = header.partition(" ")
        if scheme.lower() == "bearer":
            if len(headers) > 1 or not token.strip(" "):
                raise _refusal()
            return token.strip(" ")
    token, strange = "", False
    if settings.token_cookie is not None:
        token = _cookie(request, settings.token_cookie)
        if token and not origins.trust(request):
            token, strange = "", True
    if not token and settings.token_query:
        token = request.query.get("access_token", "")
    if not token:
        raise _demand("; a cookie is not accepted from another origin" if strange else "")
    return token


def _cookie(request: web.Request, name: str) -> str:
    """Return the first value of a cookie in all `Cookie` headers (RFC 6265, §5.4), else empty.

    HTTP/2 allows several headers (RFC 9113, §8.2.3), which proxies pass on as they are.
    """
    for header in request.headers.getall("Cookie", []):
        for pair in header.split(";"):
            found, _, value = pair.partition("=")
            if found.strip() == name and value.strip():
                return value.strip().strip('"')
    return ""


def _demand(more: str = "") -> Unauthorized:
    # Without a token the challenge carries no error code (RFC 6750, §3.1).
    detail = f"a bearer token is required{more}"
    return Unauthorized(detail, {"WWW-Authenticate": _CHALLENGE})


def _refusal(kind: type[Unauthorized] = Unauthorized) -> Unauthorized:
    challenge = f'{_CHALLENGE}, error="invalid_token"'
    return kind("the token is not accepted", {"WWW-Authenticate": challenge})


def _date(claims: dict[str, Any], name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    # The comparison comes first: it is false for NaN, and `float` would raise for a huge number.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= MAX_DATE:
        raise _refusal()
    return float(value)


def _text(claims: dict[str, Any], name: str) -> str | None:
    if claims.get(name) is None:
        return None
    value = claims[name]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER:
        value = str(value)
    if not isinstance(value, str) or not value.strip() or _UNFIT.search(value):
        raise _refusal()
    if len(value.encode()) > MAX_CLAIM_BYTES:
        raise _refusal()
    return value
