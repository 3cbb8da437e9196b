"""Tokens for trying out, signed as a worker verifies them: for `gateway token` and the demo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jwt

from gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.config import Settings


def mint(
    settings: Settings,
    user: str,
    session: str | None,
    ttl: int,
    now: float,
    groups: Sequence[str] = (),
) -> str:
    """Return a token that is good from `now` (Unix seconds) for `ttl` seconds.

    `groups` are those of the user, in the claim that each source for groups names.
    Raises `SettingsError` without a secret (public keys verify tokens, they do not sign them), and
    for groups without a claim.
    """
    if settings.jwt_secret is None:
        raise SettingsError(
            "a token can only be made with GATEWAY_JWT_SECRET; with a public key or a JWKS URL,"
            " get one from the holder of the private key"
        )
    claimed = {source.groups for source in settings.event_sources if source.groups}
    if groups and not claimed:
        raise SettingsError(
            'a token has groups only with a source of audience "group": declare one in'
            " GATEWAY_SOURCES"
        )
    claims: dict[str, Any] = {
        settings.jwt_user_claim: user,
        settings.jwt_session_claim: session,
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "iat": int(now),
        "exp": int(now) + ttl,
        **{claim: list(groups) for claim in claimed},
    }
    return jwt.encode(
        {name: value for name, value in claims.items() if value is not None},
        settings.jwt_secret.get_secret_value(),
        settings.algorithms[0],
    )
