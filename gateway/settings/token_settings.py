"""Settings of tokens."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from gateway.errors import SettingsError
from gateway.issuers import ASYMMETRIC, DEFAULT_ASYMMETRIC, check_issuers
from gateway.settings.secret_settings import check_secret, env, envs
from gateway.settings.setting_types import (
    HOUR,
    YEARS,
    CookieName,
    FilePath,
    GuardText,
    Issuers,
    OptionalText,
    Origins,
    SecureUrl,
    Text,
    Words,
)

SYMMETRIC = frozenset({"HS256", "HS384", "HS512"})

_ONE_ISSUER = (
    "jwt_algorithms",
    "jwt_issuer",
    "jwt_audience",
    "jwt_user_claim",
    "jwt_session_claim",
    "jwt_scope_claim",
)
"""Settings of the only issuer, for which each of several has its own."""


class TokenSettings(BaseModel):
    """Keys, claims and the way of a token."""

    jwt_secret: SecretStr | None = Field(None, description="HMAC key, 32 bytes or more")
    jwt_secret_file: FilePath = Field(None, description="file with that key")
    jwt_public_key_file: FilePath = Field(None, description="PEM file with the public key")
    jwt_jwks_url: SecureUrl | None = Field(None, description="where the public keys are published")
    jwt_algorithms: Words = Field((), description="accepted algorithms; all others are rejected")
    jwt_issuer: GuardText | None = Field(None, description="`iss` that a token must have")
    jwt_audience: GuardText | None = Field(None, description="`aud` that a token must name")
    jwt_leeway_seconds: float = Field(
        30, ge=0, le=HOUR, description="clock skew for `nbf` and `iat`"
    )
    jwt_user_claim: Text = Field("sub", min_length=1, description="claim that holds the user id")
    jwt_session_claim: Text = Field("sid", min_length=1, description="claim that holds the session")
    jwt_scope_claim: OptionalText = Field(
        None, description="claim with the scopes that limit what a token may read; none: no limit"
    )
    oidc_issuers: Issuers = Field(
        (), description="OpenID providers, as JSON or TOML tables: [identity](identity.md)"
    )
    oidc_http_hosts: Words = Field(
        (), description="hosts of OpenID providers that may be reached by http"
    )
    scope_prefix: Text = Field(
        "events:", min_length=1, description="what a scope begins with, before a category or type"
    )
    resource_url: SecureUrl | None = Field(
        None, description="URL of this gateway for clients, in RFC 9728 metadata; none: no metadata"
    )
    token_cookie: CookieName = Field(None, description="cookie that may carry the token; none: off")
    token_query: bool = Field(False, description="accept the token as `access_token` in the query")
    cors_origins: Origins = Field((), description="origins whose pages may read streams")
    revocation_seconds: float = Field(
        86_400, ge=1, le=YEARS, description="life of a revocation by default"
    )

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        keys = [
            name
            for name in ("jwt_secret", "jwt_public_key_file", "jwt_jwks_url", "oidc_issuers")
            if getattr(self, name)
        ]
        if len(keys) > 1:
            raise ValueError(f"set one of {envs(keys)}, not {len(keys)}: key kinds are never mixed")
        check_secret(self, "jwt_secret")
        allowed = SYMMETRIC if self.jwt_secret is not None else ASYMMETRIC
        wrong = [name[:16] for name in self.jwt_algorithms if name not in allowed][:10]
        if keys and wrong:
            raise ValueError(
                f"{env('jwt_algorithms')} has {', '.join(wrong)}, which does not go with"
                f" {env(keys[0])}; it takes {', '.join(sorted(allowed))}"
            )
        if self.oidc_issuers:
            alone = [name for name in _ONE_ISSUER if name in self.model_fields_set]
            if alone:
                raise ValueError(
                    f"{envs(alone)} cannot be set with {env('oidc_issuers')}: each issuer"
                    " there has its own audience, algorithms and claims"
                )
            try:
                check_issuers(self.oidc_issuers, self.oidc_http_hosts)
            except ValueError as error:
                raise ValueError(f"{env('oidc_issuers')}: {error}") from None
        return self

    def require_key(self) -> Self:
        """Return the settings if they can verify tokens.

        Raises `SettingsError` otherwise; commands that verify no tokens do not call it.
        """
        if self.jwt_secret or self.jwt_public_key_file or self.jwt_jwks_url or self.oidc_issuers:
            return self
        raise SettingsError(
            f"no key to verify tokens with: set {env('jwt_secret')} (make one with: openssl rand"
            f" -base64 48), {env('jwt_public_key_file')}, {env('jwt_jwks_url')} or"
            f" {env('oidc_issuers')}"
        )

    @property
    def algorithms(self) -> list[str]:
        """The accepted algorithms: as set, or the defaults for the kind of key."""
        if self.jwt_algorithms:
            return list(self.jwt_algorithms)
        return ["HS256"] if self.jwt_secret is not None else list(DEFAULT_ASYMMETRIC)
