from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway import clock
from gateway.core import event_id
from gateway.core.admission import Refusal
from gateway.core.event_id import CursorEntry
from gateway.core.records import LogKind, OffsetPosition
from gateway.core.stream import State
from gateway.http import admission
from gateway.http.admission import RETRY_AFTER
from tests.eventually import eventually
from tests.http.raw_client import RawClient, connected
from tests.http.served import TOPIC, Served, serving
from tests.tokens import mint

EVENTS = "/api/v1/events"
OLD_ID = event_id.encode(
    [CursorEntry(LogKind.USER, TOPIC.tag, 0, OffsetPosition(1, 0, False))]
).decode()


def rejects(served: Served) -> dict[str, float]:
    """Return how many requests were refused, by reason."""
    families = text_string_to_metric_families(served.metrics.text().decode())
    return {
        sample.labels["reason"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "gateway_rejects_total" and sample.value
    }


class Crowd:
    """Clients that connect to one server, and stay until the end."""

    def __init__(self, served: Served, stack: AsyncExitStack) -> None:
        self._served = served
        self._stack = stack

    async def come(self, user: str = "alice", **options: Any) -> RawClient:
        """Connect, and ask for a stream."""
        client = await self._stack.enter_async_context(connected(self._served.port))
        await client.request(options.pop("target", EVENTS), token=mint(user), **options)
        return client

    async def enter(self, user: str = "alice", **options: Any) -> RawClient:
        """Open a stream."""
        client = await self.come(user, **options)
        assert (await client.head()).startswith(b"HTTP/1.1 200 ")
        await client.chunk()
        return client


@asynccontextmanager
async def crowd(**settings: Any) -> AsyncIterator[tuple[Served, Crowd]]:
    async with AsyncExitStack() as stack, serving(**settings) as served:
        yield served, Crowd(served, stack)


async def refused(client: RawClient, status: int) -> dict[str, Any]:
    """Return the problem details of a refusal, which says when to come back."""
    head, _, body = (await client.response()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), head
    assert b"Content-Type: application/problem+json" in head
    low, high = RETRY_AFTER
    after = int(head.partition(b"Retry-After: ")[2].partition(b"\r\n")[0])
    assert low <= after <= high + admission.REPLAY_SECONDS
    answer: dict[str, Any] = json.loads(body)
    assert answer["status"] == status
    return answer


async def stall(served: Served) -> None:
    """Write to all streams more than their buffers take, and wait until they are stuck."""
    served.publish(*[b'"%s"' % (b"x" * 2000)] * 200)
    await eventually(
        "all streams are stuck",
        lambda: all(stream.state is State.STUCK for stream in served.hub.streams),
    )


async def test_a_user_at_the_limit_gets_429_and_others_a_stream() -> None:
    async with crowd(max_streams_per_user=2) as (served, clients):
        first, _ = await clients.enter(), await clients.enter()
        answer = await refused(await clients.come(), 429)
        assert "all streams that a user may have" in answer["detail"]
        await clients.enter("bob")
        first.close()
        await served.until_open(2)
        await clients.enter()
        assert rejects(served) == {"user_streams": 1}


async def test_worker_at_the_limit_answers_503_and_keeps_its_streams() -> None:
    async with crowd(max_streams=2) as (served, clients):
        first, second = await clients.enter("alice"), await clients.enter("bob")
        for user in ("alice", "bob", "carol"):
            await refused(await clients.come(user), 503)
        assert len(served.hub.streams) == 2
        served.publish(b"1", user="alice")
        served.publish(b"2", user="bob")
        assert b"data: 1\n" in await first.chunk()
        assert b"data: 2\n" in await second.chunk()
        assert rejects(served) == {"worker_streams": 3}


async def test_address_at_the_limit_gets_429_for_every_user() -> None:
    async with crowd(max_streams_per_address=2) as (served, clients):
        await clients.enter("alice")
        await clients.enter("bob")
        await refused(await clients.come("carol", headers={"X-Forwarded-For": "192.0.2.1"}), 429)
        assert rejects(served) == {"address_streams": 1}


async def test_behind_a_trusted_proxy_the_forwarded_address_counts() -> None:
    async with crowd(max_streams_per_address=1, trusted_proxies="127.0.0.0/8") as (served, clients):
        for number in range(5):
            await clients.enter(headers={"X-Forwarded-For": f"6.6.6.6, 192.0.2.{number}"})
        made_up = {"X-Forwarded-For": "192.0.2.77, 192.0.2.1"}
        await refused(await clients.come(headers=made_up), 429)
        await clients.enter(headers={"Forwarded": 'for="[2001:db8::1]"'})
        neighbour = {"Forwarded": 'for="[2001:db8::2]"'}
        await refused(await clients.come(headers=neighbour), 429)
        assert rejects(served) == {"address_streams": 2}


@pytest.mark.parametrize(
    "settings",
    [{"max_streams_per_user": 1}, {"max_streams": 1}, {"max_streams_per_address": 1}],
    ids=lambda settings: next(iter(settings)),
)
async def test_a_stuck_stream_gives_its_place_up_at_once(settings: dict[str, int]) -> None:
    async with crowd(**settings) as (served, clients):
        phone = await clients.enter()
        await stall(served)
        tablet = await clients.enter()
        assert len(served.hub.streams) == 1
        served.publish(b'"news"')
        assert b'data: "news"\n' in await tablet.chunk()
        assert b'event: stream.close\ndata: {"reason":"replaced"}' in await phone.rest()
        assert rejects(served) == {}


async def test_of_many_at_the_same_time_only_as_many_get_in_as_there_is_room() -> None:
    async with crowd(max_streams_per_user=3) as (served, clients):
        served.let_through.clear()
        asking = [await clients.come() for _ in range(8)]
        await eventually("all are being opened", lambda: served.asking == 8)
        served.let_through.set()
        heads = [await client.head() for client in asking]
        assert sum(head.startswith(b"HTTP/1.1 200 ") for head in heads) == 3
        assert sum(head.startswith(b"HTTP/1.1 429 ") for head in heads) == 5
        assert len(served.hub.streams) == 3


async def test_openings_above_the_limit_are_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "MAX_OPENINGS", 2)
    async with crowd() as (served, clients):
        served.let_through.clear()
        waiting = [await clients.come() for _ in range(2)]
        await eventually("two are being opened", lambda: served.asking == 2)
        await refused(await clients.come(), 503)
        waiting[0].reset()
        served.let_through.set()
        assert (await waiting[1].head()).startswith(b"HTTP/1.1 200 ")
        await clients.enter()
        assert rejects(served) == {"worker_openings": 1}


