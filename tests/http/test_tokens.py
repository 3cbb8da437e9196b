from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jwt
import pytest
from aiohttp.test_utils import make_mocked_request
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.config import Settings, load_settings
from gateway.errors import SettingsError, Unauthorized
from gateway.http.auth.claims import Identity
from gateway.http.auth.credentials import token_of
from gateway.http.auth.keys import OneKey
from gateway.http.auth.tokens import MAX_TOKEN, Authenticator
from gateway.http.origins import Origins
from gateway.revocation.table import Revocations

SECRET = "a secret for the tests: 32 bytes or more"
NOW = 1_700_000_000.0
LEEWAY = 30.0
GOOD = {"sub": "alice", "exp": NOW + 60}

DEMANDED = 'Bearer realm="gateway"'
REFUSED = 'Bearer realm="gateway", error="invalid_token"'

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class KeyPair(NamedTuple):
    private: PrivateKey
    public_pem: bytes


def settings(**values: object) -> Settings:
    return load_settings(None, **{"jwt_secret": SECRET, **values})


def authenticator(**values: object) -> Authenticator:
    made = settings(**values)
    return Authenticator(made, OneKey(made), Revocations())


def segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(payload: bytes, header: bytes = b'{"alg":"HS256"}', secret: str = SECRET) -> str:
    """Sign arbitrary bytes, which no library allows."""
    text = f"{segment(header)}.{segment(payload)}"
    digest = hmac.digest(secret.encode(), text.encode(), hashlib.sha256)
    return f"{text}.{segment(digest)}"


def token(**claims: object) -> str:
    return signed(json.dumps(GOOD | claims).encode())


def without(name: str) -> str:
    return signed(json.dumps({key: value for key, value in GOOD.items() if key != name}).encode())


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


def assert_refused(auth: Authenticator, bad: str, now: float = NOW) -> None:
    with pytest.raises(Unauthorized) as caught:
        auth.verify(bad, now)
    assert caught.value.detail == "the token is not accepted"
    assert caught.value.headers == {"WWW-Authenticate": REFUSED}
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("good", "identity"),
    [
        (token(), Identity("alice", None, NOW + 60, None)),
        (token(sid="s1", iat=NOW - 5), Identity("alice", "s1", NOW + 60, NOW - 5)),
        (token(exp=NOW + 0.5), Identity("alice", None, NOW + 0.5, None)),
        (token(exp=int(NOW) + 1), Identity("alice", None, NOW + 1, None)),
        (token(nbf=NOW + LEEWAY, iat=NOW + LEEWAY),
         Identity("alice", None, NOW + 60, NOW + LEEWAY)),
        (token(iat=0), Identity("alice", None, NOW + 60, 0)),
        (token(sub="größe 👩\u200d💻"), Identity("größe 👩\u200d💻", None, NOW + 60, None)),
        (token(sub="x" * 512), Identity("x" * 512, None, NOW + 60, None)),
        (token(sub=42), Identity("42", None, NOW + 60, None)),
        (token(sub=-(2**53) + 1), Identity("-9007199254740991", None, NOW + 60, None)),
        (token(sid=7), Identity("alice", "7", NOW + 60, None)),
        (token(sid=None), Identity("alice", None, NOW + 60, None)),
        (token(name="Hi \ud83d"), Identity("alice", None, NOW + 60, None)),
        (token(**{"\udc00": ["\ud83d"]}), Identity("alice", None, NOW + 60, None)),
        (token(aud="anyone", iss="anyone", jti="1"), Identity("alice", None, NOW + 60, None)),
    ],
)  # fmt: skip
def test_valid_token_yields_its_user(good: str, identity: Identity) -> None:
    assert authenticator().verify(good, NOW) == identity


