"""Tools of a case: its own clients, tagged events, and the shared quiet streams."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from gateway.conformance.listener import Listener
from gateway.conformance.verdict import Judged, fail, faults
from gateway.errors import ConformanceError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.conformance.options import Limits, Options
    from gateway.conformance.parser import Block
    from gateway.conformance.publisher import Publish

T = TypeVar("T")

SMALL_BUFFER = 16_384
"""Receive buffer of a client that does not read."""

HIDDEN = 3
"""Events that the filter of the quiet stream excludes."""


class Quiet(NamedTuple):
    """Observations on streams without events.

    `seconds` until the first heartbeat, None without one; `sign` describes it, `id` is its id.
    With a filter: the ids before and after the excluded events, and the tag of these events.
    """

    seconds: float | None
    sign: str
    id: str
    filtered_before: str
    filtered_after: str
    hidden: str


class Ground:
    """State shared by all cases: server, publisher, and the quiet streams."""

    def __init__(
        self,
        options: Options,
        publish: Publish,
        noise: Publish | None = None,
        run: str = "run",
    ) -> None:
        self.options = options
        self.publish = publish
        self.noise = noise
        self.run = run
        self._quiet: asyncio.Task[Quiet] | None = None

    async def quiet(self) -> Quiet:
        """Return the observations on quiet streams, made once. Raises `Judged`."""
        if self._quiet is None:
            self._quiet = asyncio.create_task(_observe_quiet_streams(self))
        return await asyncio.shield(self._quiet)

    async def end(self) -> None:
        """Cancel the observation if it still runs."""
        if self._quiet is not None:
            self._quiet.cancel()
            with suppress(asyncio.CancelledError, Judged):
                await self._quiet


class Trial:
    """One run of one case; its clients are closed with it.

    Its events are `{"conformance": TAG, "n": NUMBER}`: the tag separates them from events of other
    cases on the same stream.
    """

    def __init__(self, ground: Ground, name: str) -> None:
        self.ground = ground
        self.options: Options = ground.options
        self.limits: Limits = ground.options.limits
        self.tag = f"{ground.run}-{name}"
        self.written: list[int] = []
        self._listeners: list[Listener] = []
        self._numbers: dict[Listener, list[int | None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for listener in self._listeners:
            listener.drop()

    def listener(self, receive_buffer: int | None = None) -> Listener:
        """Return a new client that is not connected."""
        listener = Listener(self.options, receive_buffer)
        self._listeners.append(listener)
        return listener

    async def live(self, *, query: str = "", receive_buffer: int | None = None) -> Listener:
        """Return a client with an open stream that has read the start of the stream."""
        listener = self.listener(receive_buffer)
        await listener.open(query=query)
        await listener.listen(min(0.2, self.limits.quiet_seconds))
        return listener

    async def anchored(self) -> Listener:
        """Return a client with an id, if necessary that of an event; fail without one."""
        listener = await self.live()
        if not listener.last_event_id:
            anchor = json.dumps({"conformance": f"{self.tag}-anchor"})
            await self.publish(anchor)
            await listener.wait_for(
                lambda: any(event.data == anchor for event in listener.events),
                "the event that carries an id",
            )
        if not listener.last_event_id:
            fail("the server sends no id to resume from")
        return listener

    async def write(self, number: int, *, event_type: str | None = None, padding: int = 0) -> str:
        """Publish the event with this number and return its data."""
        data = self.document(number, padding)
        self.written.append(number)
        await self.publish(data, event_type)
        return data

    def document(self, number: int, padding: int = 0) -> str:
        """Return the data of the event with this number."""
        document: dict[str, object] = {"conformance": self.tag, "n": number}
        if padding:
            document["padding"] = "x" * padding
        return json.dumps(document)

    async def publish(self, data: str, event_type: str | None = None) -> None:
        """Publish data; fail the case if that is impossible."""
        try:
            await self.ground.publish(event_type or self.options.event_type, data)
        except ConformanceError as error:
            fail(f"cannot be published: {error}")

    async def burst(self, count: int | None = None, *, padding: int = 0, pause: float = 0) -> int:
        """Publish events from 0 on, within the limits for number and time; return their number."""
        count = self.limits.burst_events if count is None else count
        loop = asyncio.get_running_loop()
        end = loop.time() + self.limits.burst_seconds
        for number in range(count):
            await self.write(number, padding=padding)
            await asyncio.sleep(pause)
            if loop.time() > end:
                return number + 1
        return count

    def mine(self, listener: Listener) -> list[Block]:
        """Return the events of this case that a client received."""
        numbers = self._read(listener)
        return [
            event
            for event, number in zip(listener.events, numbers, strict=True)
            if number is not None
        ]

    def numbers(self, listener: Listener) -> list[int]:
        """Return the numbers of this case's events in order of arrival."""
        return [number for number in self._read(listener) if number is not None]

    def _read(self, listener: Listener) -> list[int | None]:
        """Return the number of each event of a client, None for other cases'; each is read once."""
        numbers = self._numbers.setdefault(listener, [])
        numbers += [_number(each.data, self.tag) for each in listener.events[len(numbers) :]]
        return numbers

    def gaps(self, listener: Listener) -> list[Block]:
        """Return the gap events that a client received."""
        return [event for event in listener.events if event.type == self.options.gap_type]

    async def wait_for(
        self, listener: Listener, numbers: int, *, seconds: float | None = None
    ) -> None:
        """Read until the client has `numbers` different events of this case."""
        await listener.wait_for(
            lambda: len(set(self.numbers(listener))) >= numbers,
            f"event {numbers} of this case",
            seconds,
        )

    async def expect_live(self, listener: Listener) -> None:
        """Read until the latest event arrives; fail if it is missing or repeated."""
        number = self.written[-1]
        await listener.wait_for(lambda: number in self.numbers(listener), "the next event")
        await listener.listen(min(0.2, self.limits.quiet_seconds))
        if self.numbers(listener).count(number) > 1:
            fail("the next event arrived twice")

    async def expect(self, listener: Listener, numbers: range) -> None:
        """Read until all numbers arrived, and then a moment longer; fail unless each came once.

        A gap event fails the case too, because nothing is missing.
        """
        wanted = set(numbers)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.limits.event_seconds):
                while not listener.ended and not wanted <= set(self.numbers(listener)):
                    await listener.read()
        await listener.listen(self.limits.quiet_seconds)
        wrong = faults(numbers, self.numbers(listener))
        if wrong:
            fail(wrong)
        if gaps := self.gaps(listener):
            fail(f"a gap is reported although nothing is missing: {gaps[0].data}")