async def test_who_gets_no_stream_for_another_reason_takes_nobodys_place() -> None:
    async with crowd(max_streams=1, max_streams_per_user=1) as (served, clients):
        for _ in range(3):
            client = await clients.come(target=f"{EVENTS}?categories=none")
            assert (await client.response()).startswith(b"HTTP/1.1 400 ")
        await clients.enter()
        assert rejects(served) == {"bad_request": 3}


async def test_repeated_replays_of_one_user_are_throttled() -> None:
    """The tail begins at 0 with nothing before it to prove an id: each resume asks for a scan."""
    async with crowd(max_streams_per_user=2) as (served, clients):
        served.publish(*[b"1"] * 5)
        assert served.feed.tail is not None
        served.feed.tail.evict(1 << 20)
        for number in range(2 * admission.REPLAYS_FOR_EACH):
            client = await clients.enter(headers={"Last-Event-ID": OLD_ID})
            assert served.stream.state is State.REPLAYING, number
            client.close()
            await served.until_open(0)
            assert not served.feed.waiting, "nobody reads for a client that has gone"
        await refused(await clients.come(headers={"Last-Event-ID": OLD_ID}), 429)
        await refused(await clients.come(target=f"{EVENTS}?since=1"), 429)
        (await clients.enter()).close()
        await served.until_open(0)
        await clients.enter("bob", headers={"Last-Event-ID": OLD_ID})
        assert rejects(served) == {"user_replays": 2}


async def test_resume_from_memory_does_not_count_as_replay() -> None:
    async with crowd(max_streams_per_user=1) as (served, clients):
        served.publish(*[b"1"] * 5)
        moment = clock.now()
        place = OffsetPosition(3, moment.wall, False)
        recent = event_id.encode([CursorEntry(LogKind.USER, TOPIC.tag, 0, place)]).decode()
        for _ in range(4 * admission.REPLAYS_FOR_EACH):
            (await clients.enter(headers={"Last-Event-ID": recent})).close()
            await served.until_open(0)
        assert rejects(served) == {}


@pytest.mark.parametrize(
    ("target", "headers", "status", "reason"),
    [
        (f"{EVENTS}?x={'x' * 12_288}", {}, 414, "uri_too_long"),
        (EVENTS, {f"X-{n}": "x" * 8000 for n in range(5)}, 431, "head_too_large"),
    ],
    ids=["url", "headers"],
)
async def test_oversized_request_is_rejected(
    target: str, headers: dict[str, str], status: int, reason: str
) -> None:
    async with crowd() as (served, clients):
        client = await clients.come(target=target, headers=headers)
        head, _, body = (await client.response()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert json.loads(body)["status"] == status
        assert b"x" * 100 not in body
        assert rejects(served) == {reason: 1}


def test_refusals_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, int]] = []

    def draw(low: int, high: int) -> int:
        drawn.append((low, high))
        return high

    monkeypatch.setattr("random.randint", draw)
    refusal: Callable[..., Any] = vars(admission)["refused"]
    assert refusal(Refusal.USER).retry_after == RETRY_AFTER[1]
    assert refusal(Refusal.REPLAYS, 4.2).retry_after == RETRY_AFTER[1] + 4
    assert drawn == [RETRY_AFTER] * 2
