"""Sends records within the time that a caller allows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.kafka.producer import FAILURES, Producer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from gateway.kafka.envelope import Message
    from gateway.kafka.topics import TopicSpec


class Delivery:
    """An event in flight. Await it once for its `event_id`, or None if it was dropped.

    Raises `PublishError` if `on_error` is "raise". An event is sent even if its delivery is never
    awaited, but then a failure is not reported.
    """

    __slots__ = ("_settle",)

    def __init__(self, settle: Callable[[], Awaitable[str | None]]) -> None:
        self._settle = settle

    def __await__(self) -> Generator[Any, None, str | None]:
        return self._settle().__await__()


class Sent(NamedTuple):
    """A record that was given to the producer."""

    event_id: str
    confirmed: asyncio.Future[Any]
    deadline: float


class Sender:
    """A producer with a maximum time for each record, in seconds."""

    def __init__(self, producer: Producer, timeout: float) -> None:
        self._producer = producer
        self._timeout = timeout

    async def send(self, topic: TopicSpec, message: Message) -> Sent:
        """Give a record to the producer. Raises `PublishError`."""
        deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            async with asyncio.timeout_at(deadline):
                confirmed = await self._producer.send(topic, message)
        except FAILURES as error:
            raise self._producer.explain(error, sent=False) from error
        return Sent(message.event_id, confirmed, deadline)

    async def confirm(self, sent: Sent) -> None:
        """Wait until Kafka has acknowledged a record. Raises `PublishError`."""
        try:
            async with asyncio.timeout_at(sent.deadline):
                await sent.confirmed
        except FAILURES as error:
            raise self._producer.explain(error) from error