async def together(*waits: Coroutine[Any, Any, T]) -> list[T]:
    """Return the results of concurrent waits; the first failure cancels the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(wait) for wait in waits]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _number(data: str | None, tag: str) -> int | None:
    """Return the number of an event with this tag, else None."""
    if data is None or tag not in data:
        return None
    try:
        document = json.loads(data)
    except ValueError:
        return None
    if not isinstance(document, dict) or document.get("conformance") != tag:
        return None
    number = document.get("n")
    return number if isinstance(number, int) else None


async def _observe_quiet_streams(ground: Ground) -> Quiet:
    limits, query = ground.options.limits, ground.options.filter_query
    async with Trial(ground, "hidden") as trial:
        filtered = None
        before = ""
        if query is not None and ground.options.other_type is not None:
            witness = await trial.live()
            filtered = await trial.live(query=query)
            before = filtered.last_event_id
            for number in range(HIDDEN):
                await trial.write(number, event_type=ground.options.other_type)
            await trial.wait_for(witness, HIDDEN)
        plain = await trial.live()
        parser = plain.parser
        start = parser.comments, len(parser.ids), len(plain.blocks)
        comments, ids, blocks = start

        async def beat(of: Listener, subject: str, condition: Callable[[], object]) -> float | None:
            begin = asyncio.get_running_loop().time()
            with suppress(Judged):
                await of.wait_for(condition, subject, limits.heartbeat_seconds)
                return asyncio.get_running_loop().time() - begin
            return None

        waits = [
            beat(
                plain,
                "a heartbeat",
                lambda: (parser.comments, len(parser.ids), len(plain.blocks)) > start,
            )
        ]
        if filtered is not None:
            waits.append(
                beat(filtered, "a new id", lambda: filtered.last_event_id not in {"", before})
            )
        seconds, *_ = await together(*waits)
        await plain.listen(min(0.2, limits.quiet_seconds))
        return Quiet(
            seconds,
            ", ".join(
                sign
                for sign, seen in (
                    ("a comment", parser.comments > comments),
                    ("an id", len(parser.ids) > ids),
                    ("a block", len(plain.blocks) > blocks),
                )
                if seen
            ),
            plain.last_event_id if len(parser.ids) > ids else "",
            before,
            "" if filtered is None else filtered.last_event_id,
            trial.tag,
        )
