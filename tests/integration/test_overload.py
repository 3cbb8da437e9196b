"""More than a worker can do: it sheds newcomers, keeps those it has, and recovers without help."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import socket
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.http.admission import REPLAY_SECONDS, REPLAYS_FOR_EACH
from tests.eventually import DEADLINE, eventually
from tests.integration.conftest import new_user
from tests.masses import Comer, answers, come, leaving
from tests.records import TYPE, RecordWriter, numbered

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiohttp
    from aiokafka import AIOKafkaProducer

    from tests.conftest import MakeTopics, StartWorker
    from tests.integration.conftest import OpenStream
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


async def test_connection_storm_is_shed_and_open_streams_lose_nothing(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
) -> None:
    served = await topics()
    worker = await start_worker(served, max_streams=PLACES)
    write = RecordWriter(producer, served)
    loyal = {user: await open_stream(worker, user) for user in (new_user() for _ in range(LOYAL))}
    storm = [Comer(new_user()) for _ in range(STORM)]

    async def keep_writing() -> None:
        for number in range(EACH):
            await asyncio.gather(*(write.numbered(user, [number]) for user in loyal))

    with leaving(storm):
        async with asyncio.timeout(2 * DEADLINE):
            await asyncio.gather(keep_writing(), come(worker.port, storm, 0.2))

        await eventually("everybody has an answer", lambda: 0 not in answers(storm))
        let_in = PLACES - LOYAL
        assert answers(storm) == {200: let_in, 503: STORM - let_in}
        assert all(b"Retry-After: " in c.received for c in storm if c.status == 503)
        for client in loyal.values():
            await client.wait_for(EACH)
            assert client.numbers == [*range(EACH)]
            assert client.is_open
        await worker.wait_for_metric("gateway_rejects_total", STORM - let_in)
        assert await worker.metric("gateway_ready") == 1

    await worker.wait_for_metric("gateway_streams_open", LOYAL)
    newcomer = await open_stream(worker, next(iter(loyal)))
    await write.event(next(iter(loyal)), TYPE, numbered(EACH))
    await newcomer.wait_for(1)


async def test_more_events_than_a_worker_can_deliver_come_late_and_all(
    topics: MakeTopics,
    start_worker: StartWorker,
    producer: AIOKafkaProducer,
) -> None:
    served = await topics(1)
    worker = await start_worker(served)
    crowd = [Comer(new_user()) for _ in range(PLACES)]
    with leaving(crowd):
        await come(worker.port, crowd, 0.5)
        await worker.wait_for_metric("gateway_streams_open", PLACES)
        write = RecordWriter(producer, served)
        await asyncio.gather(*(write.broadcast(TYPE, numbered(n)) for n in range(300)))

        await eventually(
            "everybody has everything",
            lambda: all(c.received.count(b"\ndata: ") >= 300 for c in crowd),
        )
        await worker.wait_for_metric("gateway_kafka_lag_records", 0)
        orders = {tuple(numbers(c.received)) for c in crowd}
        assert len(orders) == 1
        assert sorted(orders.pop()) == [*range(300)]


async def test_replay_loop_of_one_user_is_limited_and_delays_no_other_user(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
) -> None:
    served = await topics(1)
    worker = await start_worker(
        served, tail_bytes=20_000, tail_warm_seconds=0, max_streams_per_user=2
    )
    write = RecordWriter(producer, served)
    alice, mallory = new_user(), new_user()
    client = await open_stream(worker, alice)
    old_id = client.last_event_id
    await write.numbered(alice, range(10))
    await write.noise(2000, 0)
    await write.numbered(alice, range(10, 20))
    await client.wait_for(20)

    statuses: list[int] = []
    begin = time.monotonic()
    for _ in range(30):
        hostile = Comer(mallory, last_id=old_id)
        with leaving([hostile]):
            await come(worker.port, [hostile])
            statuses.append(await eventually("there is an answer", partial(status_of, hostile)))
        await worker.wait_for_metric("gateway_streams_open", 1)
    most = REPLAYS_FOR_EACH * 2 + (time.monotonic() - begin) / REPLAY_SECONDS
    replays = statuses.count(200)
    assert statuses[:4] == [200] * 4
    assert set(statuses) == {200, 429}
    assert replays <= most
    await client.reconnect()
    assert client.last_event_id != old_id
    back = Comer(alice, last_id=old_id)
    with leaving([back]):
        await come(worker.port, [back])
        await eventually(
            "the other user has everything", lambda: back.received.count(b"\ndata: ") == 20
        )
        assert numbers(back.received) == [*range(20)]
    read = await worker.metric("gateway_replay_records_scanned_total")
    assert read <= (replays + 2) * 2020
    await worker.wait_for_metric("gateway_replays_waiting", 0)


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
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
) -> None:
    served = await topics(1)
    worker = await start_worker(served, slow_seconds=4, tail_bytes=64 << 20)
    write = RecordWriter(producer, served)
    quick = await open_stream(worker, new_user())
    silent = [Comer(new_user(), silent=True) for _ in range(SILENT)]
    with leaving(silent):
        await come(worker.port, silent, 1.0)
        await worker.wait_for_metric("gateway_streams_open", SILENT + 1)
        before = resident_kb(worker), kernel_kb()

        most = 0, 0
        for number in range(EVENTS):
            await write.broadcast(TYPE, b'{"n":%d,"x":"%b"}' % (number, FILLER))
            if number % 20 == 0:
                most = max(most[0], resident_kb(worker)), max(most[1], kernel_kb())
        await quick.wait_for(EVENTS)
        assert [json.loads(text)["n"] for text in quick.data] == [*range(EVENTS)]
        most = max(most[0], resident_kb(worker)), max(most[1], kernel_kb())

        await worker.wait_for_metric("gateway_closes_total", SILENT, reason="slow")
        await worker.wait_for_metric("gateway_streams_open", 1)
        assert quick.is_open
        each = [(after - begin) / SILENT for after, begin in zip(most, before, strict=True)]
        print(f"KB for each client that does not read: worker {each[0]:.0f}, kernel {each[1]:.0f}")
        assert each[0] < 300
        assert each[1] < 400

        await return_and_read(worker, silent[:20])


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
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
    user: str,
    http: aiohttp.ClientSession,
) -> None:
    """Streams, probes and Kafka keep working; new clients wait until idle ones are closed."""
    served = await topics()
    worker = await start_worker(served)
    write = RecordWriter(producer, served)
    client = await open_stream(worker, user)
    await write.numbered(user, [0])
    await client.wait_for(1)
    _, hard = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (IDLE_LIMIT, hard))
    size = worker.log_size()
    idle = []
    try:
        for _ in range(IDLE_LIMIT + 60):
            sock = socket.create_connection(("127.0.0.1", worker.port))
            idle.append(sock)
            sock.send(b"G")

        await worker.wait_for_log("accept paused", offset=size)
        for number in range(1, 6):
            async with http.get(f"{worker.ops_url}/healthz") as response:
                assert response.status == 200
            await write.numbered(user, [number])
            await client.wait_for(number + 1)
            await asyncio.sleep(0.5)
        assert worker.log(size).count("accept paused") == 1
        assert worker.log(size).count("\n") < 10
    finally:
        for sock in idle:
            sock.close()
    await open_stream(worker, new_user())
    assert client.numbers == list(range(6))
