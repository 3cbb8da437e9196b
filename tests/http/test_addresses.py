from __future__ import annotations

from collections.abc import Iterable
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.http.addresses import MAX_HOPS, Addresses

PROXY = "10.0.0.1"
TRUSTED = ["10.0.0.0/8", "fd00::/8", "127.0.0.1"]
TOLD = Addresses(TRUSTED)


def request(peer: str | None, headers: Iterable[tuple[str, str]] = ()) -> web.Request:
    transport = Mock()
    transport.get_extra_info.side_effect = lambda name, default=None: (
        (peer, 4711) if name == "peername" and peer else default
    )
    return make_mocked_request("GET", "/", CIMultiDict(headers), transport=transport)


def listed(*values: str, peer: str = PROXY) -> str:
    return TOLD.client(request(peer, [("X-Forwarded-For", value) for value in values]))


def forwarded(*values: str, peer: str = PROXY) -> str:
    return TOLD.client(request(peer, [("Forwarded", value) for value in values]))


@pytest.mark.parametrize(
    ("peer", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("/run/socket", ""),
        (None, ""),
    ],
)
def test_without_a_proxy_the_peer_is_the_client(peer: str | None, counted: str) -> None:
    assert TOLD.client(request(peer)) == counted


def test_address_of_a_disconnected_client_is_empty() -> None:
    gone = Mock(transport=None)
    assert TOLD.client(gone) == ""


@pytest.mark.parametrize("header", [("X-Forwarded-For", "1.1.1.1"), ("Forwarded", "for=1.1.1.1")])
@pytest.mark.parametrize("peer", ["192.0.2.1", "11.0.0.1", "::ffff:192.0.2.1", "2001:db8::1"])
def test_forwarded_headers_of_untrusted_peers_are_ignored(
    peer: str, header: tuple[str, str]
) -> None:
    assert TOLD.client(request(peer, [header])) == TOLD.client(request(peer))
    assert Addresses([]).client(request(PROXY, [header])) == PROXY


@pytest.mark.parametrize(
    ("values", "counted"),
    [
        (["192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1:5060"], "192.0.2.1"),
        (["1.1.1.1, 192.0.2.1"], "192.0.2.1"),
        (["1.1.1.1", "192.0.2.1"], "192.0.2.1"),
        (["1.1.1.1,192.0.2.1 ,10.3.3.3,  10.0.0.7"], "192.0.2.1"),
        (["1.1.1.1, 192.0.2.1", "10.3.3.3"], "192.0.2.1"),
        (["2001:db8::1"], "2001:db8::/64"),
        (["[2001:db8::1]"], "2001:db8::/64"),
        (["[2001:db8::1]:443"], "2001:db8::/64"),
        (["192.0.2.1, fd00::7, [fd00::8]:1"], "192.0.2.1"),
        (["::ffff:192.0.2.1"], "192.0.2.1"),
        (["::ffff:10.0.0.9"], "10.0.0.9"),
        (["10.3.3.3, 10.0.0.7"], "10.3.3.3"),
        (["fe80::1%eth0"], "fe80::/64"),
        (["garbage, 192.0.2.1"], "192.0.2.1"),
    ],
)
def test_right_most_address_that_is_not_a_proxy_counts(values: list[str], counted: str) -> None:
    assert listed(*values) == counted
    assert listed(*values, peer="::ffff:10.0.0.1") == counted
    assert listed(*values, peer="fd00::1") == counted


@pytest.mark.parametrize(
    ("values", "counted"),
    [
        (["for=192.0.2.1"], "192.0.2.1"),
        (["For=192.0.2.1;proto=https;by=203.0.113.43"], "192.0.2.1"),
        (['proto=https;for="192.0.2.1:47011"'], "192.0.2.1"),
        (['for="[2001:db8:cafe::17]:4711"'], "2001:db8:cafe::/64"),
        (['for="[2001:db8:cafe::17]"'], "2001:db8:cafe::/64"),
        (["for=1.1.1.1, for=192.0.2.1"], "192.0.2.1"),
        (["for=1.1.1.1", "for=192.0.2.1, for=10.1.1.1"], "192.0.2.1"),
        (['for=1.1.1.1;host="a,b;for=2.2.2.2", for=192.0.2.1'], "192.0.2.1"),
        (["for=unknown, for=192.0.2.1"], "192.0.2.1"),
        (["for=_hidden;;by=_x , for=192.0.2.1 ; proto=http"], "192.0.2.1"),
    ],
)
def test_forwarded_header_is_parsed_as_in_rfc_7239(values: list[str], counted: str) -> None:
    assert forwarded(*values) == counted


