"""Authenticates a stream request: a bearer token (RFC 6750) as a JWT (RFC 7519, RFC 8725).

PyJWT's algorithms verify signatures: the algorithm of the token, if it is accepted, with keys of
that algorithm that were validated once. PyJWT's decoder costs 50 µs per token, a large part of an
opening, and compares all times with its own clock and one leeway. This module parses the segments
and claims instead: `exp` gets no leeway, because the stream would end at once.
"""

from __future__ import annotations

import hmac
import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gateway import clock
from gateway.core.records import LogKind
from gateway.errors import TokenFault, Unauthorized, UnknownKey
from gateway.http.auth.claims import (
    INVALID,
    MAX_GROUPS,
    WORDS,
    Identity,
    date_of,
    groups_of,
    refusal,
    text_of,
    user_of,
)
from gateway.http.auth.policy import (
    Policy,
    check_audience,
    policies_of_issuers,
    policy_of_settings,
    wrong_issuer,
)
from gateway.http.auth.verified_tokens import Proof, Verified, VerifiedTokens, digest_of
from gateway.issuers import find_claim

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.http.auth.keys import Key, Keys
    from gateway.revocation.table import Revocations

MAX_TOKEN = 8192
"""Characters of a token; room for one in every header that aiohttp accepts."""

TYPES = frozenset({"jwt", "at+jwt"})
"""What a token may say it is, if it states one (RFC 7519, §5.1; RFC 9068, §2.1). Issuers sign other
things with the same key, such as the tokens that log a session out (RFC 8725, §3.11)."""

_DIGESTS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}

_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")


class _Header(msgspec.Struct):
    alg: str
    kid: str | msgspec.UnsetType = msgspec.UNSET
    typ: str = "JWT"
    crit: Any = None
    b64: Any = True


class Authenticator:
    """Verifies tokens with keys, as the settings say, and knows which are revoked.

    `keys` are those of the only issuer, or of each issuer of `GATEWAY_OIDC_ISSUERS` by its name.
    """

    def __init__(
        self, settings: Settings, keys: Keys | Mapping[str, Keys], revocations: Revocations
    ) -> None:
        self._revocations = revocations
        self._leeway = settings.jwt_leeway_seconds
        self._scope_prefix = settings.scope_prefix
        self._only: Policy | None = None
        self._policies: dict[str, Policy] = {}
        if isinstance(keys, Mapping):
            self._policies = policies_of_issuers(settings, keys)
        else:
            self._only = policy_of_settings(settings, keys)
        self._sources = [
            source for source in settings.event_sources if source.kind is LogKind.GROUP
        ]
        self._header = msgspec.json.Decoder(_Header)
        self._payload = msgspec.json.Decoder(dict[str, Any])
        self._verified = VerifiedTokens()

    async def identify(self, token: str) -> Identity:
        """Return whom the token speaks for, if it is valid now.

        Raises `Unauthorized` otherwise, and `NotReady` while its issuer's keys are missing. Waits
        a moment for a key that is not known, and raises `Overloaded` where too many requests do.
        """
        try:
            return self.authenticate(token)
        except UnknownKey as error:
            await error.renew()
            return self.authenticate(token)

    def authenticate(self, token: str) -> Identity:
        """Return whom the token speaks for, if it is valid now and not revoked; never waits."""
        now = clock.now().wall
        identity = self.verify(token, now / 1000)
        self._admit(identity, now)
        return identity

    def admit(self, identity: Identity) -> None:
        """Raise `Unauthorized` if a verified token is revoked by now; called again after a wait."""
        self._admit(identity, clock.now().wall)

    def _admit(self, identity: Identity, now: int) -> None:
        covered = self._revocations.cover(
            identity.user.encode(), identity.session, identity.issued_at, now
        )
        if covered:
            raise refusal(TokenFault.REVOKED, "the session or user is revoked")

    def claimed_user(self, token: str) -> str | None:
        """Return the user that a token names, unverified; None where it cannot be read.

        Only for the choice of the worker process, which verifies the token.
        """
        try:
            claims = self._read_claims(_segment(token.split(".", 2)[1]))
            return user_of(claims, self._policy(claims if self._policies else None).user)
        except (Unauthorized, IndexError, ValueError, msgspec.DecodeError, RecursionError):
            return None

    def verify(self, token: str, now: float) -> Identity:
        """Return whom the token speaks for, if it is valid at `now` (Unix seconds).

        Raises `Unauthorized` otherwise, and its subclass `UnknownKey` where another key might
        change that. Costs one signature, 7 to 200 µs by its algorithm, unless the token was
        verified before; before it nothing but look-ups and the decoding of `MAX_TOKEN` characters
        at most.
        """
        if len(token) > MAX_TOKEN or not token.isascii():
            raise refusal(TokenFault.MALFORMED, f"not ASCII, or more than {MAX_TOKEN} characters")
        digest = digest_of(token)
        known = self._verified.find(digest, now)
        if known is not None:
            return known
        policy, proof, claims = self._signed_claims(token)
        check_audience(policy, claims)
        expires_at = date_of(claims, "exp")
        if expires_at is None:
            raise refusal(TokenFault.CLAIM_MISSING, "exp is missing")
        if expires_at <= now:
            raise refusal(TokenFault.EXPIRED, f"exp was {now - expires_at:.0f} s ago")
        issued_at = date_of(claims, "iat")
        not_before = 0.0
        for name, begin in (("iat", issued_at), ("nbf", date_of(claims, "nbf"))):
            if begin is None:
                continue
            if begin > now + self._leeway:
                ahead = f"{name} is {begin - now:.0f} s ahead; the leeway is {self._leeway:g} s"
                raise refusal(TokenFault.NOT_YET_VALID, ahead)
            not_before = max(not_before, begin - self._leeway)
        identity = Identity(
            user_of(claims, policy.user),
            text_of(claims, policy.session_claim),
            expires_at,
            issued_at,
            self._scopes(claims, policy.scope_claim),
            self._groups(claims),
        )
        self._verified.add(digest, Verified(identity, proof, not_before))
        return identity

    def _signed_claims(self, token: str) -> tuple[Policy, Proof, dict[str, Any]]:
        """Verify the signature; return the issuer's policy, the key that has signed, the claims."""
        signed, _, signature = token.rpartition(".")
        head, _, payload = signed.partition(".")
        try:
            # All of it must be UTF-8 (RFC 8725, §3.7), also what msgspec would pass over.
            header = self._header.decode(_segment(head).decode())
            proof, content = _segment(signature), _segment(payload)
            claims = None if self._policies == {} else self._read_claims(content)
            policy = self._policy(claims)
            key_id = None if header.kid is msgspec.UNSET else header.kid
            keys = _keys(policy, header, key_id)
            message, method = signed.encode(), policy.methods[header.alg]
            key = next((k for k in keys if _signed(method, header.alg, k, message, proof)), None)
            if key is None:
                raise refusal(TokenFault.SIGNATURE, f"no key of kid {key_id!r} has signed it")
            claims = self._read_claims(content) if claims is None else claims
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise refusal(TokenFault.MALFORMED, "it is not three segments of JSON") from None
        if policy.issuer is not None and claims.get("iss") != policy.issuer:
            raise wrong_issuer(claims, [policy.issuer])
        return policy, Proof(policy.keys, key_id, header.alg, key), claims

    def _policy(self, claims: dict[str, Any] | None) -> Policy:
        """Return the policy of a token's issuer: the only one, or that of its unverified `iss`."""
        if claims is None:
            assert self._only is not None
            return self._only
        issuer = claims.get("iss")
        policy = self._policies.get(issuer) if isinstance(issuer, str) else None
        if policy is None:
            raise wrong_issuer(claims, list(self._policies))
        return policy

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

    def _groups(self, claims: dict[str, Any]) -> Mapping[str, tuple[bytes, ...]]:
        """Return the record keys of the user's groups, by topic. Raises `Unauthorized`.

        A claim is a text, an integer, or a list of them. A missing one names no group. A token with
        more groups than allowed is refused: to leave some out would hide events without a trace.
        """
        groups = {}
        for source in self._sources:
            if names := groups_of(claims, source.groups):
                groups[source.topic] = tuple(source.key.key(name) for name in names)
        number = sum([len(keys) for keys in groups.values()])
        if number > MAX_GROUPS:
            raise refusal(
                TokenFault.CLAIM_TYPE, f"{number} groups of all sources; at most {MAX_GROUPS}"
            )
        return groups

    def _scopes(self, claims: dict[str, Any], name: str | None) -> frozenset[str] | None:
        """Return the scopes behind the prefix: a text with spaces (RFC 8693, §4.2) or a list."""
        if name is None:
            return None
        found = find_claim(claims, name)
        scopes = found.split() if isinstance(found, str) else found or []
        if not isinstance(scopes, list):
            raise refusal(TokenFault.CLAIM_TYPE, f"{name} is neither a text nor a list")
        prefix = self._scope_prefix
        return frozenset(
            scope.removeprefix(prefix)
            for scope in scopes
            if isinstance(scope, str) and scope.startswith(prefix)
        )


