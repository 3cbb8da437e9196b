from __future__ import annotations

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from gateway import clock
from gateway.core import event_id
from gateway.core.event_id import CursorEntry
from gateway.core.filter import Selection
from gateway.core.gap import CloseReason
from gateway.core.records import LogKind, OffsetPosition
from gateway.core.request import StreamRequest
from gateway.http.public import WELCOME, public_app
from gateway.readiness import NotReadyReason, Readiness
from gateway.revocation.record import Change, Revocation, session_key
from tests.eventually import DEADLINE, eventually
from tests.http.raw_client import GREETING, RawClient, connected
from tests.http.served import TOPIC, Served, serving
from tests.tokens import bearer, mint

EVENTS = "/api/v1/events"
IDS = [
    b"42", b"1", b"1u", b"2" + b"A" * 29, b"1u" + b"A" * 27, b"1u" + b"=" * 28, b"x" * 8000,
    b"\xff\xfe", bytes(range(128, 256)), "ünïcödé".encode(), b"null", b"-1", b'"><',
    b"1u" + b"/" * 28, b"1" + b"u" * 29 + b"b" * 29 + b"u" * 29 + b"x",
]  # fmt: skip


async def test_root_describes_the_service_in_one_line(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(Served().app)
    async with client.get("/") as response:
        assert response.status == 200
        assert await response.text() == WELCOME
    assert WELCOME.count("\n") == 1


async def test_routes_can_be_added(served: Served, aiohttp_client: AiohttpClient) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="a page")

    routes = [web.get("/page", page)]
    app = public_app(served.endpoint, served.origins, served.middlewares, routes)
    client = await aiohttp_client(app)
    async with client.get("/page") as response:
        assert await response.text() == "a page"


async def test_request_parameters_reach_the_hub(served: Served, client: RawClient) -> None:
    mark = CursorEntry(LogKind.USER, TOPIC.tag, 0, OffsetPosition(0, 0, False))
    await served.open(
        client,
        f"{EVENTS}?categories=ai&types=ai.*&since=1",
        headers={"Last-Event-ID": event_id.encode([mark]).decode()},
    )
    (opening,) = served.hub.openings
    assert opening.issued_at is not None
    assert opening == StreamRequest(
        b"alice", opening.filter, None, [mark], 1000, issued_at=opening.issued_at
    )
    assert opening.filter is not None
    assert opening.filter.selections == (
        Selection(frozenset({"ai"})),
        Selection(prefixes=("ai.",)),
    )
    assert served.stream.issued_at == opening.issued_at


@pytest.mark.parametrize("text", IDS, ids=lambda text: repr(text[:12]))
async def test_foreign_id_gets_a_stream_that_begins_with_a_gap(
    served: Served, client: RawClient, text: bytes
) -> None:
    head = f"GET {EVENTS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {mint('alice')}\r\n"
    await client.send(head.encode() + b"Last-Event-ID: " + text + b"\r\n\r\n")
    assert (await client.head()).startswith(b"HTTP/1.1 200 ")
    first = await client.chunk()
    assert GREETING.match(first)
    assert first.endswith(b'event: stream.gap\ndata: {"reason":"invalid"}\n\n')


@pytest.mark.parametrize(
    ("lifetime", "earliest", "latest"),
    [(10.0, 0.5, 1.0), (20.0, 1.0, 2.0), (50.0, 2.5, 5.0), (3600.0, 2.5, 5.0)],
)
async def test_streams_end_one_by_one_a_little_before_their_tokens(
    served: Served, lifetime: float, earliest: float, latest: float
) -> None:
    begin = clock.now()
    token = mint("alice", lifetime=lifetime)
    for _ in range(20):
        async with connected(served.port) as client:
            await client.request(EVENTS, token=token)
            await client.head()
    end = clock.now()
    slack = end.monotonic - begin.monotonic + 0.002
    before = [
        begin.monotonic + lifetime - deadlines[CloseReason.TOKEN_EXPIRED]
        for _, deadlines in served.hub.deadlines
    ]
    assert len(set(before)) == 20
    assert all(earliest - slack <= seconds <= latest + slack for seconds in before)