@pytest.mark.parametrize(
    "bad",
    [
        # Form.
        "",
        ".",
        "..",
        "a.b.c",
        "alice",
        token().replace(".", ""),
        token().rpartition(".")[0],
        token() + ".",
        token() + " ",
        " " + token(),
        token() + "é",
        "\udcff" + token(),
        token()[:-1] + "\0",
        "x" * 1_000_000,
        token(more="x" * MAX_TOKEN),
        signed(b"not json"),
        signed(b"[]"),
        signed(b'"alice"'),
        signed(b"\xff\xfe"),
        signed(b"[" * 3000 + b"]" * 3000),
        signed(json.dumps(GOOD).encode(), header=b"[]"),
        signed(json.dumps(GOOD).encode(), header=b"{}"),
        signed(json.dumps(GOOD).encode(), header=b"[" * 3000 + b"]" * 3000),
        # Algorithm and signature.
        signed(json.dumps(GOOD).encode(), header=b'{"alg":"HS512"}'),
        signed(json.dumps(GOOD).encode(), header=b'{"alg":"RS256"}'),
        signed(json.dumps(GOOD).encode(), header=b'{"alg":"hs256"}'),
        signed(json.dumps(GOOD).encode(), header=b'{"alg":["HS256"]}'),
        signed(json.dumps(GOOD).encode(), header=b'{"alg":"HS256","kid":1}'),
        signed(json.dumps(GOOD).encode(), header=b'{"alg":"HS256","crit":["exp"]}'),
        signed(json.dumps(GOOD).encode(), header=b'{"alg":"HS256","b64":false,"crit":["b64"]}'),
        *(
            signed(json.dumps(GOOD).encode(), header=b'{"alg":"HS256",%s}' % more)
            for more in (
                b'"kid":null',
                b'"kid":["k"]',
                b'"crit":[]',
                b'"crit":"exp"',
                b'"crit":false',
                b'"typ":""',
                b'"typ":null',
                b'"typ":7',
                b'"typ":"JWE"',
                b'"typ":"logout+jwt"',
                b'"typ":"dpop+jwt"',
                b'"typ":"secevent+jwt"',
                b'"typ":"application/json"',
                b'"typ":"JWT "',
                b'"x":' + b"[" * 3000,
                b'"kid":"\xff"',
                b'"\xff":0',
                b'"kid":"\\ud800',
            )
        ),
        signed(json.dumps(GOOD).encode(), header=b'{"alg":"none"}'),
        jwt.encode(GOOD, "", algorithm="none"),
        jwt.encode(GOOD, SECRET * 2, algorithm="HS384"),
        signed(json.dumps(GOOD).encode(), secret="another secret of 32 bytes or more"),
        token().rpartition(".")[0] + "." + segment(b""),
        token().rpartition(".")[0] + "." + segment(bytes(32)),
        ".".join([token().split(".")[0], token(sub="bob").split(".")[1], token().split(".")[2]]),
        # Times.
        without("exp"),
        token(exp=None),
        token(exp=NOW),
        token(exp=NOW - 1),
        token(exp=str(NOW + 60)),
        token(exp=True),
        token(exp=[NOW + 60]),
        token(exp={}),
        token(exp=float("nan")),
        token(exp=float("inf")),
        token(exp=-1),
        token(exp=10**400),
        token(exp=(NOW + 60) * 1000),
        signed(b'{"sub":"alice","exp":1e999}'),
        signed(b'{"sub":"alice","exp":1e99,"x":"\\ud800","y":NaN}'),
        signed(b'["\\ud800"]'),
        signed(b'{"sub":"alice","x":"\\ud800","y":' + b"[" * 3000 + b"]" * 3000 + b"}"),
        signed(b'{"sub":"alice","exp":' + b"9" * 5000 + b"}"),
        token(nbf=NOW + LEEWAY + 1),
        token(nbf=str(NOW)),
        token(nbf=None),
        token(iat=NOW + LEEWAY + 1),
        token(iat="yesterday"),
        token(iat=False),
        # User and session.
        without("sub"),
        token(sub=None),
        token(sub=""),
        token(sub="  \u00a0"),
        token(sub=4.5),
        token(sub=2**53),
        token(sub=True),
        token(sub=["alice"]),
        token(sub={"id": "alice"}),
        token(sub="ali\nce"),
        token(sub="alice\0"),
        token(sub="alice\x85"),
        token(sub="\ud800"),
        token(sub="x" * 513),
        token(sub="é" * 257),
        token(sid=4.5),
        token(sid=False),
        token(sid=""),
        token(sid=["s1"]),
        token(sid="s\r1"),
    ],
    ids=lambda bad: repr(bad[:24]),
)
def test_invalid_token_is_refused_without_the_reason(bad: str) -> None:
    assert_refused(authenticator(), bad)


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"])
def test_a_token_may_say_that_it_is_one(typ: str) -> None:
    header = json.dumps({"alg": "HS256", "typ": typ}).encode()
    good = signed(json.dumps(GOOD).encode(), header)
    assert authenticator().verify(good, NOW).user == "alice"


@given(st.text() | st.binary().map(signed) | st.binary().map(lambda header: signed(b"{}", header)))
def test_no_text_does_anything_but_be_refused(bad: str) -> None:
    assert_refused(authenticator(), bad)


def test_exp_gets_no_leeway_whatever_is_set() -> None:
    auth = authenticator(jwt_leeway_seconds=3600)
    assert auth.verify(token(exp=NOW + 1), NOW).expires_at == NOW + 1
    assert_refused(auth, token(exp=NOW + 1), now=NOW + 1)


