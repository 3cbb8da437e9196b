"""Input for a live worker: base requests, mutations, and ways of sending."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from tests.tokens import mint
from tests.tools.fuzz.mutation import mutated
from tests.tools.fuzz.requests import ISSUED, REQUEST

OPS_TOKEN = "a token for the operations listener"
USER = "mallory"


class Manner(Enum):
    """How a connection sends its bytes and ends."""

    WHOLE = "at once, then read the response"
    PIECES = "in pieces, one packet each"
    FINISHED = "at once, then close the sending half"
    HALF = "only half of them, then close"
    RESET = "at once, then reset the connection"
    HELD = "only half of them, then stay until the end of the run"


class Approach(NamedTuple):
    """One connection to a worker."""

    data: bytes
    manner: Manner


def approaches(seed: int, *, ops: bool) -> Iterator[Approach]:
    """Yield endless connections to the public or to the operations listener."""
    chance = random.Random(f"{ops} {seed}")
    seeds = _ops_seeds() if ops else _public_seeds()
    for data in seeds:
        yield Approach(data, Manner.WHOLE)
    while True:
        data = mutated(chance, seeds, _WORDS) if chance.random() < 0.5 else _tidy(chance, seeds)
        if chance.random() < 0.1:
            data += mutated(chance, seeds, _WORDS)  # pipelined
        if ops and b"/ops/" in data and OPS_TOKEN.encode() in data:
            continue  # it would correctly drain the worker
        yield Approach(data, chance.choices([*Manner], [60, 12, 12, 8, 6, 2])[0])


def _tidy(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Return a request with one changed line, which is often still valid."""
    head, _, body = chance.choice(seeds).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    place = chance.randrange(len(lines))
    changed = mutated(chance, [lines[place]], _WORDS).translate(None, b"\r\n\0")
    return b"\r\n".join([*lines[:place], changed, *lines[place + 1 :], b"", body])


def _request(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([line, b"Host: gateway.test", *headers, b"", body])


def _public_seeds() -> Sequence[bytes]:
    token = mint(USER, iat=ISSUED, exp=ISSUED << 1).encode()
    bearer = b"Authorization: Bearer " + token
    event_id = REQUEST.words[-1]
    get = b"GET /api/v1/events HTTP/1.1"
    return [
        _request(get, bearer),
        _request(get, bearer, b"Last-Event-ID: " + event_id),
        _request(b"GET /api/v1/events?categories=ai,import&since=0 HTTP/1.1", bearer),
        _request(b"GET /api/v1/events?since=2026-01-31T12:00:00Z HTTP/1.0", bearer),
        _request(b"GET /api/v1/events?last_event_id=%00%ff&access_token=" + token + b" HTTP/1.1"),
        _request(b"GET http://[::1]:80/api/v1/events HTTP/1.1", bearer),
        _request(get, b"Cookie: a=b; token=" + token, b"Origin: https://app.example.com"),
        _request(get, bearer, b"X-Forwarded-For: 1.2.3.4, [::1]:1", b'Forwarded: for="[::1]"'),
        _request(get, bearer, b"Accept-Encoding: gzip, br", b"Accept: text/event-stream"),
        _request(get, bearer, b"Upgrade: websocket", b"Connection: Upgrade"),
        _request(get, bearer, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"),
        _request(get, bearer, b"Content-Length: 5", body=b"hello"),
        _request(b"OPTIONS /api/v1/events HTTP/1.1", b"Origin: https://app.example.com"),
        _request(b"HEAD /api/v1/events HTTP/1.1", bearer),
        _request(b"GET / HTTP/1.1"),
        *_odd(b"/api/v1/events"),
    ]


def _ops_seeds() -> Sequence[bytes]:
    bearer = b"Authorization: Bearer " + OPS_TOKEN.encode()
    return [
        _request(b"GET /healthz HTTP/1.1"),
        _request(b"GET /readyz HTTP/1.0"),
        _request(b"GET /metrics HTTP/1.1", bearer),
        _request(
            b"GET /metrics?name[]=x HTTP/1.1", bearer, b"Accept: application/openmetrics-text"
        ),
        _request(b"GET /metrics HTTP/1.1", b"Authorization: Bearer \xff\xfe"),
        _request(b"POST /ops/drain HTTP/1.1", b"Content-Length: 0"),
        _request(b"DELETE /ops/streams/1 HTTP/1.1", b"Authorization: Basic eDp5"),
        *_odd(b"/metrics"),
    ]


def _odd(path: bytes) -> Sequence[bytes]:
    """Return bytes that are not a valid request for either listener."""
    chunked = b"5\r\nhello\r\n0\r\n\r\n"
    return [
        _request(b"POST " + path + b" HTTP/1.1", b"Transfer-Encoding: chunked", body=chunked),
        _request(b"PUT " + path + b" HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 9"),
        _request(b"CONNECT gateway.test:443 HTTP/1.1"),
        _request(b"OPTIONS * HTTP/1.1"),
        _request(b"GET //x/../%2e%2e%2f%00%zz HTTP/1.1"),
        _request(b"GET " + path + b" HTTP/1.1", *(b"X-%d: y" % n for n in range(70))),
        _request(b"GET " + path + b"?" + b"x" * 13_000 + b" HTTP/1.1"),
        _request(b"GET " + path + b" HTTP/1.1", b"X: " + b"y" * 20_000),
        _request(b"GET " + path + b" HTTP/9.9"),
        b"GET " + path + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\4\0\0\0\0\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2,
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + _request(b"GET " + path + b" HTTP/1.1"),
        b"\r\n\r\n\r\n" + _request(b"GET / HTTP/1.1"),
        b"\0" * 100,
    ]


_WORDS = [
    *REQUEST.words,
    *(
        b"GET ",
        b"POST ",
        b"HEAD ",
        b"PATCH ",
        b"TRACE ",
        b"BREW ",
        b" HTTP/1.1",
        b" HTTP/1.0",
        b"*",
    ),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Host: [::1]:99999",
    ),
    *(
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Expect: 100-continue\r\n",
    ),
    *(b"Content-Encoding: gzip\r\n", b"Content-Encoding: deflate\r\n", b"Content-Encoding: br\r\n"),
    *(b"Content-Type: multipart/form-data; boundary=\r\n", b"Host: \r\n", b"Host: a:b:c\r\n"),
    *(b'Cookie: token="\\377"; $Version=1\r\n', b"Range: bytes=0-\r\n", b"If-None-Match: *\r\n"),
    *(b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Sec-WebSocket-Key: x\r\n"),
    *(
        b"\r",
        b"\n",
        b"\0",
        b"\t",
        b" ",
        b":",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b";x=y",
        b"@",
        b"[",
        b"]",
    ),
    *(
        b"/api/v1/events",
        b"/metrics",
        b"/healthz",
        b"%2f",
        b"..",
        b"\x80",
        b"\xf0\x9f\x98\x80",
        b"a" * 9000,
    ),
]
