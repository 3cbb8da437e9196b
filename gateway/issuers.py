"""Issuers of tokens in the settings, and the user ids derived from their tokens.

Each issuer maps its users into its own namespace by a template such as `customer:{sub}`. Issuers
whose templates could produce the same user id are rejected: the `sub` of one issuer must never
open the stream of a user of another.
"""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from ipaddress import ip_address
from itertools import combinations
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

ASYMMETRIC = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Algorithms of public keys (RFC 7518, §3.1; RFC 8037, §3.1)."""

DEFAULT_ASYMMETRIC = ("RS256", "ES256", "EdDSA")

_EXAMPLE = '[{"issuer":"https://…","audience":"…"}]'

_TEMPLATE = re.compile(r"(?P<prefix>[^{}]*)\{(?P<claim>[^{}]+)\}(?P<suffix>[^{}]*)")
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Issuer(BaseModel):
    """One OpenID provider: a table of `GATEWAY_OIDC_ISSUERS`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    issuer: str
    """`iss` of its tokens; the discovery document is below it (OpenID Connect Discovery, §4)."""
    audience: tuple[str, ...]
    """`aud` must name one of these; empty: `require` identifies its tokens."""
    require: dict[str, str] = Field(default_factory=dict)
    """Claims that a token must have with exactly this value, such as `client_id`."""
    algorithms: tuple[str, ...] = DEFAULT_ASYMMETRIC
    user: str = "{sub}"
    """The user id: a text with one claim in braces."""
    session_claim: str = "sid"
    scope_claim: str | None = None
    """Claim whose scopes limit what a token may read; none: no limit."""
    jwks_url: str | None = None
    """URL of the keys, for an issuer without a discovery document."""

    @field_validator("audience", "algorithms", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        if isinstance(value, str):
            return (value,)
        return tuple(value) if isinstance(value, list) else value

    @field_validator("audience")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(part.strip() for part in value):
            raise ValueError("an audience must not be empty")
        return value

    @field_validator("algorithms")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or (wrong := sorted(set(value) - ASYMMETRIC)):
            raise ValueError(
                f"{', '.join(wrong) if value else 'an empty list'} is not accepted; use"
                f" {', '.join(sorted(ASYMMETRIC))}"
            )
        return value

    @field_validator("user")
    @classmethod
    def _template(cls, value: str) -> str:
        if _TEMPLATE.fullmatch(value) is None or _UNFIT.search(value):
            raise ValueError(
                f"{value!r} is not a template; write text with one claim in braces, such as"
                " customer:{sub}"
            )
        return value

    @field_validator("session_claim", "scope_claim")
    @classmethod
    def _claim(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("the name of a claim must not be empty")
        return value

    @property
    def keys_at(self) -> str:
        """The URL of the first request: that of the keys or of the discovery document."""
        return self.jwks_url or f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"

    @property
    def user_id(self) -> UserId:
        """The template that builds a user id from a token's claims."""
        parts = _TEMPLATE.fullmatch(self.user)
        if parts is None:
            raise ValueError(self.user)
        return UserId(parts["prefix"], parts["claim"], parts["suffix"])


class UserId:
    """A user id as a template: a prefix, the text of one claim, a suffix."""

    def __init__(self, prefix: str, claim: str, suffix: str) -> None:
        self.prefix, self.claim, self.suffix = prefix, claim, suffix

    @classmethod
    def claim_alone(cls, claim: str) -> UserId:
        """Return the template of the only issuer: the claim itself."""
        return cls("", claim, "")

    def of(self, value: str) -> str:
        """Return the user id for a claim's value."""
        return f"{self.prefix}{value}{self.suffix}"

    def may_meet(self, other: UserId) -> bool:
        """Return whether both templates can produce the same user id.

        They can if and only if one prefix begins with the other and one suffix ends with the other,
        because a claim can contain the missing text.
        """
        return (self.prefix.startswith(other.prefix) or other.prefix.startswith(self.prefix)) and (
            self.suffix.endswith(other.suffix) or other.suffix.endswith(self.suffix)
        )


def find_claim(claims: dict[str, Any], path: str) -> Any:
    """Return a claim by its name or path (`realm_access.roles`); None if missing.

    The whole path is tried as a name first, because names such as URLs may contain dots.
    """
    if path in claims:
        return claims[path]
    value: Any = claims
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return value


def read_issuers(value: object) -> object:
    """Return the issuers of a setting: JSON in the environment, an array of tables in TOML.

    Raises `ValueError` with one line for the first mistake.
    """
    if isinstance(value, str):
        if not value.strip():
            return ()
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"is not valid JSON: {error}; write it as {_EXAMPLE}") from None
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ValueError(f"write it as a list, such as {_EXAMPLE}")
    return tuple(_read(number, item) for number, item in enumerate(value, 1))


def _read(number: int, item: object) -> Issuer:
    if isinstance(item, Issuer):
        return item
    try:
        return Issuer.model_validate(item)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        what = _what(first["type"], where) or str(first["msg"]).removeprefix("Value error, ")
        raise ValueError(f"issuer {number}: {where + ': ' if where else ''}{what}") from None


def _what(kind: str, field: str) -> str | None:
    """Return the mistake in a field that is missing or unknown, with its remedy."""
    if kind == "missing":
        return "is missing; each issuer needs issuer and audience"
    if kind == "extra_forbidden":
        close = get_close_matches(field, Issuer.model_fields, n=1)
        remedy = f"did you mean {close[0]}?" if close else "docs/identity.md lists the fields"
        return f"there is no such field; {remedy}"
    return None


def check_issuers(issuers: Iterable[Issuer], http_hosts: Collection[str]) -> None:
    """Raise `ValueError` for indistinguishable issuers, or if a URL is not allowed."""
    issuers = tuple(issuers)
    for issuer in issuers:
        for url in (issuer.issuer, issuer.keys_at):
            if not is_safe_url(url, http_hosts):
                raise ValueError(
                    f"{url!r} must be https://host/path, without user and password; http:// is"
                    " for loopback and for the hosts of GATEWAY_OIDC_HTTP_HOSTS"
                )
        if not issuer.audience and not issuer.require:
            raise ValueError(
                f"{issuer.issuer}: set audience, or require with a claim such as client_id;"
                " without both, a token that was issued for any other application would be accepted"
            )
    for one, other in combinations(issuers, 2):
        if one.issuer == other.issuer:
            raise ValueError(f"{one.issuer} is listed twice; list its audiences in one entry")
        if one.user_id.may_meet(other.user_id):
            raise ValueError(
                f"the user ids of {one.issuer} ({one.user}) and {other.issuer} ({other.user}) could"
                " be the same; give each its own prefix, such as a:{sub} and b:{sub}"
            )


def is_safe_url(url: str, http_hosts: Collection[str]) -> bool:
    """Return whether keys may come from a URL: by https, from loopback or from a named host.

    An attacker who can change the keys in transit can sign any token.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # invalid port or address
        return False
    if not host or ".." in host or port == 0 or parts.username is not None:
        return False
    if not url.isascii() or not url.isprintable() or " " in url or parts.query or parts.fragment:
        return False
    return parts.scheme == "https" or (
        parts.scheme == "http" and (_is_loopback(host) or host in http_hosts)
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
