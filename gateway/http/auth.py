"""Who opens a stream: a bearer token (RFC 6750), verified as a JWT (RFC 7519, RFC 8725).

PyJWT verifies form, signature, issuer and audience, with the algorithms that the settings pin and
that fit the key. The times are compared here, since PyJWT gives one leeway to all of them and reads
its own clock: `exp` gets no leeway, or a stream would open only to end at once.

A token that is refused is refused with the same words whatever is wrong with it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.errors import SettingsError, Unauthorized

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import web

    from gateway.config import Settings

MAX_TOKEN = 8192
"""Characters of a token; aiohttp takes no longer header, so nor does a cookie or a query."""

MAX_CLAIM_BYTES = 512
"""Of a user or session id. The user is hashed and compared for every record of a partition."""

MAX_DATE = 253_402_300_799
"""The end of the year 9999 in Unix seconds; beyond it stand milliseconds taken for seconds."""

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey
"""The kinds that sign tokens (RFC 7518, §3.1; RFC 8037, §3.1)."""

_CHALLENGE = 'Bearer realm="gateway"'
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Identity(NamedTuple):
    """What a verified token says: times in Unix seconds, None for what it does not say."""

    user: str
    session: str | None
    expires_at: float
    issued_at: float | None


class Authenticator:
    """Verifies tokens with the key of the settings.

    Raises `SettingsError` where the key cannot be used or does not fit the algorithms.
    """

    def __init__(self, settings: Settings) -> None:
        settings.require_key()
        self._key, self._algorithms = _load(settings)
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._leeway = settings.jwt_leeway_seconds
        self._user_claim = settings.jwt_user_claim
        self._session_claim = settings.jwt_session_claim
        self._jwt = jwt.PyJWT(
            {
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_aud": self._audience is not None,
                "verify_sub": False,  # another claim may hold the user
            }
        )

    def verify(self, token: str, now: float) -> Identity:
        """Return who the token speaks for, if it is good at `now` (Unix seconds).

        Raises `Unauthorized` otherwise. Costs one signature, 20 to 200 µs by its algorithm.
        """
        if len(token) > MAX_TOKEN or not token.isascii():
            raise _refusal()
        try:
            claims = self._jwt.decode(
                token,
                self._key,
                algorithms=self._algorithms,
                issuer=self._issuer,
                audience=self._audience,
            )
        except jwt.PyJWTError:
            raise _refusal() from None
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


def token_of(request: web.Request, settings: Settings) -> str:
    """Return the token that a request carries.

    It is in the `Authorization` header; without one, in the cookie and then the query parameter
    that the settings allow. Raises `Unauthorized` where there is none, and for a header that is no
    bearer token, whatever else the request carries.
    """
    headers = request.headers.getall("Authorization", [])
    if headers:
        scheme, _, token = headers[0].partition(" ")
        if scheme.lower() != "bearer":
            raise _demand()
        if len(headers) > 1 or not token.strip(" "):
            raise _refusal()
        return token.strip(" ")
    token = ""
    if settings.token_cookie is not None:
        token = request.cookies.get(settings.token_cookie, "")
    if not token and settings.token_query:
        token = request.query.get("access_token", "")
    if not token:
        raise _demand()
    return token


def _demand() -> Unauthorized:
    # Without a token the challenge carries no error code (RFC 6750, §3.1).
    return Unauthorized("a bearer token is required", {"WWW-Authenticate": _CHALLENGE})


def _refusal() -> Unauthorized:
    challenge = f'{_CHALLENGE}, error="invalid_token"'
    return Unauthorized("the token is not accepted", {"WWW-Authenticate": challenge})


def _date(claims: dict[str, Any], name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    # The comparison comes first: it is false for NaN, and `float` would raise for a huge number.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= MAX_DATE:
        raise _refusal()
    return float(value)


def _text(claims: dict[str, Any], name: str) -> str | None:
    if name not in claims:
        return None
    value = claims[name]
    if not isinstance(value, str) or not value.strip() or _UNFIT.search(value):
        raise _refusal()
    if len(value.encode()) > MAX_CLAIM_BYTES:
        raise _refusal()
    return value


def _load(settings: Settings) -> tuple[bytes | PublicKey, list[str]]:
    """Return the key, and the algorithms that it is used with.

    Those that the settings name must all fit it; of the default ones those count that do.
    """
    key: bytes | PublicKey
    if settings.jwt_secret is not None:
        name, key = "GATEWAY_JWT_SECRET", settings.jwt_secret.get_secret_value().encode()
    elif settings.jwt_public_key_file is not None:
        name, key = "GATEWAY_JWT_PUBLIC_KEY_FILE", _read_pem(settings.jwt_public_key_file)
    else:
        raise SettingsError(
            "GATEWAY_JWT_JWKS_URL: key sets are not supported yet;"
            " set GATEWAY_JWT_PUBLIC_KEY_FILE instead"
        )
    faults = {algorithm: _fault(key, algorithm) for algorithm in settings.algorithms}
    fitting = [algorithm for algorithm, fault in faults.items() if fault is None]
    if not fitting or (settings.jwt_algorithms and len(fitting) < len(faults)):
        reasons = "; ".join(f"{which}: {fault}" for which, fault in faults.items() if fault)
        raise SettingsError(
            f"{name}: the key does not go with GATEWAY_JWT_ALGORITHMS, change one of them"
            f" ({reasons})"
        )
    return key, fitting


def _fault(key: bytes | PublicKey, algorithm: str) -> str | None:
    method = jwt.get_algorithm_by_name(algorithm)
    try:
        return method.check_key_length(method.prepare_key(key))
    except jwt.InvalidKeyError as error:
        return str(error).rstrip(".")
    except TypeError:  # what PyJWT raises for a key of another kind
        return f"not with an {type(key).__name__}"


def _read_pem(path: Path) -> PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise SettingsError(
            f"GATEWAY_JWT_PUBLIC_KEY_FILE: {path} cannot be read: {error.strerror}"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError(
            f"GATEWAY_JWT_PUBLIC_KEY_FILE: {path} holds no public key in PEM; make one from a"
            " private key with: openssl pkey -in private.pem -pubout"
        ) from None
    if not isinstance(key, PublicKey):
        raise SettingsError(
            f"GATEWAY_JWT_PUBLIC_KEY_FILE: {path} holds an {type(key).__name__}, which signs no"
            " tokens; use an RSA, EC or Ed25519 key"
        )
    return key
