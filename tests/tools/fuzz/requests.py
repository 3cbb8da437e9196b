"""Requests: bytes parsed by aiohttp and then by every request reader of the gateway."""

from __future__ import annotations

import asyncio
from functools import cache
from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from aiohttp.streams import EMPTY_PAYLOAD

from gateway.config import Settings, load_settings
from gateway.core.event_id import encode
from gateway.core.filter import MAX_PATTERNS
from gateway.core.registry import Registry
from gateway.errors import BadRequest, HttpError, Unauthorized
from gateway.http.addresses import Addresses
from gateway.http.auth.claims import Identity
from gateway.http.auth.credentials import token_of
from gateway.http.origins import Origins
from gateway.http.problem import problem
from gateway.http.query import (
    LATEST_SINCE,
    last_event_id,
    read_categories,
    read_opening,
    read_types,
)
from gateway.http.transport.new_connections import MAX_HEADERS, MAX_LINE_BYTES
from gateway.http.transport.response_head import ResponseHead
from tests.tokens import SECRET, mint
from tests.tools.fuzz.ids import EVENT_ID
from tests.tools.fuzz.target import Target, joined, parts

IDENTITY = Identity("alice", "s1", 2e9, 1e9)
ISSUED = 1_700_000_000
"""Fixed issue time of the seeds' tokens, so that a seed reproduces the inputs."""

CATEGORIES = Registry.built_in().categories
ALLOWED = "https://app.example.com"
TRUSTED = ["10.0.0.0/8", "fd00::/8"]
_ADDRESSES = Addresses(TRUSTED)
_ORIGINS = Origins([ALLOWED])


@cache
def _settings() -> Settings:
    return load_settings(None, jwt_secret=SECRET, token_cookie="token", token_query=True)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def request_of(data: bytes, peer: str = "10.0.0.1") -> web.Request | None:
    """Return the first request that aiohttp parses; None if aiohttp rejects the bytes."""
    parser = HttpRequestParser(
        BaseProtocol(_loop()),
        _loop(),
        1 << 16,
        max_line_size=MAX_LINE_BYTES,
        max_field_size=MAX_LINE_BYTES,
        max_headers=MAX_HEADERS,
    )
    try:
        messages, _, _ = parser.feed_data(data)
    except HttpProcessingError:
        return None
    if not messages:
        return None
    transport = SimpleNamespace(get_extra_info={"peername": (peer, 1)}.get)
    protocol: Any = SimpleNamespace(
        transport=transport, ssl_context=None, peername=(peer, 1), sockname=None
    )
    message, _ = messages[0]
    nobody: Any = None
    return web.Request(
        message, EMPTY_PAYLOAD, protocol, nobody, nobody, _loop(), client_max_size=1024
    )


def _request(data: bytes) -> None:
    peer, head = parts(data, 2)
    request = request_of(head + b"\r\n\r\n", peer.decode("latin-1") or "10.0.0.1")
    if request is None:
        return
    _check_opening(request)
    _check_token(request)
    _check_address(request, peer.decode("latin-1") or "10.0.0.1")
    _check_origins(request)


def _check_opening(request: web.Request) -> None:
    text = last_event_id(request)
    try:
        opening = read_opening(request, IDENTITY)
        categories = read_categories(request.query, CATEGORIES)
        types = read_types(request.query)
    except BadRequest as error:
        _check_answer(error)
        return
    assert (opening.user, opening.session) == (b"alice", "s1"), "no request has an identity"
    assert categories <= set(CATEGORIES)
    assert types is None or 0 < len(types.patterns) <= MAX_PATTERNS
    assert opening.since is None or 0 <= opening.since < LATEST_SINCE
    assert not (opening.malformed and opening.cursor)
    if opening.cursor:
        assert encode(list(opening.cursor)).decode() == text
    elif text:
        assert opening.malformed, "an invalid id is reported"


def _check_token(request: web.Request) -> None:
    try:
        token = token_of(request, _settings(), _ORIGINS)
    except Unauthorized as error:
        _check_answer(error)
        return
    assert token
    given = request.headers.get("Authorization")
    if given is not None:
        assert given[:7].lower() == "bearer "
        assert given.endswith(token) or given.rstrip(" ").endswith(token)
    elif token != request.query.get("access_token"):
        strange = request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}
        assert request.headers.get("Origin") == ALLOWED or not strange, "a cross-site cookie"


