from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import KeySetError
from gateway.http.auth.jwks import read_key_set
from gateway.http.auth.keys import MAX_TRIED
from gateway.issuers import ASYMMETRIC
from tests.issuer import SigningKey, key_set

DEFAULT = ["RS256", "ES256", "EdDSA"]

RSA = SigningKey("RS256", "rsa")
P256 = SigningKey("ES256", "p256")
P384 = SigningKey("ES384", "p384")
P521 = SigningKey("ES512", "p521")
ED = SigningKey("EdDSA", "ed")


def names(*jwks: SigningKey | dict[str, Any], algorithms: list[str] | None = None) -> set[Any]:
    """Return the keys that can be looked up by name."""
    found = read_key_set(key_set(*jwks), algorithms or DEFAULT)
    return {name for name in found if name[0] is not None}


def test_every_key_is_found_by_its_name_and_its_algorithm() -> None:
    found = read_key_set(key_set(RSA, P256, ED), DEFAULT)
    assert found["rsa", "RS256"] == (RSA.private.public_key(),)
    assert found["p256", "ES256"] == (P256.private.public_key(),)
    assert found["ed", "EdDSA"] == (ED.private.public_key(),)


def test_a_key_goes_with_the_algorithms_of_its_kind_and_curve_only() -> None:
    every = sorted(ASYMMETRIC)
    found = names(RSA, P256, P384, P521, ED, algorithms=every)
    rsa_algorithms = {name for name in every if name[:2] in {"RS", "PS"}}
    assert found == {
        *(("rsa", name) for name in rsa_algorithms),
        ("p256", "ES256"),
        ("p384", "ES384"),
        ("p521", "ES512"),
        ("ed", "EdDSA"),
    }


@pytest.mark.parametrize(
    ("members", "usable"),
    [
        ({"alg": "RS256"}, True),
        ({"alg": "PS256"}, False),
        ({"alg": "HS256"}, False),
        ({"alg": "none"}, False),
        ({"use": "sig"}, True),
        ({"use": "enc"}, False),
        ({"key_ops": ["verify"]}, True),
        ({"key_ops": ["sign", "verify"]}, True),
        ({"key_ops": ["sign"]}, False),
        ({"key_ops": []}, False),
        ({"key_ops": ["encrypt"], "use": "sig"}, False),
        ({"x5t": "abc", "x5c": ["MIIB"], "other": {"deep": [1]}}, True),
    ],
)
def test_use_and_operations_of_a_key_are_respected(members: dict[str, Any], usable: bool) -> None:
    other = SigningKey("RS256", "other")
    found = names(RSA.jwk(**members), other)
    assert (("rsa", "RS256") in found) is usable
    assert ("other", "RS256") in found


def weak() -> dict[str, Any]:
    key = rsa.generate_private_key(65537, 1024).public_key()
    return jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True)


def costly(bits: int, exponent: int) -> dict[str, Any]:
    modulus = 1 << bits - 1 | 1
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    return jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True)


