"""More than a worker can do: it sheds newcomers, keeps those it has, and recovers without help."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import socket
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import aiohttp

from gateway.http.admission import REPLAY_SECONDS, REPLAYS_FOR_EACH
from tests.eventually import DEADLINE, eventually
from tests.integration.conftest import SetUp, new_user
from tests.masses import Comer, answers, come, leaving
from tests.records import TYPE, numbered
from tests.worker import Worker

STORM = 1000
PLACES = 200
LOYAL = 20

EACH = 200
"""Events of each of the streams that were there before, while the storm is on."""

IDLE_LIMIT = 250
"""Open files of a worker that is to run out of them."""

SILENT = 200
EVENTS = 600
FILLER = b"x" * 1000
"""600 broadcasts of a kilobyte exceed every buffer between the worker and a client."""


NUMBER = re.compile(rb'\ndata: \{"n":(\d+)')


async def test_connection_storm_is_shed_and_open_streams_lose_nothing(set_up: SetUp) -> None:
    stage = await set_up(max_streams=PLACES)
    loyal = {user: await stage.open(user) for user in (new_user() for _ in range(LOYAL))}
    storm = [Comer(new_user()) for _ in range(STORM)]

    async def keep_writing() -> None:
        for number in range(EACH):
            await asyncio.gather(*(stage.write.numbered(user, [number]) for user in loyal))

    with leaving(storm):
        async with asyncio.timeout(2 * DEADLINE):
            await asyncio.gather(keep_writing(), come(stage.worker.port, storm, 0.2))

        await eventually("every client has an answer", lambda: 0 not in answers(storm))
        let_in = PLACES - LOYAL
        assert answers(storm) == {200: let_in, 503: STORM - let_in}
        assert all(b"Retry-After: " in c.received for c in storm if c.status == 503)
        for client in loyal.values():
            await client.wait_for(EACH)
            assert client.numbers == [*range(EACH)]
            assert client.is_open
        await stage.worker.wait_for_metric("gateway_rejects_total", STORM - let_in)
        assert await stage.worker.metric("gateway_ready") == 1

    await stage.worker.wait_for_metric("gateway_streams_open", LOYAL)
    newcomer = await stage.open(next(iter(loyal)))
    await stage.write.event(next(iter(loyal)), TYPE, numbered(EACH))
    await newcomer.wait_for(1)


async def test_more_events_than_a_worker_can_deliver_come_late_and_all(set_up: SetUp) -> None:
    stage = await set_up(1)
    crowd = [Comer(new_user()) for _ in range(PLACES)]
    with leaving(crowd):
        await come(stage.worker.port, crowd, 0.5)
        await stage.worker.wait_for_metric("gateway_streams_open", PLACES)
        write = stage.write
        await asyncio.gather(*(write.broadcast(TYPE, numbered(n)) for n in range(300)))

        await eventually(
            "every client has all events",
            lambda: all(c.received.count(b"\ndata: ") >= 300 for c in crowd),
        )
        await stage.worker.wait_for_metric("gateway_kafka_lag_records", 0)
        orders = {tuple(numbers(c.received)) for c in crowd}
        assert len(orders) == 1
        assert sorted(orders.pop()) == [*range(300)]


async def test_replay_loop_of_one_user_is_limited_and_delays_no_other_user(set_up: SetUp) -> None:
    stage = await set_up(1, tail_bytes=20_000, tail_warm_seconds=0, max_streams_per_user=2)
    alice, mallory = new_user(), new_user()
    client = await stage.open(alice)
    old_id = client.last_event_id
    await stage.write.numbered(alice, range(10))
    await stage.write.noise(2000, 0)
    await stage.write.numbered(alice, range(10, 20))
    await client.wait_for(20)

    statuses: list[int] = []
    begin = time.monotonic()
    for _ in range(30):
        hostile = Comer(mallory, last_id=old_id)
        with leaving([hostile]):
            await come(stage.worker.port, [hostile])
            statuses.append(await eventually("there is an answer", partial(status_of, hostile)))
        await stage.worker.wait_for_metric("gateway_streams_open", 1)
    most = REPLAYS_FOR_EACH * 2 + (time.monotonic() - begin) / REPLAY_SECONDS
    replays = statuses.count(200)
    assert statuses[:4] == [200] * 4
    assert set(statuses) == {200, 429}
    assert replays <= most
    await client.reconnect()
    assert client.last_event_id != old_id
    back = Comer(alice, last_id=old_id)
    with leaving([back]):
        await come(stage.worker.port, [back])
        await eventually(
            "the other user has everything", lambda: back.received.count(b"\ndata: ") == 20
        )
        assert numbers(back.received) == [*range(20)]
    read = await stage.worker.metric("gateway_replay_records_scanned_total")
    assert read <= (replays + 2) * 2020
    await stage.worker.wait_for_metric("gateway_replays_waiting", 0)


def status_of(comer: Comer) -> int:
    return comer.status


def numbers(received: bytes | bytearray) -> list[int]:
    """Return the numbers of events; chunks' sizes stand between blocks, never inside one."""
    return [int(number) for number in NUMBER.findall(received)]