@pytest.mark.parametrize(
    ("claims", "accepted"),
    [
        ({"iss": "https://id.test", "aud": "gateway"}, True),
        ({"iss": "https://id.test", "aud": ["other", "gateway"]}, True),
        ({"iss": "https://id.test"}, False),
        ({"iss": "https://id.test", "aud": "other"}, False),
        ({"iss": "https://id.test", "aud": []}, False),
        ({"iss": "https://id.test", "aud": 7}, False),
        ({"iss": "https://id.test", "aud": {"gateway": 1}}, False),
        ({"iss": "https://id.test/", "aud": "gateway"}, False),
        ({"iss": ["https://id.test"], "aud": "gateway"}, False),
        ({"iss": None, "aud": "gateway"}, False),
        ({"aud": "gateway"}, False),
    ],
)
def test_issuer_and_audience_are_checked_where_they_are_set(
    claims: dict[str, object], accepted: bool
) -> None:
    auth = authenticator(jwt_issuer="https://id.test", jwt_audience="gateway")
    if accepted:
        assert auth.verify(token(**claims), NOW).user == "alice"
    else:
        assert_refused(auth, token(**claims))


def test_other_claims_can_hold_user_and_session() -> None:
    auth = authenticator(jwt_user_claim="uid", jwt_session_claim="session")
    good = token(sub=42, uid="bob", sid=7, session="s2")
    assert auth.verify(good, NOW) == Identity("bob", "s2", NOW + 60, None)
    assert_refused(auth, token())


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


BEARER = ("Authorization", "Bearer header.token")
COOKIE = ("Cookie", "other=1; gateway_token=cookie.token")
QUERY = "?access_token=query.token"
BOTH = {"token_cookie": "gateway_token", "token_query": True}


@pytest.mark.parametrize(
    ("headers", "query", "values", "found"),
    [
        ([BEARER], "", {}, "header.token"),
        ([("authorization", "bEARER   header.token ")], "", {}, "header.token"),
        ([BEARER, COOKIE], QUERY, BOTH, "header.token"),
        ([COOKIE], QUERY, BOTH, "cookie.token"),
        ([("Cookie", "gateway_token=")], QUERY, BOTH, "query.token"),
        ([("Cookie", "other=1")], QUERY, BOTH, "query.token"),
        ([], QUERY, {"token_query": True}, "query.token"),
        ([COOKIE], "", {"token_cookie": "gateway_token"}, "cookie.token"),
        ([("Cookie", "other=1"), COOKIE], "", BOTH, "cookie.token"),
        ([("Cookie", 'a=b; gateway_token="quoted.token" ;c')], "", BOTH, "quoted.token"),
        ([("Cookie", "gateway_token=; gateway_token=cookie.token")], "", BOTH, "cookie.token"),
        ([("Authorization", "Basic YTpi"), COOKIE], "", BOTH, "cookie.token"),
        ([("Authorization", "Basic YTpi")], QUERY, BOTH, "query.token"),
        ([("Authorization", "")], QUERY, BOTH, "query.token"),
    ],
)
def test_the_token_of_a_request_is_found(
    headers: list[tuple[str, str]], query: str, values: dict[str, object], found: str
) -> None:
    request = make_mocked_request("GET", f"/api/v1/events{query}", CIMultiDict(headers))
    assert token_of(request, settings(**values), Origins(())) == found


@pytest.mark.parametrize(
    ("headers", "query", "values", "challenge"),
    [
        ([], "", {}, DEMANDED),
        ([], "", BOTH, DEMANDED),
        ([COOKIE], QUERY, {}, DEMANDED),
        ([COOKIE], "", {"token_query": True}, DEMANDED),
        ([], QUERY, {"token_cookie": "gateway_token"}, DEMANDED),
        ([], "?access_token=", BOTH, DEMANDED),
        ([("Authorization", "Basic YTpi")], "", BOTH, DEMANDED),
        ([("Authorization", "header.token")], "", BOTH, DEMANDED),
        ([("Cookie", "xgateway_token=t; gateway_tokenx=t; gateway_token")], "", BOTH, DEMANDED),
        ([("Authorization", "Bearer")], QUERY, BOTH, REFUSED),
        ([("Authorization", "Bearer  ")], QUERY, BOTH, REFUSED),
        ([BEARER, BEARER], QUERY, BOTH, REFUSED),
        ([("Authorization", "Basic YTpi"), BEARER], QUERY, BOTH, REFUSED),
    ],
)
def test_a_request_without_a_usable_token_is_unauthorized(
    headers: list[tuple[str, str]], query: str, values: dict[str, object], challenge: str
) -> None:
    request = make_mocked_request("GET", f"/api/v1/events{query}", CIMultiDict(headers))
    with pytest.raises(Unauthorized) as caught:
        token_of(request, settings(**values), Origins(()))
    assert caught.value.headers == {"WWW-Authenticate": challenge}
    assert "token" in caught.value.detail
    assert "header.token" not in caught.value.detail