def _keys(policy: Policy, header: _Header, key_id: str | None) -> Sequence[Key]:
    """Return the keys that may have signed a token with this header. Raises `Unauthorized`."""
    kind = header.typ.lower().removeprefix("application/")
    if kind not in TYPES:
        raise refusal(TokenFault.TYPE, f"typ is {header.typ[:32]!r}, not JWT or at+jwt")
    if header.crit is not None or header.b64 is not True:
        raise refusal(TokenFault.MALFORMED, "crit and b64 are not supported")
    if header.alg not in policy.methods:
        accepted = ", ".join(policy.methods)
        raise refusal(TokenFault.ALGORITHM, f"alg is {header.alg[:32]!r}; accepted: {accepted}")
    keys = policy.keys.find(key_id, header.alg)
    if not keys:
        explanation = f"no key with kid {key_id!r} for {header.alg}"
        error = UnknownKey(WORDS, INVALID, TokenFault.UNKNOWN_KEY, explanation)
        error.renew = policy.keys.renew
        raise error
    return keys


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _signed(method: Any, name: str, key: Key, message: bytes, proof: bytes) -> bool:
    """Return whether the key has signed the message; a secret in one call, which takes a third."""
    if isinstance(key, bytes):
        return hmac.compare_digest(hmac.digest(key, message, _DIGESTS[name]), proof)
    return bool(method.verify(message, key, proof))


def _segment(text: str) -> bytes:
    """Return the bytes of a token's segment (RFC 7515, §2), written in the one way there is.

    Raises `ValueError`.
    """
    written = text.encode()
    content = a2b_base64(written.translate(_FROM_URL) + b"=" * (-len(written) % 4))
    # It takes much that is not base64url; nothing of that comes out again as it went in.
    if b2a_base64(content, newline=False).translate(_TO_URL).rstrip(b"=") != written:
        raise ValueError("not how it is written")
    return content
