"""What a case has at hand: clients of its own, events that it knows, and the quiet streams."""

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
    from types import TracebackType

    from gateway.conformance.options import Limits, Options
    from gateway.conformance.parser import Block
    from gateway.conformance.publisher import Publish

T = TypeVar("T")

SMALL_BUFFER = 16_384
"""What the kernel takes ahead for a client that does not read."""

HIDDEN = 3
"""Events of the other type that the quiet stream's filter keeps away."""


class Quiet(NamedTuple):
    """What streams without an event were sent.

    `seconds` until the first `sign` of life, None where there was none, and `id` what came with it.
    With a filter: the ids before and after events that it kept away, and the tag of those.
    """

    seconds: float | None
    sign: str
    id: str
    filtered_before: str
    filtered_after: str
    hidden: str


class Ground:
    """What all cases share: the server, the publisher, and what was seen of the quiet streams."""

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
        """Return what the quiet streams were sent, which is looked at once. Raises `Judged`."""
        if self._quiet is None:
            self._quiet = asyncio.create_task(_look_at_quiet_streams(self))
        return await asyncio.shield(self._quiet)

    async def end(self) -> None:
        """End what still runs."""
        if self._quiet is not None:
            self._quiet.cancel()
            with suppress(asyncio.CancelledError, Judged):
                await self._quiet


class Trial:
    """One run of one case; its clients end with it.

    Its events are `{"conformance": TAG, "n": NUMBER}`, so that a stream which other cases' events
    pass through as well is read for its own.
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

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for listener in self._listeners:
            listener.drop()

    def listener(self, receive_buffer: int | None = None) -> Listener:
        """Return a new client, which is not connected."""
        listener = Listener(self.options, receive_buffer)
        self._listeners.append(listener)
        return listener

    async def live(self, *, query: str = "", receive_buffer: int | None = None) -> Listener:
        """Return a client whose stream is open, and has had a moment for what it begins with."""
        listener = self.listener(receive_buffer)
        await listener.open(query=query)
        await listener.listen(min(0.2, self.limits.quiet_seconds))
        return listener

    async def anchored(self, *, query: str = "") -> Listener:
        """Return a client that has an id, be it that of an event; fail where none comes."""
        listener = await self.live(query=query)
        if not listener.last_event_id:
            anchor = json.dumps({"conformance": f"{self.tag}-anchor"})
            await self.publish(anchor)
            await listener.wait_for(
                lambda: any(event.data == anchor for event in listener.events),
                "the event that is to bring an id",
            )
        if not listener.last_event_id:
            fail("there is no id to come back with")
        return listener

    async def write(self, number: int, *, event_type: str | None = None, padding: int = 0) -> str:
        """Publish the event of that number, and return its data."""
        data = self.document(number, padding)
        self.written.append(number)
        await self.publish(data, event_type)
        return data

    def document(self, number: int, padding: int = 0) -> str:
        """Return the data of the event of that number."""
        document: dict[str, object] = {"conformance": self.tag, "n": number}
        if padding:
            document["padding"] = "x" * padding
        return json.dumps(document)

    async def publish(self, data: str, event_type: str | None = None) -> None:
        """Publish any data; the case fails where that cannot be done."""
        try:
            await self.ground.publish(event_type or self.options.event_type, data)
        except ConformanceError as error:
            fail(f"could not be published: {error}")

    async def burst(self, count: int | None = None, *, padding: int = 0, pause: float = 0) -> int:
        """Publish events from 0 on, one after the other, and return how many.

        No more than the limits say, in number and time.
        """
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
        """Return this case's events among those of a client."""
        numbers = self._read(listener)
        return [
            event
            for event, number in zip(listener.events, numbers, strict=True)
            if number is not None
        ]

    def numbers(self, listener: Listener) -> list[int]:
        """Return the numbers of this case's events, as they came."""
        return [number for number in self._read(listener) if number is not None]

    def _read(self, listener: Listener) -> list[int | None]:
        """Return the number of each event of a client, None for other cases'; each is read once."""
        numbers = self._numbers.setdefault(listener, [])
        numbers += [_number(each.data, self.tag) for each in listener.events[len(numbers) :]]
        return numbers

    def gaps(self, listener: Listener) -> list[Block]:
        """Return the events by which the server has told of a gap."""
        return [event for event in listener.events if event.type == self.options.gap_type]

    async def wait_for(
        self, listener: Listener, numbers: int, *, seconds: float | None = None
    ) -> None:
        """Read until the client has so many of this case's events, repeated ones counted once."""
        await listener.wait_for(
            lambda: len(set(self.numbers(listener))) >= numbers,
            f"event {numbers} of this case",
            seconds,
        )

    async def expect_live(self, listener: Listener) -> None:
        """Read until the latest event is there, and fail where it never comes or comes twice."""
        number = self.written[-1]
        await listener.wait_for(lambda: number in self.numbers(listener), "the next event")
        await listener.listen(min(0.2, self.limits.quiet_seconds))
        if self.numbers(listener).count(number) > 1:
            fail("the next event came twice")

    async def expect(self, listener: Listener, numbers: range) -> None:
        """Read until the last of the numbers, listen on, and fail unless it was each once.

        Fails too where the server says that something is missing: nothing is here.
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
            fail(f"nothing is missing, but a gap is told: {gaps[0].data}")


async def together(*waits: Coroutine[Any, Any, T]) -> list[T]:
    """Return the results of all, run side by side; the first that ends the case ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(wait) for wait in waits]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _number(data: str | None, tag: str) -> int | None:
    """Return the number of the event, if it is one of that tag."""
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


async def _look_at_quiet_streams(ground: Ground) -> Quiet:
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
        before_it = parser.comments, len(parser.ids), len(plain.blocks)
        comments, ids, blocks = before_it

        async def beat(of: Listener, what: str, condition: Callable[[], object]) -> float | None:
            begin = asyncio.get_running_loop().time()
            with suppress(Judged):
                await of.wait_for(condition, what, limits.heartbeat_seconds)
                return asyncio.get_running_loop().time() - begin
            return None

        waits = [
            beat(
                plain,
                "a heartbeat",
                lambda: (parser.comments, len(parser.ids), len(plain.blocks)) > before_it,
            )
        ]
        if filtered is not None:
            waits.append(
                beat(filtered, "another id", lambda: filtered.last_event_id not in {"", before})
            )
        seconds, *_ = await together(*waits)
        await plain.listen(min(0.2, limits.quiet_seconds))
        return Quiet(
            seconds,
            ", ".join(
                what
                for what, came in (
                    ("a comment", parser.comments > comments),
                    ("an id", len(parser.ids) > ids),
                    ("a block", len(plain.blocks) > blocks),
                )
                if came
            ),
            plain.last_event_id if len(parser.ids) > ids else "",
            before,
            "" if filtered is None else filtered.last_event_id,
            trial.tag,
        )
