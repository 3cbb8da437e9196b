from __future__ import annotations

import json

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.auth.claims import Identity
from gateway.http.auth.tokens import MAX_TOKEN
from tests.http.signed_tokens import (
    GOOD,
    LEEWAY,
    NOW,
    assert_refused,
    authenticator,
    segment,
    signed,
    token,
    without,
)
from tests.tokens import SECRET


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
