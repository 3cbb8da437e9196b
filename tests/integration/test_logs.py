"""The log of a worker process with every listener enabled: its lines, and data it must not hold."""

from __future__ import annotations

import re
from datetime import datetime

import aiohttp

from tests.conftest import MakeTopics, StartWorker
from tests.eventually import eventually
from tests.http.raw_client import connected
from tests.integration.conftest import OpenStream, SetUp, new_user
from tests.tokens import bearer, mint

PAYLOAD = "4929-6500-0000-1234"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
LIFE = {
    "event", "level", "timestamp", "reason", "opened_at", "seconds", "events", "bytes", "state",
    "lag_seconds", "user", "address", "request_id",
}  # fmt: skip


async def test_nothing_that_a_client_or_producer_sends_is_in_the_log_at_any_level(
    set_up: SetUp, http: aiohttp.ClientSession
) -> None:
    """In one session: valid and invalid tokens in every place, payloads, malformed records."""
    stage = await set_up(
        token_cookie="token", token_query="true", log_level="debug", ops_token="opened-sesame"
    )
    user, session = new_user(), "session-of-them"
    good, bad = mint(user, sid=session), mint(user, secret="x" * 32)
    streams = [
        await stage.open(user, token=good, headers=headers)
        for headers in ({}, {"Last-Event-ID": "id-of-nobody"}, {"Cookie": f"token={bad}"})
    ]
    await streams[0].wait_for(lambda client: client.last_event_id)
    await stage.write.event(user, "import.completed", b'"%s"' % PAYLOAD.encode())
    await stage.write.event(user, "unheard.of", b'"%s"' % PAYLOAD.encode())
    await stage.write.record(user.encode(), b"{%s" % PAYLOAD.encode())
    for client in streams:
        await client.wait_for(lambda client: len(client.data) == 2)

    events = stage.worker.events_url
    for url, headers in (
        (events, bearer(bad)),
        (events, {"Authorization": f"Basic {good}"}),
        (events, {"Cookie": f"token={bad}; =x; other={good}; a b={good}"}),
        (f"{events}?access_token={bad}", {}),
        (f"{events}?categories={PAYLOAD}&access_token={good}", {}),
        (f"{stage.worker.url}/{good}?access_token={good}", {}),
        (
            f"{stage.worker.ops_url}/metrics?access_token={good}",
            {"Authorization": f"Bearer {good}"},
        ),
    ):
        async with http.get(url, headers=headers) as response:
            assert response.status in {400, 401, 404}
    for head in (f"GET /?access_token={good}\xff HTTP/1.1", f"{good} / HTTP/1.1", f"GET / {good}"):
        async with connected(stage.worker.port) as raw:
            await raw.send(f"{head}\r\nAuthorization: Bearer {good}\r\n\r\n".encode("latin-1"))
            await raw.rest()
    async with http.get(f"{events}?access_token={good}", headers={"Host": PAYLOAD}) as response:
        assert response.status == 200
    for client in streams:
        await client.drop()
    await stage.worker.wait_for_entries("stream closed", 4)
    stage.worker.end()
    log = stage.worker.log()
    for token in (good, bad):
        for part in token.split("."):
            assert part not in log
    for secret in (user, session, PAYLOAD, "id-of-nobody", "opened-sesame", "access_token"):
        assert secret not in log
    assert len(stage.worker.entries("stream opened")) == 4
    assert len({line["request_id"] for line in stage.worker.entries("stream closed")}) == 4
    assert len({line["user"] for line in stage.worker.entries("stream closed")}) == 1
    assert len({line["session"] for line in stage.worker.entries("stream closed")}) == 1


async def test_each_stream_leaves_one_line_that_its_client_can_name(set_up: SetUp) -> None:
    stage = await set_up(drain_seconds=0)
    user = new_user()
    client = await stage.open(user, headers={"traceparent": f"00-{TRACE}-{TRACE[:16]}-01"})
    stays = await stage.open(user)
    await stage.write.numbered(user, range(3))
    for each in (client, stays):
        await each.wait_for(3)
    await client.drop()
    await stage.worker.wait_for_entries("stream closed")
    stage.worker.end()
    assert stage.worker.exit_code == 0
    left, drained = stage.worker.entries("stream closed")
    assert left.keys() == LIFE | {"trace_id"}
    assert drained.keys() == LIFE
    for line, each, reason in ((left, client, "client"), (drained, stays, "draining")):
        assert line["request_id"] == dict(each.headers)["x-request-id"]
        assert line["reason"] == reason
        assert line["events"] == 3
        assert line["bytes"] > len(each.raw)
        assert (line["state"], line["lag_seconds"]) == ("live", 0)
        assert re.fullmatch("[0-9a-f]{16}", line["user"])
    assert left["user"] == drained["user"]
    assert left["trace_id"] == TRACE


async def test_refusals_are_logged_once_a_second_with_their_count(
    set_up: SetUp, http: aiohttp.ClientSession
) -> None:
    stage = await set_up()
    for _ in range(40):
        async with http.get(stage.worker.events_url) as response:
            assert response.status == 401

    async def all_told() -> bool:
        told = stage.worker.entries("request refused")
        return sum(1 + int(line.get("not_logged_before", 0)) for line in told) == 40

    await eventually("the log accounts for all of them", all_told)
    told = stage.worker.entries("request refused")
    assert {(line["reason"], line["status"], line["level"]) for line in told} == {
        ("unauthorized", 401, "info")
    }
    times = [datetime.fromisoformat(line["timestamp"]).timestamp() for line in told]
    assert len(told) <= times[-1] - times[0] + 2


async def test_workers_that_share_a_key_call_a_user_the_same(
    topics: MakeTopics, start_worker: StartWorker, open_stream: OpenStream
) -> None:
    made, user = await topics(), new_user()
    key = "a key for the log of the whole fleet"
    names = set()
    for users in ("hash", "hash", "plain"):
        worker = await start_worker(made, drain_seconds=0, log_users=users, log_key=key)
        await open_stream(worker, user)
        worker.end()
        (line,) = worker.entries("stream closed")
        names.add(line["user"])
    assert len(names) == 2
    assert user in names
