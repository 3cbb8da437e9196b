from __future__ import annotations

import asyncio
import io

from msgspec import to_builtins
from rich.console import Console

from gateway.commands.fleet import doubt_lines, fleet_table
from gateway.commands.streams import streams_table
from gateway.fleet.status import DeliveryTimes, StatedDoubt, Status, WorkerState
from tests.child import free_port
from tests.commands.command import gateway

STREAM = {
    "stream": "web-1-7",
    "state": "stuck",
    "since": "2026-01-02T03:04:05.000Z",
    "address": "10.0.0.1",
    "events": 1234,
    "bytes": None,
    "waiting_bytes": 65536,
    "lag": None,
    "stuck_seconds": 12.4,
    "cursor": [
        {"topic": "user-events", "partition": 3, "offset": 70, "time": None},
        {"topic": "broadcast", "partition": 0, "offset": None, "time": "2026-01-02T03:00:00.000Z"},
    ],
}


def rows(table: object) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=300).print(table)
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


def test_each_worker_has_a_row_and_the_living_a_sum() -> None:
    workers = [
        Status(
            worker="web-1",
            number=1,
            state=WorkerState.READY,
            streams=1500,
            events_per_second=10.5,
            resident_bytes=80_000_000,
            cpu_share=0.25,
            gaps={"limit": 2, "reset": 1},
            delivery=DeliveryTimes(p99=0.0304),
        ),
        Status(
            worker="web-2",
            number=1,
            state=WorkerState.NOT_READY,
            streams=500,
            doubts=(StatedDoubt("kafka", "it is away\x1b[2J"),),
        ),
        Status(worker="web-3", number=1, state=WorkerState.GONE, streams=9999),
    ]
    shown = rows(fleet_table([{**to_builtins(each), "age_seconds": 31.0} for each in workers]))
    assert shown[1] == "web-1 ready 1,500 10.5 30 ms 0 0 3 80 MB 25%"
    assert shown[2] == r"web-2 not_ready 500 0.0 - 0 0 0 0 MB 0% kafka"
    assert shown[3].startswith("web-3 gone 9,999")
    assert shown[3].endswith("last status 31 s ago")
    assert shown[-1] == "all 2 workers 2,000 10.5 0 0 3 80 MB 25%"


def test_reasons_stand_below_the_table_so_that_no_command_is_wrapped() -> None:
    command = f"missing; create it with: kafka-topics.sh {'--config a=b ' * 40}\x1b[2J"
    one = Status(
        worker="web-2",
        number=1,
        state=WorkerState.NOT_READY,
        doubts=(StatedDoubt("topics", command),),
    )
    assert doubt_lines([to_builtins(one)]) == [f"web-2: {command[:-4]}\\x1b[2J"]


def test_one_worker_needs_no_sum() -> None:
    one = to_builtins(Status(worker="web-1", number=1, state=WorkerState.READY))
    assert not any("all" in row for row in rows(fleet_table([{**one, "age_seconds": 0.0}])))


def test_a_stream_is_shown_with_where_it_is() -> None:
    [_, row] = rows(streams_table([STREAM]))
    assert row == (
        "web-1-7 stuck for 12 s 2026-01-02 03:04:05 10.0.0.1"
        " user-events-3@70 broadcast-0@2026-01-02T03:00:00.000Z ? 1,234 ? 65,536"
    )


async def test_a_url_without_an_operations_listener_is_explained() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    url = f"http://127.0.0.1:{free_port()}"
    closed = await gateway("fleet", "--url", url)
    assert closed.code == 1
    assert closed.err == (
        f"error: no operations listener answers at {url}: cannot connect to"
        f" {url.removeprefix('http://')}: Connection refused;"
        " give its URL with --url\n"
    )
    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        foreign = await gateway("fleet", "--url", url)
    assert foreign.code == 1
    assert "is not the operations listener of a worker: it answers 404" in foreign.err
