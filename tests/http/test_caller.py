from __future__ import annotations

import json
import re
from collections.abc import Iterable
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gateway import log
from gateway.http import request_reader
from gateway.http.caller import Caller, Callers
from tests.http.raw_client import connected
from tests.http.served import serving
from tests.tokens import mint

EVENTS = "/api/v1/events"
MADE = re.compile("[0-9a-f]{24}")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def identify(
    headers: Iterable[tuple[str, str]], *, peer: str = "10.0.0.1", trusted: str = "10.0.0.0/8"
) -> Caller:
    return Callers([trusted] if trusted else []).identify(request_from(peer, headers))


def request_from(peer: str, headers: Iterable[tuple[str, str]] = ()) -> web.Request:
    transport = Mock()
    transport.get_extra_info.side_effect = lambda name, default=None: (
        (peer, 4711) if name == "peername" else default
    )
    return make_mocked_request("GET", "/", CIMultiDict(headers), transport=transport)


@pytest.mark.parametrize(
    "request_id",
    ["7", "b7a1", "6f1d4c1e-6e5c-4a9b-9a39-3b3f0a5a2f10", "A.b_c~d:e@f=g+h/i-j", "x" * 64],
)
def test_the_id_of_a_trusted_proxy_is_taken(request_id: str) -> None:
    assert identify([("X-Request-Id", request_id)]).request_id == request_id


@pytest.mark.parametrize(
    "request_ids",
    [
        [], [""], ["x" * 65], ["with space"], ['"quoted"'], ["a,b"], ["a;b"], ["é"], ["\x1b[31m"],
        ["{}"], ["one", "two"], ["same", "same"],
    ],
)  # fmt: skip
def test_an_id_that_is_malformed_or_long_is_replaced(request_ids: list[str]) -> None:
    caller = identify([("X-Request-Id", request_id) for request_id in request_ids])
    assert MADE.fullmatch(caller.request_id)


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [("192.0.2.1", "10.0.0.0/8"), ("2001:db8::1", "10.0.0.0/8"), ("10.0.0.1", "")],
)
def test_request_id_of_an_untrusted_peer_is_ignored(peer: str, trusted: str) -> None:
    caller = identify([("X-Request-Id", "b7a1")], peer=peer, trusted=trusted)
    assert MADE.fullmatch(caller.request_id)


def test_no_two_requests_have_the_same_id() -> None:
    callers, request = Callers([]), request_from("10.0.0.1")
    assert len({callers.identify(request).request_id for _ in range(1000)}) == 1000


def test_the_address_is_that_of_the_client_behind_its_proxies() -> None:
    assert identify([("X-Forwarded-For", "192.0.2.1")]).address == "192.0.2.1"
    assert identify([("X-Forwarded-For", "192.0.2.1")], trusted="").address == "10.0.0.1"


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00", f"cc-{TRACE}-{PARENT}-01",
        f"01-{TRACE}-{PARENT}-01-what-comes-later", f"fe-{TRACE}-{PARENT}-01-",
    ],
)  # fmt: skip
def test_trace_context_is_accepted_from_every_client(traceparent: str) -> None:
    caller = identify([("Traceparent", traceparent)], peer="192.0.2.1")
    assert caller.trace_id == TRACE
    assert caller.facts()["trace_id"] == TRACE


@pytest.mark.parametrize(
    "traceparents",
    [
        [], [""], [TRACE], [f"ff-{TRACE}-{PARENT}-01"], [f"00-{'0' * 32}-{PARENT}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"], [f"00-{TRACE.upper()}-{PARENT}-01"],
        [f"00-{TRACE}-{PARENT}-01-more"], [f"00-{TRACE}-{PARENT}-01-"],
        [f"01-{TRACE}-{PARENT}-01x"],
        [f"00-{TRACE[1:]}-{PARENT}-01"], [f"00-{TRACE}-{PARENT}-0"], [f"00-{TRACE}-{PARENT}-01\n"],
        [f" 00-{TRACE}-{PARENT}-01"], [f"0x-{TRACE}-{PARENT}-01"], [f"00_{TRACE}_{PARENT}_01"],
        [f"00-{TRACE}-{PARENT}-01"] * 2,
    ],
)  # fmt: skip
def test_a_trace_that_is_malformed_is_as_good_as_none(traceparents: list[str]) -> None:
    caller = identify([("traceparent", text) for text in traceparents])
    assert caller.trace_id is None
    assert caller.facts().keys() == {"address", "request_id"}


async def test_the_id_reaches_the_client_with_a_stream_and_with_a_refusal() -> None:
    headers = {"X-Request-Id": "b7a1"}
    async with serving(trusted_proxies="127.0.0.0/8") as served, connected(served.port) as client:
        await client.request(EVENTS, headers=headers)
        head, _, body = (await client.response()).partition(b"\r\n\r\n")
        assert b"\r\nX-Request-Id: b7a1\r\n" in head + b"\r\n"
        assert json.loads(body)["request_id"] == "b7a1"
        await client.request(EVENTS, token=mint("alice"), headers=headers)
        assert b"\r\nX-Request-Id: b7a1\r\n" in await client.head()


async def test_a_defect_is_answered_and_logged_with_the_id(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    logging_as_it_was: None,
) -> None:
    def fail(request: web.Request, *_: object) -> str:
        raise RuntimeError(request.query["access_token"])

    monkeypatch.setattr(request_reader, "token_of", fail)
    log.configure("json", "debug")
    async with serving() as served, connected(served.port) as client:
        await client.request(f"{EVENTS}?access_token=eyJhbGciOi")
        head = await client.head()
    assert head.startswith(b"HTTP/1.1 500 ")
    request_id = head.partition(b"X-Request-Id: ")[2].partition(b"\r\n")[0].decode()
    # It was met twice: where streams are opened at once, and by aiohttp, whose answer has the id.
    lines = capsys.readouterr().err.splitlines()
    met, answered = (json.loads(line) for line in lines)
    assert (answered["level"], answered["request_id"]) == ("error", request_id)
    for entry in (met, answered):
        assert "in fail" in entry["exception"]
    assert not any("eyJ" in line for line in lines)
