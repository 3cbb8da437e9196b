import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import pytest

from gateway.core.records import Record, Unreadable, make_record
from gateway.core.source import ValueFormat
from gateway.core.values import read_value
from gateway.schemas import cache
from gateway.schemas.avro import AvroSchema
from gateway.schemas.cache import MAX_REQUESTS, Schemas
from gateway.schemas.errors import InvalidSchema, RegistryUnavailable, UnknownSchema
from gateway.schemas.framing import SchemaId
from gateway.schemas.registry import RegisteredSchema
from gateway.supervise import Supervisor

FORMATS = {
    "avro": ValueFormat.AVRO,
    "protobuf": ValueFormat.PROTOBUF,
    "json": ValueFormat.JSON_SCHEMA,
}
"""The formats of topics; topics are named by their format."""

AVRO = RegisteredSchema("AVRO", '"int"', {})
PROTOBUF = RegisteredSchema("PROTOBUF", 'syntax = "proto3"; message A { int32 n = 1; }', {})


class Failures:
    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def failed(self, part: object, error: BaseException) -> None:
        self.errors.append(error)


class Registry:
    """Answers by id: a schema, an error, or nothing while `silent`; counts the requests."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[int, Any] = {int(name[1:]): each for name, each in answers.items()}
        self.requests: list[int] = []
        self.open = self.most_open = 0
        self.url = ""
        self.away = False
        self.silent = False
        self.repeated = asyncio.Event()

    async def probe(self) -> None:
        if self.away:
            raise RegistryUnavailable("it answers 503")

    async def fetch(self, schema: SchemaId) -> RegisteredSchema:
        assert isinstance(schema, int)
        if schema in self.requests:
            self.repeated.set()
        self.requests.append(schema)
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            if self.silent:
                await asyncio.Event().wait()
            await asyncio.sleep(0)
            if self.away:
                raise RegistryUnavailable("it answers 503")
            answer = self.answers.get(schema, UnknownSchema("the registry does not have it"))
        finally:
            self.open -= 1
        if isinstance(answer, Exception):
            raise answer
        return cast("RegisteredSchema", answer)


Make = Callable[..., Awaitable[tuple[Schemas, Registry, Failures]]]


@pytest.fixture
async def make() -> Any:
    made: list[Schemas] = []

    async def new(wait: float = 0.2, **answers: Any) -> tuple[Schemas, Registry, Failures]:
        registry, failures = Registry(**answers), Failures()
        schemas = Schemas(FORMATS, registry, wait, Supervisor(failures).contain)
        made.append(schemas)
        return schemas, registry, failures

    yield new
    for schemas in made:
        await schemas.close()


def record(schema: int, payload: bytes = b"\x02", offset: int = 0) -> Record:
    return make_record(offset, 1, b"u", b"\0" + schema.to_bytes(4, "big") + payload)


def reason(found: bytes | Unreadable) -> str:
    assert isinstance(found, Unreadable)
    return str(found.reason)


async def test_schema_is_fetched_once_for_all_its_records(make: Make) -> None:
    schemas, registry, _ = await make(_1=AVRO)
    records = [record(1, offset=offset) for offset in range(5)]
    assert schemas.missing("avro", records) == {1: 0}
    await asyncio.gather(*(schemas.settle([1]) for _ in range(10)))
    assert [schemas.read("avro", each) for each in records] == [b"1"] * 5
    assert schemas.missing("avro", records) == {}
    assert registry.requests == [1]


async def test_value_of_a_topic_without_a_format_is_left_as_it_is(make: Make) -> None:
    schemas, registry, _ = await make()
    plain = record(1)
    assert schemas.missing("plain", [plain]) == {}
    assert schemas.read("plain", plain) is plain.value
    assert registry.requests == []


async def test_few_schemas_are_fetched_at_the_same_time(make: Make) -> None:
    schemas, registry, _ = await make()
    await schemas.settle(range(50))
    assert registry.most_open == MAX_REQUESTS
    assert len(registry.requests) == 50


async def test_json_schema_needs_no_registry_and_keeps_the_bytes(make: Make) -> None:
    schemas, registry, _ = await make()
    text = b'{"a" : 1.50}'
    assert schemas.missing("json", [record(9, text)]) == {}
    assert schemas.read("json", record(9, text)) == text
    assert registry.requests == []


async def test_protobuf_is_read_with_its_path(make: Make) -> None:
    schemas, *_ = await make(_1=PROTOBUF)
    await schemas.settle([1])
    assert schemas.read("protobuf", record(1, b"\0\x08\x05")) == b'{"n":5}'
    assert reason(schemas.read("protobuf", record(1, b"\x02\x06"))) == "schema_mismatch"


async def test_each_fault_has_its_reason(make: Make) -> None:
    schemas, *_ = await make(
        _1=AVRO,
        _2=InvalidSchema("it refers to itself"),
        _3=RegisteredSchema("AVRO", "{", {}),
        _4=RegisteredSchema("JSON", "{}", {}),
        _5=RegisteredSchema("AVRO", '{"type":"array","items":"null"}', {}),
        _6=RegisteredSchema(
            "AVRO", '{"type":"record","name":"R","fields":[{"name":"r","type":["R"]}]}', {}
        ),
        _7=PROTOBUF,
    )
    await schemas.settle(range(9))
    read = partial(schemas.read, "avro")
    assert reason(read(make_record(0, 1, b"u", b"{}"))) == "not_framed"
    assert reason(read(record(1, b""))) == "schema_mismatch"
    assert reason(read(record(2))) == "schema_invalid"
    assert reason(read(record(3))) == "schema_invalid"
    assert reason(read(record(4))) == "schema_invalid"
    assert reason(read(record(5, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"))) == "too_large"
    assert reason(read(record(6, bytes(5000)))) == "too_deep"
    assert reason(read(record(7))) == "schema_invalid"  # of another format
    assert reason(read(record(8))) == "schema_unknown"
    assert reason(schemas.read("protobuf", record(1, b"\0"))) == "schema_invalid"


async def test_unknown_schema_is_asked_for_again_after_a_time(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    schemas, registry, _ = await make()
    await schemas.settle([2])
    assert schemas.missing("avro", [record(2)]) == {}
    monkeypatch.setattr(cache, "UNKNOWN_SECONDS", 0.0)
    await schemas.settle([1])
    registry.answers[1] = AVRO
    assert schemas.missing("avro", [record(1)]) == {1: 0}
    await schemas.settle([1])
    assert schemas.read("avro", record(1)) == b"1"


@pytest.mark.parametrize("silent", [False, True])
async def test_records_wait_once_while_the_registry_is_away(make: Make, silent: bool) -> None:
    schemas, registry, _ = await make(_1=AVRO, _2=AVRO)
    await schemas.settle([1])
    registry.silent, registry.away = silent, not silent
    await schemas.settle([2])
    assert schemas.problem
    assert reason(schemas.read("avro", record(2))) == "schema_unavailable"
    assert schemas.missing("avro", [record(2)]) == {}
    assert schemas.read("avro", record(1)) == b"1"
    before = len(registry.requests)
    registry.silent, registry.away = False, True
    assert schemas.missing("avro", [record(3)]) == {}  # asked once, and no record waits
    await schemas.settle([3])
    assert len(registry.requests) == before + 1
    registry.away = False
    await schemas.settle([2])
    assert schemas.problem == ""
    assert schemas.read("avro", record(2)) == b"1"
    await schemas.settle([3])  # requested again, and the registry does not have it
    assert reason(schemas.read("avro", record(3))) == "schema_unknown"


async def test_registry_that_answers_in_time_delays_and_does_not_fail(make: Make) -> None:
    schemas, registry, _ = await make(wait=20, _1=AVRO)
    registry.away = True
    waiting = asyncio.create_task(schemas.settle([1]))
    await registry.repeated.wait()
    registry.away = False
    await waiting
    assert schemas.read("avro", record(1)) == b"1"
    assert schemas.problem == ""


async def test_settle_returns_after_its_patience_and_the_request_goes_on(make: Make) -> None:
    schemas, registry, _ = await make(wait=20, _1=AVRO)
    registry.silent = True
    await schemas.settle([1], patience=0.01)
    assert registry.open == 1
    assert reason(schemas.read("avro", record(1))) == "schema_unavailable"
    assert registry.requests == [1]


async def test_unexpected_exception_costs_that_schema_only(make: Make) -> None:
    schemas, _, failures = await make(_1=ZeroDivisionError(), _2=AVRO)
    await schemas.settle([1, 2])
    assert [type(error) for error in failures.errors] == [ZeroDivisionError]
    assert reason(schemas.read("avro", record(1))) == "internal_error"
    assert schemas.read("avro", record(2)) == b"1"


async def test_cache_is_bounded_and_keeps_what_is_used(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MAX_SCHEMAS", 3)
    schemas, *_ = await make(_0=AVRO, _1=AVRO, _2=AVRO, _3=AVRO)
    for schema in range(3):
        await schemas.settle([schema])
    assert schemas.read("avro", record(0)) == b"1"
    await schemas.settle([3])
    needed = schemas.missing("avro", [record(schema) for schema in range(4)])
    assert list(needed) == [1]


@pytest.fixture
async def watched(make: Make, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Yield schemas of a registry that is away, and the reports about it."""
    monkeypatch.setattr(cache, "AWAY_SECONDS", 0.01)
    schemas, registry, _ = await make(wait=0.05, _7=AVRO)
    registry.away = True
    reports: asyncio.Queue[str] = asyncio.Queue()
    task = asyncio.create_task(schemas.watch(reports.put_nowait))
    yield schemas, registry, reports
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def next_report(reports: asyncio.Queue[str], expected: str) -> None:
    async with asyncio.timeout(10):
        while await reports.get() != expected:
            pass


