"""Schemas by id: fetched once, compiled once, and used without waiting.

    state of an id  | entered when                           | left when
    ----------------+----------------------------------------+-----------------------------------
    not known       | at first, or the cache is full         | `request`
    requested       | `request`                              | the registry answers, or `wait` s
                    |                                        | have passed
    compiled        | the registry has the schema            | the cache is full
    unknown         | the registry answers 404               | after `UNKNOWN_SECONDS`
    invalid         | the schema cannot be compiled          | after `INVALID_SECONDS`
    unavailable     | no answer within `wait` s              | after `AWAY_SECONDS`, or the
                    |                                        | registry answers again

The registry is *away* from the first request without an answer until one is answered. While it is
away an id is requested at once and only once, so records wait once in an outage, not for each id.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import structlog

from gateway import clock
from gateway.core.records import Unreadable, UnreadableReason
from gateway.core.source import ValueFormat
from gateway.core.values import ReadAhead
from gateway.schemas.errors import (
    InvalidSchema,
    RegistryUnavailable,
    UnknownSchema,
)
from gateway.schemas.framing import schema_of
from gateway.schemas.reading import compiled, frame_of, is_large, to_json
from gateway.supervise import Part

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from gateway.core.records import Record
    from gateway.schemas.avro import AvroSchema
    from gateway.schemas.framing import SchemaId
    from gateway.schemas.protobuf import ProtobufSchema
    from gateway.schemas.registry import RegisteredSchema
    from gateway.supervise import Containment

MAX_SCHEMAS = 1000
"""Compiled schemas and failures in the cache: more than a registry of a large company uses."""

MAX_REQUESTS = 8
"""Schemas that are fetched or compiled at the same time."""

UNKNOWN_SECONDS = 30.0
INVALID_SECONDS = 300.0
AWAY_SECONDS = 2.0

FIRST_PAUSE_SECONDS = 0.1
"""Pause after the first request without an answer; it doubles with each further one."""

T = TypeVar("T")

_log = structlog.stdlib.get_logger(__name__)


class _Failure(NamedTuple):
    """Why a schema cannot be used, and until when (monotonic seconds) that is not asked again."""

    fault: Unreadable
    until: float


class Registry(Protocol):
    """The part of `RegistryClient` that the cache uses."""

    url: str
    """Where it is, for messages; empty without one."""

    async def fetch(self, schema: SchemaId) -> RegisteredSchema:
        """Return a schema. Raises `SchemaError`."""

    async def probe(self) -> None:
        """Send one request. Raises `RegistryUnavailable` unless it is answered."""


class Schemas:
    """The schemas of a worker. `read` and `missing` return at once; `settle` waits.

    `formats` are those of the topics that have one. `registry` has the schemas; `wait` is how long
    records wait for one, in seconds.
    """

    def __init__(
        self,
        formats: Mapping[str, ValueFormat],
        registry: Registry,
        wait: float,
        contain: Callable[[Part], Containment],
    ) -> None:
        self._formats = formats
        self._registry = registry
        self._wait = wait
        self._contain = contain
        self._known: OrderedDict[SchemaId, AvroSchema | ProtobufSchema | _Failure] = OrderedDict()
        self._requests: dict[SchemaId, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(MAX_REQUESTS)
        self._outage = asyncio.Event()
        self.problem = ""
        """Why the registry is away; empty while it answers."""

    @property
    def url(self) -> str:
        """The URL of the registry; empty without one."""
        return self._registry.url

    async def probe(self) -> None:
        """Send a request to the registry. Raises `RegistryUnavailable` unless it is answered."""
        await self._registry.probe()

    async def watch(self, report: Callable[[str], None]) -> None:
        """Call `report` with the cause while the registry is away, and with "" when it answers.

        Sends a request at the start, and in an outage one every `AWAY_SECONDS`.
        """
        while True:
            problem = self.problem or await self._probed()
            report(problem)
            if not problem:
                self._outage.clear()
                await self._outage.wait()
                continue
            await asyncio.sleep(AWAY_SECONDS)
            if self.problem:
                await self._ask_again()

    def read(self, topic: str, record: Record) -> bytes | Unreadable:
        """Return a record's value as JSON, or why it cannot be read; does not wait.

        The value of a topic without a format is returned as it is. A schema that is not in the
        cache is requested for later records.
        """
        found = self._begin(topic, record)
        return found() if callable(found) else found

    async def read_ahead(self, topic: str, records: Iterable[Record]) -> bool:
        """Read values that take long in a thread, so that `read_value` has the result at once.

        Returns whether a value was read. A value of 1 MB takes up to 0.2 s.
        """
        waited = False
        for record in records:
            if not is_large(record) or not callable(found := self._begin(topic, record)):
                continue
            waited = True
            with self._contain(Part.SCHEMAS):  # a defect costs the record when it is needed
                result = await asyncio.to_thread(found)
                record.value = ReadAhead(record.value or b"", result)
                record.size += len(result) if isinstance(result, bytes) else 0
        return waited

    def missing(self, topic: str, records: Iterable[Record]) -> dict[SchemaId, int]:
        """Return the schemas for which these records have to wait.

        With each schema the offset of the first record that needs it. A schema whose request has
        failed is known, and while the registry is away, schemas are requested but not waited for.
        """
        found: dict[SchemaId, int] = {}
        form = self._formats.get(topic)
        if form is None or form is ValueFormat.JSON_SCHEMA:
            return found
        for record in records:
            if record.value and record.event is None:
                schema = schema_of(record.value, record.headers)
                if schema is not None and schema not in found and self._find(schema) is None:
                    if self.problem:
                        self.request(schema)
                    else:
                        found[schema] = record.offset
        return found

    async def settle(self, schemas: Iterable[SchemaId], patience: float | None = None) -> None:
        """Request schemas, and wait until each is known or has failed: `wait` s at most.

        With `patience`, returns after that many seconds at the latest.
        """
        requests = [self.request(schema) for schema in schemas]
        if requests:
            await asyncio.wait(requests, timeout=patience)

    def request(self, schema: SchemaId) -> asyncio.Task[None]:
        """Request a schema from the registry, unless it is requested already."""
        request = self._requests.get(schema)
        if request is None:
            request = asyncio.create_task(self._load(schema), name="schema")
            self._requests[schema] = request
            request.add_done_callback(lambda _: self._requests.pop(schema, None))
        return request

    async def close(self) -> None:
        """Cancel all requests."""
        requests = list(self._requests.values())
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)

    def _find(self, schema: SchemaId) -> AvroSchema | ProtobufSchema | _Failure | None:
        known = self._known.get(schema)
        if isinstance(known, _Failure) and known.until <= clock.now().monotonic:
            return None
        return known

    def _begin(
        self, topic: str, record: Record
    ) -> bytes | Unreadable | Callable[[], bytes | Unreadable]:
        """Return a record's value, or a function that reads it in any thread."""
        form = self._formats.get(topic)
        if form is None:
            return record.value or b""
        framed = frame_of(form, record)
        if isinstance(framed, Unreadable):
            return framed
        if form is ValueFormat.JSON_SCHEMA:
            return framed.payload
        known = self._find(framed.schema)
        if known is None:
            self.request(framed.schema)
            detail = f"schema {framed.schema}: {self.problem or 'it has not been fetched yet'}"
            return Unreadable(UnreadableReason.SCHEMA_UNAVAILABLE, detail)
        if isinstance(known, _Failure):
            return known.fault
        self._known.move_to_end(framed.schema)
        return partial(to_json, known, form, framed)

    async def _load(self, schema: SchemaId) -> None:
        """Fetch and compile a schema; the result, or why it failed, is known then."""
        result: AvroSchema | ProtobufSchema | _Failure = self._failed(
            schema, UnreadableReason.INTERNAL_ERROR, "see the log", AWAY_SECONDS
        )
        with self._contain(Part.SCHEMAS):
            try:
                async with self._slots:
                    result = await compiled(await self._fetched(schema))
            except UnknownSchema as error:
                result = self._unusable(schema, UnreadableReason.SCHEMA_UNKNOWN, str(error))
            except InvalidSchema as error:
                result = self._unusable(schema, UnreadableReason.SCHEMA_INVALID, str(error))
            except RegistryUnavailable as error:
                self._away(str(error))
                reason = UnreadableReason.SCHEMA_UNAVAILABLE
                result = self._failed(schema, reason, str(error), AWAY_SECONDS)
        self._known[schema] = result
        self._known.move_to_end(schema)
        while len(self._known) > MAX_SCHEMAS:
            self._known.popitem(last=False)

    async def _probed(self) -> str:
        """Return why the registry does not answer; empty if it does."""
        try:
            await self._patiently(self._registry.probe)
        except RegistryUnavailable as error:
            return str(error)
        return ""

    async def _ask_again(self) -> None:
        """Find out whether an outage has ended, by a schema that was requested in it."""
        failed = self._unavailable()
        if failed:
            await self.settle(failed[:1])
        elif not await self._probed():
            self._back()

    async def _fetched(self, schema: SchemaId) -> RegisteredSchema:
        try:
            found = await self._patiently(lambda: self._registry.fetch(schema))
        except (UnknownSchema, InvalidSchema):
            self._back()
            raise
        self._back()
        return found

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the registry's answer; retry for `wait` seconds, but not while it is away."""
        pause = FIRST_PAUSE_SECONDS
        problem = f"it does not answer within {self._wait:g} s"
        try:
            async with asyncio.timeout(self._wait):
                while True:
                    try:
                        return await ask()
                    except RegistryUnavailable as error:
                        if self.problem:
                            raise
                        problem = str(error)
                    await asyncio.sleep(pause)
                    pause *= 2
        except TimeoutError:
            raise RegistryUnavailable(problem) from None

    def _unusable(self, schema: SchemaId, reason: UnreadableReason, error: str) -> _Failure:
        _log.warning("schema not usable", schema=str(schema), reason=str(reason), error=error)
        seconds = UNKNOWN_SECONDS if reason is UnreadableReason.SCHEMA_UNKNOWN else INVALID_SECONDS
        return self._failed(schema, reason, error, seconds)

    def _failed(
        self, schema: SchemaId, reason: UnreadableReason, error: str, seconds: float
    ) -> _Failure:
        return _Failure(
            Unreadable(reason, f"schema {schema}: {error}"), clock.now().monotonic + seconds
        )

    def _away(self, problem: str) -> None:
        if not self.problem:
            _log.warning(
                "schema registry away: records with schemas that are not cached are skipped, and"
                " their streams get a gap `schema`",
                error=problem,
            )
        self.problem = problem
        self._outage.set()

    def _back(self) -> None:
        """Note that the registry answers, and request the schemas that it did not answer for."""
        if not self.problem:
            return
        self.problem = ""
        _log.info("schema registry answers again")
        for schema in self._unavailable():
            del self._known[schema]
            self.request(schema)

    def _unavailable(self) -> list[SchemaId]:
        """Return the schemas for which the registry did not answer."""
        return [
            schema
            for schema, known in self._known.items()
            if isinstance(known, _Failure)
            and known.fault.reason is UnreadableReason.SCHEMA_UNAVAILABLE
        ]
