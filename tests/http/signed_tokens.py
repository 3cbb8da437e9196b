"""Tokens signed with a secret of the tests, and an authenticator that verifies them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest

from gateway.config import Settings, load_settings
from gateway.errors import Unauthorized
from gateway.http.auth.keys import OneKey
from gateway.http.auth.tokens import Authenticator
from gateway.revocation.table import Revocations

SECRET = "a secret for the tests: 32 bytes or more"
NOW = 1_700_000_000.0
LEEWAY = 30.0
GOOD = {"sub": "alice", "exp": NOW + 60}

DEMANDED = 'Bearer realm="gateway"'
REFUSED = 'Bearer realm="gateway", error="invalid_token"'


def settings(**values: object) -> Settings:
    return load_settings(None, **{"jwt_secret": SECRET, **values})


def authenticator(**values: object) -> Authenticator:
    made = settings(**values)
    return Authenticator(made, OneKey(made), Revocations())


def segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(payload: bytes, header: bytes = b'{"alg":"HS256"}', secret: str = SECRET) -> str:
    """Sign arbitrary bytes, which no library allows."""
    text = f"{segment(header)}.{segment(payload)}"
    digest = hmac.digest(secret.encode(), text.encode(), hashlib.sha256)
    return f"{text}.{segment(digest)}"


def token(**claims: object) -> str:
    return signed(json.dumps(GOOD | claims).encode())


def without(name: str) -> str:
    return signed(json.dumps({key: value for key, value in GOOD.items() if key != name}).encode())


def assert_refused(auth: Authenticator, bad: str, now: float = NOW) -> None:
    with pytest.raises(Unauthorized) as caught:
        auth.verify(bad, now)
    assert caught.value.detail == "the token is not accepted"
    assert caught.value.headers == {"WWW-Authenticate": REFUSED}
    assert caught.value.__cause__ is None