def montgomery() -> dict[str, Any]:
    raw = x25519.X25519PrivateKey.generate().public_key()
    x = jwt.utils.base64url_encode(raw.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    return {"kty": "OKP", "crv": "X25519", "x": x}


UNUSABLE = {
    "a secret": {"kty": "oct", "k": "c2VjcmV0" * 8, "alg": "HS256"},
    "a secret that claims to be RSA": {"kty": "oct", "k": "c2VjcmV0" * 8, "alg": "RS256"},
    "a private key": RSA.jwk(d="AQAB"),
    "a private key on a curve": P256.jwk(d="AQAB"),
    "a short key": weak(),
    "a key of more than 8192 bits": costly(16_384, 65_537),
    "an exponent of more than 32 bits": costly(3072, (1 << 32) + 1),
    "another curve": jwt.algorithms.ECAlgorithm.to_jwk(
        ec.generate_private_key(ec.SECP256K1()).public_key(), as_dict=True
    ),
    "a key that only agrees": montgomery(),
    "no kind": RSA.jwk(kty=None),
    "a kind of its own": RSA.jwk(kty="rsa"),
    "a kind that is no text": {**RSA.jwk(), "kty": 1},
    "no modulus": RSA.jwk(n=None),
    "no exponent": RSA.jwk(e=None),
    "a modulus that is no text": {**RSA.jwk(), "n": 65537},
    "an empty modulus": RSA.jwk(n=""),
    "a modulus that is no base64": RSA.jwk(n="é"),
    "an exponent of one": RSA.jwk(e="AQ"),
    "a point that is not on the curve": P256.jwk(y=P256.jwk()["x"]),
    "half a point": P256.jwk(y=None),
    "a point that is too short": P256.jwk(x="AAAA"),
    "the other kind's members": {**ED.jwk(), "kty": "EC"},
    "a curve that does not fit its kind": ED.jwk(crv="P-256"),
    "a short Edwards key": ED.jwk(x="AAAA"),
    "a name that is no text": {**RSA.jwk(), "kid": 7},
    "operations that are no list": {**RSA.jwk(), "key_ops": "verify"},
    "a text": "a key",
    "nothing": None,
    "a list": [RSA.jwk()],
}


@pytest.mark.parametrize("jwk", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_key_that_must_not_be_used_is_left_out(jwk: Any) -> None:
    document = json.dumps({"keys": [jwk, P384.jwk()]}).encode()
    found = read_key_set(document, [*DEFAULT, "ES384"])
    assert set(found) == {("p384", "ES384"), (None, "ES384")}
    with pytest.raises(KeySetError, match="lacks a key for RS256, ES256, EdDSA"):
        read_key_set(json.dumps({"keys": [jwk]}).encode(), DEFAULT)


@pytest.mark.parametrize(
    "document",
    [b"", b"<html>", b"[]", b"{}", b'{"keys": {}}', b'{"keys": null}', b'"keys"', b"\xff\xfe",
     b"[" * 100_000, b'{"keys": [' + b"[" * 100_000, b'{"keys": ["\xff"]}'],
    ids=lambda document: repr(document[:16]),
)  # fmt: skip
def test_invalid_key_set_is_rejected(document: bytes) -> None:
    with pytest.raises(KeySetError):
        read_key_set(document, DEFAULT)


@given(st.recursive(st.none() | st.text() | st.integers(), lambda of: st.lists(of) | st.dictionaries(st.sampled_from(["keys", "kty", "crv", "x", "y", "n", "e", "kid"]) | st.text(), of | st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519"]))))  # fmt: skip  # noqa: E501
def test_no_document_does_anything_but_be_refused(document: Any) -> None:
    for tried in (document, {"keys": [document]}):
        with pytest.raises(KeySetError):
            read_key_set(json.dumps(tried).encode(), DEFAULT)


def test_without_a_name_any_key_of_the_algorithm_is_found_but_not_many() -> None:
    keys = [SigningKey("ES256", None if n == 1 else f"k{n}") for n in range(MAX_TRIED + 3)]
    found = read_key_set(key_set(RSA, *keys), DEFAULT)
    assert found[None, "ES256"] == tuple(k.private.public_key() for k in keys[:MAX_TRIED])
    assert found[f"k{MAX_TRIED + 2}", "ES256"] == (keys[-1].private.public_key(),)
    assert found[None, "RS256"] == (RSA.private.public_key(),)


def test_keys_can_share_a_name() -> None:
    one, other = SigningKey("ES256", "same"), SigningKey("RS256", "same")
    third = SigningKey("ES256", "same")
    found = read_key_set(key_set(one, other, third), DEFAULT)
    assert found["same", "RS256"] == (other.private.public_key(),)
    assert found["same", "ES256"] == (one.private.public_key(), third.private.public_key())