async def test_registry_away_at_the_start_is_reported_until_it_answers(watched: Any) -> None:
    schemas, registry, reports = watched
    async with asyncio.timeout(10):
        assert await reports.get() == "it answers 503"
    assert schemas.problem == "", "records still wait for a schema"
    registry.away = False
    await next_report(reports, "")


async def test_outage_is_reported_and_ends_without_another_record(watched: Any) -> None:
    schemas, registry, reports = watched
    registry.away = False
    await next_report(reports, "")
    registry.away = True
    await schemas.settle([7])
    await next_report(reports, "it answers 503")
    registry.away = False
    await next_report(reports, "")
    assert schemas.problem == ""
    assert schemas.read("avro", record(7)) == b"1"


async def test_outage_whose_schemas_were_dropped_ends(
    watched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    schemas, registry, reports = watched
    await next_report(reports, "it answers 503")
    monkeypatch.setattr(cache, "MAX_SCHEMAS", 0)
    await schemas.settle([7])
    assert schemas.problem
    registry.away = False
    await next_report(reports, "")
    assert schemas.problem == ""


async def test_large_values_are_read_in_a_thread_and_once(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    schemas, _, failures = await make(_1=RegisteredSchema("AVRO", '"bytes"', {}))
    await schemas.settle([1])
    threads = []

    def read(_: AvroSchema, payload: bytes, most: int) -> bytes:
        threads.append(threading.current_thread())
        if payload == b"defect" * 10_000:
            raise ZeroDivisionError
        return payload[:most][:3]

    monkeypatch.setattr(AvroSchema, "json", read)
    small, large, defect, unknown = (
        record(1, b"small"),
        record(1, b"large" * 10_000),
        record(1, b"defect" * 10_000),
        record(2, b"large" * 10_000),
    )
    value, size = large.value, large.size
    assert await schemas.read_ahead("avro", [small, large, defect, unknown])
    assert not await schemas.read_ahead("avro", [small, large, unknown])
    assert not await schemas.read_ahead("json", [record(1, b"large" * 10_000)])

    assert len(threads) == 2
    assert threading.main_thread() not in threads
    read_large = read_value(schemas, "avro", large)
    assert isinstance(read_large, Record)
    assert (large.value, large.size, read_large.value) == (value, size + 3, b"lar")
    assert [type(error) for error in failures.errors] == [ZeroDivisionError]
    assert all(type(each.value) is bytes for each in (small, defect, unknown))


async def test_a_large_value_that_cannot_be_read_keeps_its_reason(make: Make) -> None:
    schemas, *_ = await make(_1=AVRO)
    await schemas.settle([1])
    large = record(1, b"\xff" * 50_000)
    assert await schemas.read_ahead("avro", [large])
    assert reason(cast("Unreadable", read_value(schemas, "avro", large))) == "schema_mismatch"