def _check_answer(error: HttpError) -> None:
    answer = problem(error, "b7a1")
    assert isinstance(answer.body, bytes)
    assert len(answer.body) < 4000, "a response is not longer than the request"
    assert 400 <= answer.status < 500
    for name, value in answer.headers.items():
        _check_line(name + value)


def _check_address(request: web.Request, peer: str) -> None:
    counted = _ADDRESSES.client(request)
    if counted:
        network = ip_network(counted)
        assert network.num_addresses in {1, 1 << 64}
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        assert counted == ""
        return
    mapped = getattr(address, "ipv4_mapped", None)
    if not any((mapped or address) in ip_network(each) for each in TRUSTED):
        assert (mapped or address) in ip_network(counted), "an untrusted header is used"


def _check_origins(request: web.Request) -> None:
    headers = _ORIGINS.headers(request)
    allowed = headers.get("Access-Control-Allow-Origin")
    assert allowed in {None, ALLOWED}
    assert (allowed is None) is (request.headers.get("Origin") != ALLOWED)
    head = ResponseHead().of(request, headers, chunked=request.version >= HttpVersion11)
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert len(lines) <= 14
    for line in lines:
        _check_line(line.decode())
    if request.query.get("access_token"):
        assert b"no-store" in head, "a cache would store the token"


def _check_line(line: str) -> None:
    assert not {"\r", "\n", "\0"}.intersection(line), "a request injects a response header"


def _get(query: bytes = b"", *lines: bytes, peer: bytes = b"") -> bytes:
    target = b"/api/v1/events" + (b"?" + query if query else b"")
    return joined(peer, b"\r\n".join([b"GET %b HTTP/1.1" % target, b"Host: g", *lines]))


_TOKEN = mint("alice", iat=ISSUED, exp=ISSUED << 1).encode()
_ID = EVENT_ID.seeds[0]

REQUEST = Target(
    "request",
    _request,
    [
        _get(b"", b"Authorization: Bearer " + _TOKEN, b"Last-Event-ID: " + _ID),
        _get(b"categories=ai,import&categories=%20ai&since=2026-01-31T12:00:00.5%2B01:00"),
        _get(b"since=1769860800000&Last-Event-ID=" + _ID + b"&access_token=" + _TOKEN),
        _get(b"types=import.*,ai.response.complete&types=*&types=a.*.b,stream.gap"),
        _get(b"categories=%ff%ed%a0%80&last_event_id=%00", b"Cookie: a=b; token=" + _TOKEN),
        _get(b"", b"Origin: https://app.example.com", b"Cookie: token=x", b"Sec-Fetch-Site: none"),
        _get(b"", b"X-Forwarded-For: 1.2.3.4, ::ffff:10.0.0.3, [2001:db8::1]:80"),
        _get(b"", b'Forwarded: for="[2001:db8::1]:80";by=x, For=10.0.0.2', peer=b"fd00::1"),
        _get(b"", b"Forwarded: for=1.1.1.1", peer=b"8.8.8.8"),
        joined(b"", b"GET http://g/api/v1/events?since=0#x HTTP/1.0"),
    ],
    [
        *(
            b"categories=",
            b"types=",
            b"since=",
            b"last_event_id=",
            b"access_token=",
            b"&",
            b"?",
            b"%00",
            b"%0d%0a",
        ),
        *(b"%ed%a0%80", b"%", b"\r\n", b"Bearer ", b"Authorization: ", b"Cookie: ", b"Origin: "),
        *(
            b"Last-Event-ID: ",
            b"Forwarded: ",
            b"X-Forwarded-For: ",
            b'for="',
            b"\\",
            b'"',
            b";",
            b",",
        ),
        *(
            b"\xff",
            b"\xed\xa0\x80",
            b"+00:00",
            b"Z",
            b"::ffff:",
            b"%25eth0",
            b"HTTP/1.0",
            b"#",
            b"http://",
        ),
        _ID,
    ],
)
