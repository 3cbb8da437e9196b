"""Tokens that were verified before: what is remembered, and what is checked again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.config import load_settings
from gateway.errors import TokenFault, Unauthorized
from gateway.http.auth import tokens
from gateway.http.auth.claims import Identity
from gateway.http.auth.jwks import KeySet, read_key_set
from gateway.http.auth.keys import Key
from gateway.http.auth.tokens import Authenticator
from gateway.http.auth.verified_tokens import Proof, Verified, VerifiedTokens
from gateway.revocation.table import Revocations
from tests.issuer import SigningKey, key_set

KEY = SigningKey("ES256", "first")
NEW = SigningKey("ES256", "second")
NAMESAKE = SigningKey("ES256", "first")
NOW = time.time()


def mint(key: SigningKey, user: str, **claims: Any) -> str:
    """Return a token that is valid at `NOW`, whenever this test runs."""
    return key.mint(user, **{"iat": NOW - 1, "exp": NOW + 1e6, **claims})


class Published:
    """The keys that the issuer publishes at the moment."""

    def __init__(self, *keys: SigningKey) -> None:
        self.keys = _read(*keys)

    def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        return self.keys.get((kid, algorithm), ())

    async def renew(self) -> None:
        pass


def _read(*keys: SigningKey) -> KeySet:
    return read_key_set(key_set(*keys), ["ES256"])


class Door:
    """An authenticator that counts the signatures that it verifies."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = load_settings(None, jwt_jwks_url="https://id.test/keys")
        self.published = Published(KEY)
        self.revocations = Revocations()
        self.authenticator = Authenticator(settings, self.published, self.revocations)
        self.signatures = 0
        verified = tokens._signed  # noqa: SLF001 - where each signature is verified

        def counted(method: object, name: str, key: Key, message: bytes, proof: bytes) -> bool:
            self.signatures += 1
            return verified(method, name, key, message, proof)

        monkeypatch.setattr(tokens, "_signed", counted)

    def fault(self, token: str, now: float = NOW) -> TokenFault | None:
        try:
            self.authenticator.verify(token, now)
        except Unauthorized as error:
            return error.fault
        return None


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    return Door(monkeypatch)


def test_signature_of_a_token_is_verified_once(door: Door) -> None:
    token = mint(KEY, "alice", sid="s1")
    first = door.authenticator.verify(token, NOW)
    assert door.authenticator.verify(token, NOW + 1) == first
    assert door.signatures == 1


def test_known_token_expires(door: Door) -> None:
    token = mint(KEY, "alice", exp=NOW + 60)
    assert door.fault(token) is None
    assert door.fault(token, NOW + 59.9) is None
    assert door.fault(token, NOW + 60) is TokenFault.EXPIRED


def test_known_token_is_not_valid_before_its_time_after_the_clock_was_set_back(door: Door) -> None:
    token = mint(KEY, "alice", nbf=NOW, iat=NOW - 10)
    assert door.fault(token) is None
    assert door.fault(token, NOW - 29) is None, "the leeway is 30 s"
    assert door.fault(token, NOW - 31) is TokenFault.NOT_YET_VALID


def test_known_token_is_refused_once_its_key_is_withdrawn(door: Door) -> None:
    token = mint(KEY, "alice")
    assert door.fault(token) is None
    door.published.keys = _read(KEY, NEW)
    assert door.fault(token) is None
    assert door.signatures == 1, "the same key, read again"
    door.published.keys = _read(NEW)
    assert door.fault(token) is TokenFault.UNKNOWN_KEY
    door.published.keys = _read(NAMESAKE)
    assert door.fault(token) is TokenFault.SIGNATURE


def test_known_token_is_refused_once_its_session_is_revoked(door: Door) -> None:
    token = mint(KEY, "alice", sid="s1")
    door.authenticator.authenticate(token)
    now = int(time.time() * 1000)
    door.revocations.revoke_session(b"alice", "s1", now, 60_000, now)
    with pytest.raises(Unauthorized) as caught:
        door.authenticator.authenticate(token)
    assert caught.value.fault is TokenFault.REVOKED
    assert door.signatures == 1


def test_signature_of_a_known_token_under_other_claims_is_refused(door: Door) -> None:
    token, other = mint(KEY, "alice"), mint(KEY, "bob")
    assert door.fault(token) is None
    head, _, signature = token.split(".")
    assert door.fault(f"{head}.{other.split('.')[1]}.{signature}") is TokenFault.SIGNATURE


def test_refused_token_is_not_remembered(door: Door) -> None:
    token = mint(NAMESAKE, "alice")
    assert door.fault(token) is TokenFault.SIGNATURE
    assert door.fault(token) is TokenFault.SIGNATURE
    assert door.signatures == 2


def test_oldest_tokens_are_forgotten_beyond_the_limit() -> None:
    published = Published(KEY)
    (key,) = published.find("first", "ES256")
    known = VerifiedTokens(most=2)
    for name in ("a", "b", "c"):
        identity = Identity(name, None, NOW + 60, None)
        known.add(name.encode(), Verified(identity, Proof(published, "first", "ES256", key), 0.0))
    assert known.find(b"a", NOW) is None
    assert [known.find(name, NOW).user for name in (b"b", b"c")] == ["b", "c"]  # type: ignore[union-attr]
