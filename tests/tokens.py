"""Tokens for the tests, made with PyJWT alone, so that the gateway never verifies its own work."""

from __future__ import annotations

import time

import jwt

SECRET = "a secret for the tests: 32 bytes or more"


def mint(user: str, *, lifetime: float = 3600, secret: str = SECRET, **claims: object) -> str:
    """Return a token of the user, valid for `lifetime` seconds; a claim given as None is left out.

    `exp` and `iat` may have fractions (RFC 7519, §2).
    """
    now = time.time()
    every = {"sub": user, "iat": now, "exp": now + lifetime, **claims}
    return jwt.encode(
        {name: value for name, value in every.items() if value is not None},
        secret,
        algorithm="HS256",
    )


def bearer(token: str) -> dict[str, str]:
    """Return the header that carries the token."""
    return {"Authorization": f"Bearer {token}"}
