"""Tokens and key sets: only tokens signed for the gateway are accepted, for their user."""

from __future__ import annotations

import base64
import hmac
import json
from functools import cache

import jwt
from jwt.types import Options

from gateway.config import load_settings
from gateway.errors import KeySetError, Unauthorized
from gateway.http.auth.claims import MAX_CLAIM_BYTES
from gateway.http.auth.jwks import read_key_set
from gateway.http.auth.keys import MAX_TRIED, OneKey, fault
from gateway.http.auth.tokens import Authenticator
from gateway.revocation.table import Revocations
from tests.tokens import SECRET
from tests.tools.fuzz.target import Target, as_header, joined, parts

NOW = 1_800_000_000.0
_CHECK_SIGNATURE_ONLY: Options = {
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_aud": False,
    "verify_sub": False,
    "verify_jti": False,
}
ALGORITHMS = ("RS256", "ES256", "ES384", "EdDSA")


@cache
def _authenticator() -> Authenticator:
    settings = load_settings(None, jwt_secret=SECRET)
    return Authenticator(settings, OneKey(settings), Revocations())


def _token(data: bytes) -> None:
    """Take the way of signing and three segments: raw, or to be encoded and signed."""
    how, header, payload, signature = parts(data, 4)
    text = ".".join(map(as_header, (header, payload, signature)))
    if how == b"signed":
        signed = _segment(header) + b"." + _segment(payload)
        proof = hmac.digest(SECRET.encode(), signed, "sha256")
        text = (signed + b"." + _segment(proof) + signature).decode("utf-8", "surrogateescape")
    try:
        identity = _authenticator().verify(text, NOW)
    except Unauthorized as error:
        assert str(error) == "the token is not accepted", "the same message for every fault"
        return
    assert how == b"signed", "the secret is unknown"
    assert not signature
    # PyJWT's decoder and a separate parse of the payload must agree.
    claims = jwt.decode(text, SECRET, algorithms=["HS256"], options=_CHECK_SIGNATURE_ONLY)
    assert claims == json.loads(payload)
    assert identity.user == claims["sub"]
    assert identity.session == claims.get("sid")
    assert identity.expires_at == claims["exp"] > NOW
    assert len(identity.user.encode()) <= MAX_CLAIM_BYTES
    assert identity.user.strip()
    assert identity.issued_at is None or identity.issued_at <= NOW + 30


def _segment(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def _key_set(data: bytes) -> None:
    try:
        found = read_key_set(data, ALGORITHMS)
    except KeySetError as error:
        assert len(str(error)) < 200, "the log does not contain server responses"
        return
    assert found
    for (kid, algorithm), keys in found.items():
        assert algorithm in ALGORITHMS
        assert 0 < len(keys) <= MAX_TRIED
        assert kid is None or found[None, algorithm], "each key is found without its id"
        for key in keys:
            assert fault(key, algorithm) is None
            assert not hasattr(key, "sign"), "a private key"


_CLAIMS = b'{"sub":"alice","sid":"s1","exp":1900000000,"iat":1700000000.5,"nbf":0}'
_HEADER = b'{"alg":"HS256","typ":"JWT","kid":"k"}'
_JSON = [b'"', b"{", b"}", b"[", b"]", b":", b",", b"null", b"1e400", b"-0", b"NaN", b"[" * 2000]

TOKEN = Target(
    "token",
    _token,
    [
        joined(b"signed", _HEADER, _CLAIMS),
        joined(b"signed", b'{"alg":"HS256","crit":["x"],"b64":false}', _CLAIMS),
        joined(b"signed", b'{"alg":"none"}', _CLAIMS),
        joined(b"", _segment(_HEADER), _segment(_CLAIMS), b"AAAA"),
        joined(b"", b"eyJhbGciOiJub25lIn0", _segment(_CLAIMS)),
    ],
    [
        *(
            *_JSON,
            b'"alg"',
            b'"HS256"',
            b'"none"',
            b'"kid"',
            b'"typ"',
            b'"crit"',
            b'"b64"',
            b'"sub"',
        ),
        *(
            b'"sid"',
            b'"exp"',
            b'"iat"',
            b'"nbf"',
            b"9" * 30,
            b"signed",
            b"\\u0000",
            b"\\ud800",
            b".",
        ),
    ],
)


def _published() -> list[bytes]:
    """Return published key sets: an RSA key, and the examples of RFC 7517 and RFC 8037."""
    rsa = {
        "kty": "RSA",
        "kid": "r",
        "e": "AQAB",
        "n": base64.urlsafe_b64encode(b"\xc1" + bytes(range(1, 256)) + b"\x01")
        .decode()
        .rstrip("="),
    }
    ec = {
        "kty": "EC",
        "crv": "P-256",
        "kid": "e",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    }
    okp = {
        "kty": "OKP",
        "crv": "Ed25519",
        "use": "sig",
        "key_ops": ["verify"],
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }
    sets = [[rsa], [ec], [okp], [rsa, ec, okp], [{**okp, "d": "AAAA"}, ec], [ec] * 6]
    return [json.dumps({"keys": keys}).encode() for keys in sets]


KEY_SET = Target(
    "key set",
    _key_set,
    _published(),
    [
        *(*_JSON, b'"keys"', b'"kty"', b'"RSA"', b'"EC"', b'"OKP"', b'"oct"', b'"crv"', b'"P-256"'),
        *(b'"P-384"', b'"Ed25519"', b'"Ed448"', b'"n"', b'"e"', b'"x"', b'"y"', b'"d"', b'"alg"'),
        *(
            b'"kid"',
            b'"use"',
            b'"key_ops"',
            b'"verify"',
            b'"RS256"',
            b'"ES256"',
            b'"EdDSA"',
            b"AQAB",
        ),
    ],
)