def kernel_kb() -> int:
    """Return the kernel's TCP memory for all sockets of this network namespace, in KiB."""
    (line,) = (x for x in Path("/proc/net/sockstat").read_text().splitlines() if "TCP:" in x)
    return int(line.split(" mem ")[1]) * 4


def resident_kb(worker: Worker) -> int:
    return int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1]) * 4


async def test_clients_that_never_read_use_little_memory_delay_no_others_and_lose_nothing(
    set_up: SetUp,
) -> None:
    stage = await set_up(1, slow_seconds=4, tail_bytes=64 << 20)
    quick = await stage.open(new_user())
    silent = [Comer(new_user(), silent=True) for _ in range(SILENT)]
    with leaving(silent):
        await come(stage.worker.port, silent, 1.0)
        await stage.worker.wait_for_metric("gateway_streams_open", SILENT + 1)
        before = resident_kb(stage.worker), kernel_kb()

        most = 0, 0
        for number in range(EVENTS):
            await stage.write.broadcast(TYPE, b'{"n":%d,"x":"%b"}' % (number, FILLER))
            if number % 20 == 0:
                most = max(most[0], resident_kb(stage.worker)), max(most[1], kernel_kb())
        await quick.wait_for(EVENTS)
        assert [json.loads(text)["n"] for text in quick.data] == [*range(EVENTS)]
        most = max(most[0], resident_kb(stage.worker)), max(most[1], kernel_kb())

        await stage.worker.wait_for_metric("gateway_closes_total", SILENT, reason="slow")
        await stage.worker.wait_for_metric("gateway_streams_open", 1)
        assert quick.is_open
        each = [(after - begin) / SILENT for after, begin in zip(most, before, strict=True)]
        print(f"KB for each client that does not read: worker {each[0]:.0f}, kernel {each[1]:.0f}")
        assert each[0] < 300
        assert each[1] < 400

        await return_and_read(stage.worker, silent[:20])


async def return_and_read(worker: Worker, silent: Sequence[Comer]) -> None:
    """Let clients read the events so far, resume with the last id, and read the rest."""
    for comer in silent:
        comer.read()

    await eventually("their streams have ended", lambda: all(comer.ended for comer in silent))
    back = [Comer(comer.user, last_id=comer.last_id) for comer in silent]
    with leaving(back):
        await come(worker.port, back)
        for first, second in zip(silent, back, strict=True):
            kept = first.received[: first.received.rfind(b"\n\n") + 2]
            have = numbers(kept)

            async def complete(second: Comer = second, have: list[int] = have) -> bool:
                return len(have) + second.received.count(b"\ndata: ") >= EVENTS

            await eventually("the rest has come", complete)
            assert [*have, *numbers(second.received)] == [*range(EVENTS)]
            assert b"stream.gap" not in second.received


async def test_connections_that_say_nothing_take_no_files_from_the_worker(
    set_up: SetUp, user: str, http: aiohttp.ClientSession
) -> None:
    """Streams, probes and Kafka keep working; new clients wait until idle ones are closed."""
    stage = await set_up()
    client = await stage.open(user)
    await stage.write.numbered(user, [0])
    await client.wait_for(1)
    _, hard = resource.prlimit(stage.worker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(stage.worker.pid, resource.RLIMIT_NOFILE, (IDLE_LIMIT, hard))
    size = stage.worker.log_size()
    idle = []
    try:
        for _ in range(IDLE_LIMIT + 60):
            sock = socket.create_connection(("127.0.0.1", stage.worker.port))
            idle.append(sock)
            sock.send(b"G")

        await stage.worker.wait_for_log("accept paused", offset=size)
        for number in range(1, 6):
            async with http.get(f"{stage.worker.ops_url}/healthz") as response:
                assert response.status == 200
            await stage.write.numbered(user, [number])
            await client.wait_for(number + 1)
            await asyncio.sleep(0.5)
        assert stage.worker.log(size).count("accept paused") == 1
        assert stage.worker.log(size).count("\n") < 10
    finally:
        for sock in idle:
            sock.close()
    await stage.open(new_user())
    assert client.numbers == list(range(6))
