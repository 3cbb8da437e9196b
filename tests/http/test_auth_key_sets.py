"""Tokens that name a key of a published set."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.config import load_settings
from gateway.errors import NotReady, Unauthorized, UnknownKey
from gateway.http.auth.jwks import KeySet, read_key_set
from gateway.http.auth.keys import Key
from gateway.http.auth.tokens import Authenticator
from gateway.issuers import ASYMMETRIC
from gateway.revocation.table import Revocations
from tests.issuer import SigningKey, key_set

ALGORITHMS = ("RS256", "ES256", "EdDSA")
SECRET = b"a secret that somebody has published"

RSA = SigningKey("RS256", "rsa")
EC = SigningKey("ES256", "ec")
ED = SigningKey("EdDSA", "ed")
UNPUBLISHED = SigningKey("ES256", "ec")
"""Another key of the same name."""

PUBLISHED = key_set(
    RSA,
    EC,
    ED,
    {"kty": "oct", "k": base64.urlsafe_b64encode(SECRET).decode(), "kid": "oct"},
)


class Held:
    """Keys that are given by hand."""

    def __init__(self, *sets: KeySet) -> None:
        self._sets = list(sets)
        self.renewed = 0

    def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        return self._sets[0].get((kid, algorithm), ())

    async def renew(self) -> None:
        self.renewed += 1
        if len(self._sets) > 1:
            self._sets.pop(0)


def authenticator(keys: Held, **values: object) -> Authenticator:
    settings = {"jwt_jwks_url": "https://id.test/keys", "jwt_issuer": "https://id.test", **values}
    return Authenticator(load_settings(None, **settings), keys, Revocations())


def held(document: bytes = PUBLISHED, algorithms: Sequence[str] = ALGORITHMS) -> Held:
    return Held(read_key_set(document, algorithms))


def mint(key: SigningKey, **options: Any) -> str:
    return key.mint(iss="https://id.test", **options)


def segment(data: object) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def payload() -> dict[str, Any]:
    return {"sub": "alice", "exp": time.time() + 3600, "iss": "https://id.test"}


def hmac_signed(secret: bytes, header: dict[str, Any]) -> str:
    text = f"{segment(header)}.{segment(payload())}"
    return f"{text}.{segment(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def reheaded(header: dict[str, Any]) -> Callable[[], str]:
    """Return a good token under another header than the one that was signed."""
    return lambda: ".".join([segment(header), *mint(EC).split(".")[1:]])


def der(key: SigningKey) -> bytes:
    return key.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


async def verdict(auth: Authenticator, token: str) -> str:
    try:
        return (await auth.identify(token)).user
    except Unauthorized as error:
        return f"{error.status} {error.detail} {error.headers}"


REFUSED = (
    "401 the token is not accepted"
    " {'WWW-Authenticate': 'Bearer realm=\"gateway\", error=\"invalid_token\"'}"
)


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.algorithm)
async def test_a_token_is_verified_with_the_key_that_it_names(key: SigningKey) -> None:
    auth = authenticator(held())
    assert await verdict(auth, mint(key)) == "alice"
    assert await verdict(auth, mint(key, header={"typ": "at+jwt"})) == "alice"


@pytest.mark.parametrize("algorithm", sorted(ASYMMETRIC))
async def test_every_algorithm_that_can_be_set_verifies(algorithm: str) -> None:
    key = SigningKey(algorithm, "k")
    auth = authenticator(held(key_set(key), [algorithm]), jwt_algorithms=(algorithm,))
    assert await verdict(auth, mint(key)) == "alice"
    assert await verdict(auth, mint(SigningKey(algorithm, "k"))) == REFUSED


def _der_signed() -> str:
    text, _, signature = mint(EC).rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    numbers = (int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    return f"{text}.{segment(encode_dss_signature(*numbers))}"


def _mixed(one: str, other: str) -> str:
    head, _, signature = one.split(".")
    return f"{head}.{other.split('.')[1]}.{signature}"


BAD: dict[str, Callable[[], str]] = {
    # Kinds of keys and algorithms.
    "no algorithm": lambda: jwt.encode(payload(), "", algorithm="none", headers={"kid": "ec"}),
    "none in capitals": reheaded({"alg": "NONE", "kid": "ec"}),
    "a published secret": lambda: hmac_signed(SECRET, {"alg": "HS256", "kid": "oct"}),
    "a published secret, unnamed": lambda: hmac_signed(SECRET, {"alg": "HS256"}),
    "a secret as another kind": lambda: hmac_signed(SECRET, {"alg": "RS256", "kid": "oct"}),
    "the RSA key as a secret": lambda: hmac_signed(RSA.public_pem, {"alg": "HS256", "kid": "rsa"}),
    "its bytes as a secret": lambda: hmac_signed(der(RSA), {"alg": "HS256", "kid": "rsa"}),
    "the EC key as a secret": lambda: hmac_signed(EC.public_pem, {"alg": "HS256", "kid": "ec"}),
    "its JWK as a secret": lambda: hmac_signed(
        json.dumps(EC.jwk()).encode(), {"alg": "HS256", "kid": "ec"}
    ),
    "an algorithm that is not accepted": lambda: jwt.encode(
        payload(), RSA.private, algorithm="RS512", headers={"kid": "rsa"}
    ),
    "another padding": lambda: jwt.encode(
        payload(), RSA.private, algorithm="PS256", headers={"kid": "rsa"}
    ),
    "RSA named as EC": reheaded({"alg": "RS256", "kid": "ec"}),
    "EC named as RSA": lambda: mint(EC, header={"kid": "rsa"}),
    "EC named as Ed25519": lambda: mint(EC, header={"kid": "ed"}),
    "Ed25519 named as EC": lambda: mint(ED, header={"kid": "ec"}),
    "another header than was signed": reheaded({"alg": "ES256", "kid": "ec", "typ": "JWT", "x": 1}),
    # Names.
    "a name that there is not": lambda: mint(EC, header={"kid": "made-up"}),
    "an empty name": lambda: mint(EC, header={"kid": ""}),
    "a path for a name": lambda: mint(EC, header={"kid": "../../../../dev/null"}),
    "a query for a name": lambda: mint(EC, header={"kid": "' OR 1=1 --"}),
    "a name that is a number": reheaded({"alg": "ES256", "kid": 1}),
    "a name that is null": reheaded({"alg": "ES256", "kid": None}),
    "a name that is a list": reheaded({"alg": "ES256", "kid": ["ec"]}),
    "a long name": lambda: mint(EC, header={"kid": "x" * 5000}),
    "another's key of that name": lambda: mint(UNPUBLISHED),
    "another's key without a name": lambda: SigningKey("ES256").mint(iss="https://id.test"),
    # A header that brings its own key.
    "jwk": lambda: mint(UNPUBLISHED, header={"jwk": UNPUBLISHED.jwk()}),
    "jwk without a name": lambda: SigningKey("ES256").mint(
        iss="https://id.test", header={"jwk": UNPUBLISHED.jwk()}
    ),
    "jku": lambda: mint(UNPUBLISHED, header={"jku": "http://127.0.0.1:1/keys"}),
    "x5u": lambda: mint(UNPUBLISHED, header={"x5u": "http://127.0.0.1:1/keys"}),
    "x5c": lambda: mint(UNPUBLISHED, header={"x5c": [base64.b64encode(der(EC)).decode()]}),
    # What the issuer signed for something else.
    "a proof of possession": lambda: mint(EC, header={"typ": "dpop+jwt"}),
    "a log-out": lambda: mint(EC, header={"typ": "logout+jwt"}),
    "a security event": lambda: mint(EC, header={"typ": "secevent+jwt"}),
    "an encrypted one": lambda: mint(EC, header={"typ": "JWE"}),
    "critical extensions": lambda: mint(EC, header={"crit": ["exp"]}),
    "no critical extensions": lambda: mint(EC, header={"crit": []}),
    "an unencoded payload": lambda: mint(EC, header={"b64": False, "crit": ["b64"]}),
    "another issuer": lambda: EC.mint(iss="https://other.test"),
    "no issuer": lambda: EC.mint(),
    # Signatures.
    "no signature": lambda: mint(EC).rpartition(".")[0] + ".",
    "zeros": lambda: mint(EC).rpartition(".")[0] + "." + segment(bytes(64)),
    "half a signature": lambda: mint(EC)[:-43],
    "a signature in DER": _der_signed,
    "another's signature": lambda: mint(EC).rpartition(".")[0] + "." + mint(EC).split(".")[2],
    "another's claims": lambda: _mixed(mint(EC), mint(EC, user="bob")),
    "five parts": lambda: mint(EC) + ".a.b",
    "two tokens": lambda: f"{mint(EC)},{mint(EC)}",
    # Times.
    "expired": lambda: mint(EC, lifetime=-1),
    "no end": lambda: mint(EC, exp=None),
    "not yet": lambda: mint(EC, nbf=time.time() + 60),
    "issued in a time to come": lambda: mint(EC, iat=time.time() + 60),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD.keys())
async def test_a_bad_token_is_refused_with_the_same_words(make: Callable[[], str]) -> None:
    assert await verdict(authenticator(held()), make()) == REFUSED


def test_there_are_many_of_them() -> None:
    assert len(BAD) >= 40


async def test_without_a_name_the_keys_that_fit_are_tried() -> None:
    keys = [SigningKey("ES256", f"k{n}") for n in range(3)]
    auth = authenticator(held(key_set(RSA, *keys)))
    for key in keys:
        unnamed = jwt.encode(payload(), key.private, algorithm="ES256")
        assert await verdict(auth, unnamed) == "alice"


async def test_unknown_key_is_looked_up_once() -> None:
    new = SigningKey("ES256", "new")
    keys = Held(read_key_set(PUBLISHED, ALGORITHMS), read_key_set(key_set(EC, new), ALGORITHMS))
    auth = authenticator(keys)
    assert await verdict(auth, mint(EC)) == "alice"
    assert keys.renewed == 0
    assert await verdict(auth, mint(new)) == "alice"
    assert keys.renewed == 1
    assert await verdict(auth, mint(new)) == "alice"
    assert keys.renewed == 1


@pytest.mark.parametrize(
    "name",
    ["no algorithm", "a published secret", "a proof of possession", "critical extensions",
     "another's key of that name", "expired", "five parts"],
)  # fmt: skip
async def test_token_that_is_invalid_with_any_key_causes_no_key_lookup(name: str) -> None:
    keys = held()
    assert await verdict(authenticator(keys), BAD[name]()) == REFUSED
    assert keys.renewed == 0


def test_unknown_key_raises_unknown_key() -> None:
    with pytest.raises(UnknownKey):
        authenticator(held()).verify(mint(EC, header={"kid": "made-up"}), time.time())


async def test_token_that_expires_during_the_key_lookup_is_refused() -> None:
    new = SigningKey("ES256", "new")

    class Slow(Held):
        async def renew(self) -> None:
            await asyncio.sleep(0.06)
            await super().renew()

    keys = Slow(read_key_set(PUBLISHED, ALGORITHMS), read_key_set(key_set(new), ALGORITHMS))
    assert await verdict(authenticator(keys), mint(new, lifetime=0.05)) == REFUSED
    assert await verdict(authenticator(keys), mint(new)) == "alice"


async def test_worker_without_keys_is_not_ready() -> None:
    class Nothing(Held):
        def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
            raise NotReady("no keys yet")

    auth = authenticator(Nothing())
    with pytest.raises(NotReady):
        await auth.identify(mint(EC))
    assert await verdict(auth, BAD["no algorithm"]()) == REFUSED
