from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gateway.errors import Unauthorized
from gateway.http.auth.credentials import token_of
from gateway.http.origins import Origins
from tests.http.signed_tokens import DEMANDED, REFUSED, settings

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