async def test_slow_lookup_does_not_extend_the_token(served: Served, client: RawClient) -> None:
    begin = clock.now()
    served.let_through.clear()
    await client.request(EVENTS, token=mint("alice", lifetime=DEADLINE))
    await eventually(
        "some of the token's life has passed",
        lambda: served.asking == 1 and clock.now().monotonic - begin.monotonic > 0.3,
    )
    served.let_through.set()
    await client.head()

    ((_, deadlines),) = served.hub.deadlines
    assert deadlines[CloseReason.TOKEN_EXPIRED] <= begin.monotonic + DEADLINE


async def test_token_that_expires_during_the_lookup_gets_a_stream_that_closes_as_expired(
    served: Served, client: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.let_through.clear()
    await client.request(EVENTS, token=mint("alice", lifetime=DEADLINE))
    await eventually("the handler waits", lambda: served.asking == 1)
    now = clock.now()
    later = now._replace(
        monotonic=now.monotonic + 2 * DEADLINE, wall=now.wall + int(2000 * DEADLINE)
    )
    with monkeypatch.context() as patched:
        patched.setattr(clock, "now", lambda: later)
        served.let_through.set()
        await client.head()
    served.hub.tick(later)
    assert b'{"reason":"token_expired"}' in await client.rest()


async def test_a_revoked_token_is_refused_with_the_words_for_any_other(
    served: Served, aiohttp_client: AiohttpClient
) -> None:
    served.revocations.apply(revoked("s1"), 0)
    client = await aiohttp_client(served.app)
    answers = []
    for token in (mint("alice", sid="s1"), mint("alice", secret="x" * 32)):
        async with client.get(EVENTS, headers=bearer(token)) as response:
            headers = response.headers.copy()
            text = (await response.text()).replace(headers.pop("X-Request-Id"), "the id")
            headers.pop("Date")
            answers.append((response.status, text, headers))
    assert answers[0] == answers[1]
    assert answers[0][0] == 401
    assert served.asking == 0
    assert not served.hub.openings


async def test_a_token_that_is_revoked_during_the_look_up_opens_no_stream(
    served: Served, client: RawClient
) -> None:
    served.let_through.clear()
    await client.request(EVENTS, token=mint("alice", sid="s1"))
    await eventually("the handler waits", lambda: served.asking == 1)
    served.revocations.apply(revoked("s1"), 0)
    served.let_through.set()
    assert (await client.head()).startswith(b"HTTP/1.1 401 ")
    assert not served.hub.openings


def revoked(session: str) -> Change:
    now = clock.now().wall
    return Change(session_key(session), Revocation(b"alice", now, now + 60_000))


async def test_streams_reach_their_greatest_age_one_by_one() -> None:
    async with serving(max_stream_age_seconds=1000) as served:
        for _ in range(20):
            async with connected(served.port) as client:
                await client.request(EVENTS, token=mint("alice"))
                await client.head()
        ages = [
            deadlines[CloseReason.MAX_AGE] - moment.monotonic
            for moment, deadlines in served.hub.deadlines
        ]
    assert len(set(ages)) == 20
    assert all(900 <= age <= 1000 for age in ages)


async def test_stream_on_a_draining_worker_keeps_its_id_and_gets_a_retry_hint(
    served: Served, client: RawClient
) -> None:
    """Not a 503, at which an `EventSource` gives up."""
    served.let_through.clear()
    await client.request(EVENTS, token=mint("alice"))
    await eventually("the handler waits", lambda: served.asking == 1)
    served.readiness.set_reason(NotReadyReason.DRAINING, "it is being stopped")
    served.let_through.set()
    answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\nid: 1u" in answer
    assert b'event: stream.close\ndata: {"reason":"draining"}' in answer
    assert not served.hub.streams


async def test_a_worker_that_was_ready_once_opens_streams_while_kafka_is_away(
    served: Served, client: RawClient
) -> None:
    served.readiness.set_reason(NotReadyReason.KAFKA, "it does not answer")
    await served.open(client)


@pytest.mark.parametrize("authorized", [True, False])
async def test_only_authenticated_clients_learn_that_a_worker_is_not_ready(
    authorized: bool, aiohttp_client: AiohttpClient
) -> None:
    client = await aiohttp_client(Served(readiness=Readiness()).app)
    headers = bearer(mint("alice")) if authorized else {}
    async with client.get(EVENTS, headers=headers) as response:
        assert response.status == (503 if authorized else 401)
