from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import load_settings
from gateway.errors import SettingsError
from gateway.issuers import Issuer, UserId, find_claim, is_safe_url

A = {"issuer": "https://a.test", "audience": "gateway", "user": "a:{sub}"}
B = {"issuer": "https://b.test/realms/x", "audience": ["one", "two"], "user": "b:{sub}"}


def issuers(*given: dict[str, Any], **settings: object) -> tuple[Issuer, ...]:
    return load_settings(None, oidc_issuers=list(given), **settings).oidc_issuers


def test_issuers_are_read_from_json_and_from_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    from_table = issuers(A, B)
    assert [each.audience for each in from_table] == [("gateway",), ("one", "two")]
    assert from_table[1].keys_at == ("https://b.test/realms/x/.well-known/openid-configuration")
    monkeypatch.setenv("GATEWAY_OIDC_ISSUERS", json.dumps([A, B]))
    assert load_settings().oidc_issuers == from_table


@pytest.mark.parametrize(
    ("given", "settings", "complaint"),
    [
        ([{"audience": "x"}], {}, "issuer 1: issuer: is missing"),
        ([A, {"issuer": "https://b.test"}], {}, "issuer 2: audience: is missing"),
        (
            [A | {"audiense": "x"}],
            {},
            "issuer 1: audiense: there is no such field; did you mean audience?",
        ),
        ([A | {"audience": ""}], {}, "an audience must not be empty"),
        ([A | {"audience": []}], {}, "set audience, or require with a claim such as client_id"),
        ([A | {"algorithms": ["HS256"]}], {}, "HS256 is not accepted"),
        ([A | {"algorithms": []}], {}, "an empty list is not accepted"),
        ([A | {"user": "alice"}], {}, "is not a template"),
        ([A | {"user": "{a}{b}"}], {}, "is not a template"),
        ([A | {"user": "{}"}], {}, "is not a template"),
        ([A | {"session_claim": " "}], {}, "the name of a claim must not be empty"),
        ([A | {"issuer": "http://a.test"}], {}, "GATEWAY_OIDC_HTTP_HOSTS"),
        ([A | {"issuer": "ftp://a.test"}], {}, "must be https://host/path"),
        ([A | {"jwks_url": "http://a.test/keys"}], {}, "http://a.test/keys"),
        ([A, A | {"user": "b:{sub}"}], {}, "https://a.test is listed twice"),
        ([A, B | {"user": "{sub}"}], {}, "could be the same; give each its own prefix"),
        ([A], {"jwt_issuer": "https://a.test"}, "GATEWAY_JWT_ISSUER cannot be set with"),
        ([A], {"jwt_user_claim": "uid"}, "GATEWAY_JWT_USER_CLAIM cannot be set with"),
        ([A], {"jwt_secret": "x" * 40}, "key kinds are never mixed"),
    ],
)
def test_issuers_that_cannot_work_are_one_line(
    given: list[dict[str, Any]], settings: dict[str, object], complaint: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        issuers(*given, **settings)
    assert complaint in str(caught.value)
    assert "GATEWAY_OIDC_ISSUERS" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[", "7", '"a"', "[7]", "[[]]", "null"])
def test_invalid_list_of_issuers_is_reported_in_one_line(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_OIDC_ISSUERS", text)
    with pytest.raises(SettingsError, match=r"^GATEWAY_OIDC_ISSUERS: [^\n]+$"):
        load_settings()


def test_http_is_for_loopback_and_named_hosts() -> None:
    assert is_safe_url("https://a.test/x", ())
    assert is_safe_url("http://127.0.0.1:8080/x", ())
    assert is_safe_url("http://keycloak.identity.svc:8080/realms/x", ["keycloak.identity.svc"])
    for url in (
        *("http://a.test", "http://keycloak.identity.svc.evil.test", "https://u@a.test", "a.test"),
        *(
            "https://a.test/?x=1",
            "https://a.test/#x",
            "https://a..b",
            "https://a.test:0",
            "https://",
        ),
        *("https://a.test/\n", "https://\u00e4.test", "http://[::1", "file:///etc/passwd"),
    ):
        assert not is_safe_url(url, ["keycloak.identity.svc"]), url


PARTS = st.text("ab:", max_size=3)
TEMPLATES = st.builds(UserId, PARTS, st.just("sub"), PARTS)


@given(TEMPLATES, TEMPLATES, PARTS, PARTS)
def test_templates_that_are_accepted_never_make_the_same_user_id(
    one: UserId, other: UserId, first: str, second: str
) -> None:
    if one.of(first) == other.of(second):
        assert one.may_meet(other)


@given(TEMPLATES, TEMPLATES)
def test_templates_that_are_refused_can_make_the_same_user_id(one: UserId, other: UserId) -> None:
    """A value that holds the rest of the longer prefix and suffix leads to the same id."""
    if one.may_meet(other):
        prefix = max(one.prefix, other.prefix, key=len)
        suffix = max(one.suffix, other.suffix, key=len)
        ids = {
            each.of(prefix[len(each.prefix) :] + "x" + suffix[: len(suffix) - len(each.suffix)])
            for each in (one, other)
        }
        assert ids == {f"{prefix}x{suffix}"}


def test_a_claim_is_found_by_name_or_path() -> None:
    claims = {"a": {"b": {"c": 1}}, "a.b": 2, "https://x.test/id": 3, "n": None}
    found = [find_claim(claims, path) for path in ("a.b.c", "a.b", "https://x.test/id", "a.x.c")]
    assert found == [1, 2, 3, None]
    assert find_claim(claims, "n.x") is None
    assert find_claim(claims, "a.b.c.d") is None
