"""The groups of a token, by the claims that the sources name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config import load_settings
from gateway.errors import Unauthorized
from gateway.http.auth.claims import MAX_GROUP_BYTES, MAX_GROUPS, MAX_SOURCE_GROUPS, Identity
from gateway.http.auth.keys import OneKey
from gateway.http.auth.tokens import Authenticator
from gateway.revocation.table import Revocations
from tests.tokens import SECRET, mint

SOURCES = """
[[source]]
topic = "orders"

[[source]]
topic = "teams"
audience = "group"
key = "team:{group}"
groups = "org.teams"

[[source]]
topic = "tenants"
audience = "group"
groups = "tenant"

[[source]]
topic = "roles"
audience = "group"
groups = "roles"
"""


@pytest.fixture
def authenticator(tmp_path: Path) -> Authenticator:
    file = tmp_path / "sources.toml"
    file.write_text(SOURCES)
    settings = load_settings(jwt_secret=SECRET, sources=str(file))
    return Authenticator(settings, OneKey(settings), Revocations())


def identity_of(authenticator: Authenticator, **claims: Any) -> Identity:
    return authenticator.authenticate(mint("alice", **claims))


@pytest.mark.parametrize(
    ("claims", "groups"),
    [
        ({}, {}),
        ({"tenant": None, "org": {"teams": []}}, {}),
        ({"tenant": "acme"}, {"tenants": (b"acme",)}),
        ({"tenant": 42}, {"tenants": (b"42",)}),
        ({"tenant": ["b", "a", "b"]}, {"tenants": (b"a", b"b")}),
        ({"org": {"teams": ["größe"]}}, {"teams": ("team:größe".encode(),)}),
        ({"org.teams": ["red"]}, {"teams": (b"team:red",)}),
        ({"org": {"teams": "red blue"}}, {"teams": (b"team:red blue",)}),
        ({"tenant": "x" * MAX_GROUP_BYTES}, {"tenants": (b"x" * MAX_GROUP_BYTES,)}),
    ],
)
def test_a_token_names_these_groups(
    authenticator: Authenticator, claims: dict[str, object], groups: dict[str, tuple[bytes, ...]]
) -> None:
    assert identity_of(authenticator, **claims).groups == groups


@pytest.mark.parametrize(
    ("claims", "explanation"),
    [
        ({"tenant": ["a", 1.5]}, "not a printable text"),
        ({"tenant": [True]}, "not a printable text"),
        ({"tenant": {"a": "b"}}, "not a printable text"),
        ({"tenant": [["a"]]}, "not a printable text"),
        ({"tenant": " "}, "not a printable text"),
        ({"tenant": "a\nb"}, "not a printable text"),
        ({"tenant": [2**53]}, "not a printable text"),
        ({"tenant": "x" * (MAX_GROUP_BYTES + 1)}, "more than 128 bytes"),
        ({"tenant": [str(n) for n in range(MAX_SOURCE_GROUPS + 1)]}, "lists 17 groups"),
        (
            {
                "tenant": [str(n) for n in range(MAX_SOURCE_GROUPS)],
                "roles": [str(n) for n in range(MAX_SOURCE_GROUPS)],
                "org": {"teams": ["one more"]},
            },
            f"33 groups of all sources; at most {MAX_GROUPS}",
        ),
    ],
    ids=range(10),
)
def test_a_token_with_these_groups_is_refused_with_the_reason_for_operators(
    authenticator: Authenticator, claims: dict[str, object], explanation: str
) -> None:
    with pytest.raises(Unauthorized) as caught:
        identity_of(authenticator, **claims)
    assert caught.value.detail == "the token is not accepted"
    assert explanation in caught.value.explanation