@pytest.mark.parametrize(
    "value",
    [
        "", "garbage", "1.1.1.1, garbage", "192.0.2.1, ", ",", "192.0.2", "192.0.2.1.5",
        "256.1.1.1", "192.0.2.1:port", "[192.0.2.1]x", "[2001:db8::1", "2001:db8::1]:80",
        "0x7f000001", "1", "localhost", "unknown", "\uff11.1.1.1", "' OR 1=1", "-1.1.1.1", "\x00",
        "1.1.1.1 2.2.2.2", "1.1.1.1;2.2.2.2",
    ],
)  # fmt: skip
def test_what_cannot_be_read_leaves_the_peers_own_address(value: str) -> None:
    assert listed(value) == PROXY


@pytest.mark.parametrize(
    "value",
    [
        "", "garbage", "for=unknown", "for=_hidden", 'for=""', "for=", "for", "by=1.1.1.1",
        "for=1.1.1.1, proto=https", 'for="1.1.1.1', 'for="1.1.1.1, for=192.0.2.1',
        'for=1.1.1.1;x="\\', "for=2001:db8::1", "for=1.1.1.1 for=2.2.2.2", "for = 1.1.1.1",
        'for=6.6.6.6;x=", for=192.0.2.1;by="y"',
    ],
)  # fmt: skip
def test_what_cannot_be_read_of_forwarded_leaves_the_peers_own_address(value: str) -> None:
    assert forwarded(value) == PROXY


def test_two_headers_count_where_they_say_the_same() -> None:
    """A proxy writes one of them, and hands the other on as the client has made it up."""
    both = [("X-Forwarded-For", "1.1.1.1, 192.0.2.1"), ("Forwarded", "for=192.0.2.1")]
    assert TOLD.client(request(PROXY, both)) == "192.0.2.1"
    both = [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=6.6.6.6")]
    assert TOLD.client(request(PROXY, both)) == PROXY
    both = [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "garbage")]
    assert TOLD.client(request(PROXY, both)) == PROXY


def test_a_header_of_thousands_of_hops_is_not_read_to_its_end() -> None:
    assert listed(", ".join(["192.0.2.1", *["10.0.0.1"] * (MAX_HOPS - 1)])) == "192.0.2.1"
    assert listed(", ".join(["192.0.2.1", *["10.0.0.9"] * MAX_HOPS])) == PROXY


def test_no_more_of_a_header_is_read_than_counts() -> None:
    """A client may send a megabyte; the address limit must not cost more than a look."""
    long = ["6.6.6.6, " * 100_000 + "192.0.2.1"]
    assert listed(*long) == "192.0.2.1"
    assert forwarded("for=6.6.6.6, " * 100, "for=192.0.2.1") == "192.0.2.1"
    assert forwarded("for=6.6.6.6, " * 10_000, "for=192.0.2.1") == PROXY


@given(st.text(max_size=60))
def test_client_headers_cannot_change_the_address_seen_by_its_proxy(text: str) -> None:
    assert listed(text, "192.0.2.1") == "192.0.2.1"
    assert listed(f"{text}, 192.0.2.1") == "192.0.2.1"
    assert forwarded(text, "for=192.0.2.1") in ("192.0.2.1", PROXY)
    assert forwarded(f"{text}, for=192.0.2.1") in ("192.0.2.1", PROXY)
    assert forwarded(f'{text}, for="[2001:db8::1]:1"') in ("2001:db8::/64", PROXY)
