from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.errors import SettingsError
from tests.http.signed_tokens import GOOD, NOW, assert_refused, authenticator, segment, signed

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class KeyPair(NamedTuple):
    private: PrivateKey
    public_pem: bytes


def pem_of(key: PrivateKey | x25519.X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def keys() -> dict[str, KeyPair]:
    made: dict[str, PrivateKey] = {
        "RSA": rsa.generate_private_key(65537, 2048),
        "P-256": ec.generate_private_key(ec.SECP256R1()),
        "P-384": ec.generate_private_key(ec.SECP384R1()),
        "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    }
    return {name: KeyPair(key, pem_of(key)) for name, key in made.items()}


@pytest.fixture
def key_file(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "key.pem"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize(
    ("key", "algorithm", "algorithms"),
    [
        ("RSA", "RS256", ()),
        ("RSA", "PS384", ("PS384",)),
        ("P-256", "ES256", ()),
        ("P-384", "ES384", ("ES384",)),
        ("Ed25519", "EdDSA", ()),
    ],
)
def test_a_public_key_verifies_what_its_private_key_signed(
    keys: dict[str, KeyPair],
    key_file: Callable[[bytes], Path],
    key: str,
    algorithm: str,
    algorithms: tuple[str, ...],
) -> None:
    pair = keys[key]
    auth = authenticator(
        jwt_secret=None, jwt_public_key_file=key_file(pair.public_pem), jwt_algorithms=algorithms
    )
    good = jwt.encode(GOOD, pair.private, algorithm=algorithm)
    assert auth.verify(good, NOW).user == "alice"

    # The public key as an HMAC secret; the oldest of the attacks (RFC 8725, §2.1).
    assert_refused(auth, signed(json.dumps(GOOD).encode(), secret=pair.public_pem.decode()))
    assert_refused(auth, jwt.encode(GOOD, "", algorithm="none"))
    head, payload, signature = good.split(".")
    assert_refused(
        auth, f"{head}.{segment(json.dumps(GOOD | {'sub': 'bob'}).encode())}.{signature}"
    )
    for other in ("RS256", "ES256", "EdDSA", "HS256"):
        if other != algorithm:
            forged = segment(json.dumps({"alg": other}).encode())
            assert_refused(auth, f"{forged}.{payload}.{signature}")


def test_every_key_of_a_file_verifies_tokens(
    keys: dict[str, KeyPair], key_file: Callable[[bytes], Path]
) -> None:
    pem = b"a comment\n" + keys["RSA"].public_pem + b"\n" + keys["P-256"].public_pem
    auth = authenticator(jwt_secret=None, jwt_public_key_file=key_file(pem))
    for key, algorithm in (("RSA", "RS256"), ("P-256", "ES256")):
        good = jwt.encode(GOOD, keys[key].private, algorithm=algorithm)
        assert auth.verify(good, NOW).user == "alice"
    other = jwt.encode(GOOD, keys["Ed25519"].private, algorithm="EdDSA")
    assert_refused(auth, other)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"jwt_secret": None}, "no key to verify tokens with"),
        (
            {"jwt_algorithms": ("HS256", "HS512")},
            "GATEWAY_JWT_SECRET: the key does not go with GATEWAY_JWT_ALGORITHMS",
        ),
        (
            {"jwt_secret": "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n"},
            "should not be used as an HMAC secret",
        ),
        (
            {"jwt_secret": None, "jwt_public_key_file": Path("/nowhere/key.pem")},
            "GATEWAY_JWT_PUBLIC_KEY_FILE: /nowhere/key.pem cannot be read: No such file",
        ),
    ],
)
def test_a_key_that_cannot_be_used_stops_the_start(
    values: dict[str, object], complaint: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        authenticator(**values)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "algorithms", "complaint"),
    [
        (b"", (), "holds no public key in PEM"),
        (b"hello", (), "holds no public key in PEM"),
        ("X25519", (), "holds an X25519PublicKey, which signs no tokens"),
        ("RSA-1024", (), "RS256: The RSA key is 1024 bits long"),
        ("RSA", ("ES256",), "ES256: not with an RSA key"),
        ("RSA", ("RS256", "ES256"), "ES256: not with an RSA key"),
        ("P-384", (), "go with: ES384"),
        ("private", ("ES256",), "holds a private key"),
        ("two kinds", ("RS256",), "key 2"),
        ("five", (), "holds 5 keys, 4 at most are tried"),
        ("Ed25519", ("RS256",), "RS256: not with an Ed25519 key"),
    ],
)
def test_a_key_file_that_does_not_fit_stops_the_start(
    keys: dict[str, KeyPair],
    key_file: Callable[[bytes], Path],
    content: bytes | str,
    algorithms: tuple[str, ...],
    complaint: str,
) -> None:
    if isinstance(content, bytes):
        pem = content
    elif content == "private":
        pem = keys["P-256"].private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    elif content == "X25519":
        pem = pem_of(x25519.X25519PrivateKey.generate())
    elif content == "two kinds":
        pem = keys["RSA"].public_pem + keys["P-256"].public_pem
    elif content == "five":
        pem = keys["P-256"].public_pem * 5
    elif content == "RSA-1024":
        pem = pem_of(rsa.generate_private_key(65537, 1024))
    else:
        pem = keys[content].public_pem
    with pytest.raises(SettingsError) as caught:
        authenticator(jwt_secret=None, jwt_public_key_file=key_file(pem), jwt_algorithms=algorithms)
    line = str(caught.value)
    assert line.startswith("GATEWAY_JWT_PUBLIC_KEY_FILE: ")
    assert complaint in line
    assert "\n" not in line
