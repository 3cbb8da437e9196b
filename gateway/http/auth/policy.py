"""What the tokens of an issuer must have: audience, claims, algorithms, keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jwt

from gateway.errors import TokenFault, Unauthorized
from gateway.http.auth.claims import refusal
from gateway.issuers import UserId, find_claim

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.config import Settings
    from gateway.http.auth.keys import Keys


class Policy(NamedTuple):
    """What the tokens of one issuer must have, and which claims are read."""

    issuer: str | None
    """`iss`; None: any."""
    audience: tuple[str, ...]
    """A token must name one of these in `aud`; empty: any."""
    require: Mapping[str, str]
    methods: Mapping[str, Any]
    """PyJWT's implementation of each accepted algorithm."""
    keys: Keys
    user: UserId
    session_claim: str
    scope_claim: str | None


def policy_of_settings(settings: Settings, keys: Keys) -> Policy:
    """Return the policy of the only issuer."""
    return Policy(
        settings.jwt_issuer,
        () if settings.jwt_audience is None else (settings.jwt_audience,),
        {},
        _methods(settings.algorithms),
        keys,
        UserId.claim_alone(settings.jwt_user_claim),
        settings.jwt_session_claim,
        settings.jwt_scope_claim,
    )


def policies_of_issuers(settings: Settings, keys: Mapping[str, Keys]) -> dict[str, Policy]:
    """Return the policy of each of several issuers by its name; `keys` likewise."""
    return {
        each.issuer: Policy(
            each.issuer,
            each.audience,
            each.require,
            _methods(each.algorithms),
            keys[each.issuer],
            each.user_id,
            each.session_claim,
            each.scope_claim,
        )
        for each in settings.oidc_issuers
    }


def check_audience(policy: Policy, claims: dict[str, Any]) -> None:
    """Raise `Unauthorized` if a token is for another audience, or lacks a required claim."""
    if policy.audience:
        given = claims.get("aud")
        named = given if isinstance(given, list) else [given]
        if not any(audience in named for audience in policy.audience):
            wanted = " or ".join(map(repr, policy.audience))
            raise refusal(TokenFault.AUDIENCE, f"aud is {given!r}; wanted: {wanted}")
    for name, value in policy.require.items():
        given = find_claim(claims, name)
        if given is None:
            raise refusal(TokenFault.CLAIM_MISSING, f"there is no {name}")
        if given != value:
            raise refusal(TokenFault.AUDIENCE, f"{name} is {given!r}; wanted: {value!r}")


def wrong_issuer(claims: dict[str, Any], known: list[str]) -> Unauthorized:
    """Return the error for a token of another issuer than the `known` ones."""
    wanted = " or ".join(map(repr, known))
    return refusal(TokenFault.ISSUER, f"iss is {claims.get('iss')!r}; wanted: {wanted}")


def _methods(algorithms: Iterable[str]) -> dict[str, Any]:
    return {name: jwt.get_algorithm_by_name(name) for name in algorithms}
