"""The publisher: sends events from a Python service to its users.

    async with EventPublisher("kafka:9092") as publisher:
        await publisher.publish("alice", "import.completed", {"rows": 9})
        await publisher.publish_to_users(["alice", "bob"], "import.started", {"rows": 9})
        await publisher.broadcast("maintenance.planned", {"minutes": 10})
        await publisher.revoke_session("alice", "a6b4")

An event is validated before it is sent, and written with `acks=all`; if the broker supports
idempotent writes, a retry does not write it twice. The publisher never creates a topic.

`on_error` selects the handling of failures. `"raise"` raises `PublishError`. `"drop"` logs the
event, counts it in `dropped` and discards it, also while Kafka is unreachable, at the start too.
In both cases a call ends in bounded time. A revocation is never dropped.

The publisher logs through the standard library, because it runs inside other services.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from gateway.core.records import LogKind
from gateway.core.source import Source
from gateway.errors import PublishError
from gateway.kafka.client.options import connection_options
from gateway.kafka.envelope import (
    check_type,
    encode_change,
    encode_data,
    session_id_of,
    user_key,
)
from gateway.kafka.producer import FAILURES, Producer
from gateway.kafka.topics import TopicSpec
from gateway.publisher.encoding import Facts, choose, encoded, spec_of
from gateway.publisher.sending import Delivery, Sender, Sent
from gateway.revocation.record import Change, Revocation
from gateway.revocation.record import session_key as key_of_session
from gateway.revocation.record import user_key as key_of_user

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Sequence

    from gateway.config import Settings
    from gateway.core.registry import Registry

WINDOW = 1000
"""Maximum events of `publish_to_users` in flight: enough to fill the producer's batches."""

MAX_WARNED_TYPES = 1000
"""Maximum warnings of unknown types: a service with ids in its types would warn without end."""

_DROP_LOG_SECONDS = 1.0

_log = logging.getLogger(__name__)


class EventPublisher:
    """Writes events to Kafka: an async context manager; create one per service.

    `bootstrap` is one `host:port` or several. With a `registry`, the publisher warns once of each
    event type without a category. `partitioner` must be the gateway's. `timeout` (seconds) is the
    maximum time of an event. Further `options` have the names and defaults of aiokafka's producer:
    security, `compression_type`, `linger_ms`, `max_batch_size` and `max_request_size`; `client_id`
    is `gateway-publisher` by default.

    Calls may run concurrently; they share requests.
    """

    dropped: int
    """Number of discarded events, with `on_error="drop"`."""

    # Public: a service gives its options by name.
    def __init__(
        self,
        bootstrap: str | Sequence[str],
        *,
        topic: str = "user-events",
        broadcast_topic: str = "broadcast-events",
        revocations_topic: str = "gateway-revocations",
        revocation_seconds: float = 86_400,
        registry: Registry | None = None,
        on_error: Literal["raise", "drop"] = "raise",
        partitioner: Literal["murmur2", "crc32"] = "murmur2",
        timeout: float = 10.0,
        **options: Any,
    ) -> None:
        self.dropped = 0
        self._source = Source(topic, LogKind.USER)
        self._broadcasts = Source(broadcast_topic, LogKind.BROADCAST, partitions=1)
        self._revocations_topic = TopicSpec(revocations_topic, compacted=True)
        self._revocation_life = timedelta(seconds=revocation_seconds)
        self._registry = registry
        self._raises = on_error == "raise"
        servers = bootstrap.split(",") if isinstance(bootstrap, str) else list(bootstrap)
        self._producer = Producer({**options, "bootstrap_servers": servers}, partitioner, timeout)
        self._sender = Sender(self._producer, timeout)
        self._warned: set[str] = set()
        self._logged_at = float("-inf")

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        topic: str | None = None,
        registry: Registry | None = None,
        on_error: Literal["raise", "drop"] = "raise",
    ) -> Self:
        """Return a publisher that writes to the topics of a gateway with these settings.

        `topic` is one of its sources; None: the only one for users. Records of a source have the
        form of its mapping, and a source for groups takes the group in place of the user. Raises
        `SettingsError` if a certificate or key file cannot be used, or for another topic.
        """
        options = connection_options(settings, client_id="gateway-publisher")
        chosen = choose(settings.event_sources, topic)
        made = cls(
            options.pop("bootstrap_servers"),
            revocations_topic=settings.revocations_topic,
            revocation_seconds=settings.revocation_seconds,
            registry=registry,
            on_error=on_error,
            partitioner=settings.partitioner,
            **options,
        )
        made._source, made._broadcasts = chosen
        return made

    async def __aenter__(self) -> Self:
        try:
            await self._producer.connect()
        except FAILURES as error:
            self._fail(self._producer.explain(error), events=0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.close()

    async def publish(
        self,
        user_id: str,
        event_type: str,
        data: object,
        *,
        event_id: str | uuid.UUID | None = None,
        occurred_at: datetime | None = None,
        category: str | None = None,
    ) -> str | None:
        """Send an event to a user; return its `event_id` once Kafka has acknowledged it.

        `data` is any value that `msgspec.json` encodes. `event_id` defaults to a new UUID,
        `occurred_at` to now. `category` overrides the registry's category. Returns None for a
        dropped event; otherwise a failure raises `PublishError`.

            await publisher.publish("alice", "portfolio.networth.updated", {"value": "1017.20"})
        """
        facts = Facts(event_id, occurred_at, category)
        return await (await self._send(self._source, user_id, event_type, data, facts))

    async def submit(
        self,
        user_id: str,
        event_type: str,
        data: object,
        *,
        event_id: str | uuid.UUID | None = None,
        occurred_at: datetime | None = None,
        category: str | None = None,
    ) -> Delivery:
        """Send an event to a user without waiting for Kafka's acknowledgement.

        Like `publish`, in two steps, to write many events: events submitted one after another share
        requests and keep their order. Waits only while the producer's buffer is full. Await each
        delivery in the end, and keep at most some thousand deliveries at a time.

            deliveries = [await publisher.submit("alice", "ai.response.chunk", c) for c in chunks]
            for delivery in deliveries:
                await delivery
        """
        facts = Facts(event_id, occurred_at, category)
        return await self._send(self._source, user_id, event_type, data, facts)

    async def publish_to_users(self, user_ids: Iterable[str], event_type: str, data: object) -> int:
        """Send the same event to many users, each with a separate `event_id`.

        Returns the number of acknowledged events. All arguments are validated before the first
        event is sent, the data is encoded once, and up to `WINDOW` events are in flight. The first
        failure stops the call; with `on_error="raise"`, `PublishError` reports how many were
        written.

            await publisher.publish_to_users(members, "provider.disconnected", {"name": "Bank"})
        """
        users = list(user_ids)
        waiting: deque[Sent] = deque()
        written, failure, doubtful = 0, None, False
        try:
            self._check(event_type, self._source)
            payload = encode_data(data)
            for key in [user_key(user_id) for user_id in users]:
                if len(waiting) == WINDOW:
                    await self._sender.confirm(waiting.popleft())
                    written += 1
                message = encoded(self._source, key, event_type, payload, Facts())
                waiting.append(await self._sender.send(spec_of(self._source), message))
        except PublishError as error:
            failure, doubtful = error, error.may_be_written
        for sent in waiting:
            try:
                await self._sender.confirm(sent)
                written += 1
            except PublishError as error:
                failure, doubtful = failure or error, doubtful or error.may_be_written
        if failure is not None:
            summary = f"{written} of {len(users)} events were written: {failure}"
            summed = PublishError(summary, may_be_written=doubtful)
            self._fail(summed, events=len(users) - written)
        return written

    async def broadcast(
        self,
        event_type: str,
        data: object,
        *,
        event_id: str | uuid.UUID | None = None,
        occurred_at: datetime | None = None,
        category: str | None = None,
    ) -> str | None:
        """Send an event to every open stream; otherwise like `publish`.

        await publisher.broadcast("maintenance.planned", {"minutes": 10})
        """
        facts = Facts(event_id, occurred_at, category)
        return await (await self._send(self._broadcasts, None, event_type, data, facts))

    async def revoke_session(
        self, user_id: str, session_id: str, *, expires_at: datetime | None = None
    ) -> None:
        """Revoke a user's session: its streams end, and its tokens are rejected.

        Returns once Kafka has acknowledged the revocation; within a second every worker has ended
        the session's streams. The revocation expires at `expires_at`, by when the session's tokens
        must have expired; by default after `revocation_seconds`. Raises `PublishError`, regardless
        of `on_error`.

            await publisher.revoke_session("alice", "a6b4")
        """
        key = key_of_session(session_id_of(session_id))
        await self._write(Change(key, self._revocation(user_id, expires_at)))

    async def revoke_user(self, user_id: str, *, expires_at: datetime | None = None) -> None:
        """Revoke all tokens of a user that were issued before now, and end their streams.

        A token of the current second counts as issued before, because most tokens state their issue
        time in whole seconds.
        """
        revocation = self._revocation(user_id, expires_at)
        await self._write(Change(key_of_user(revocation.user), revocation))

    async def lift_session(self, session_id: str) -> None:
        """Remove the revocation of a session. Raises `PublishError`."""
        await self._write(Change(key_of_session(session_id_of(session_id)), None))

    async def lift_user(self, user_id: str) -> None:
        """Remove a user's revocation; sessions stay revoked. Raises `PublishError`."""
        await self._write(Change(key_of_user(user_key(user_id)), None))

    async def _send(
        self, source: Source, user_id: str | None, event_type: str, data: object, facts: Facts
    ) -> Delivery:
        """Send an event to a user, or a broadcast for None."""
        try:
            if user_id is None and not source.topic:
                raise PublishError("broadcasts are switched off: there is no broadcast topic")
            key = None if user_id is None else user_key(user_id)
            self._check(event_type, source)
            message = encoded(source, key, event_type, encode_data(data), facts)
            sent = await self._sender.send(spec_of(source), message)
        except PublishError as error:
            self._fail(error)
            return Delivery(_dropped)
        return Delivery(partial(self._settle, sent))

    def _revocation(self, user_id: str, expires_at: datetime | None) -> Revocation:
        now = datetime.now(UTC)
        end = now + self._revocation_life if expires_at is None else expires_at
        if end.tzinfo is None:
            raise PublishError("expires_at must say its time zone, as datetime.now(UTC) does")
        if end <= now:
            raise PublishError("expires_at is in the past: the revocation would have no effect")
        begin_ms, end_ms = (int(moment.timestamp() * 1000) for moment in (now, end))
        return Revocation(user_key(user_id), begin_ms, end_ms)

    async def _write(self, change: Change) -> None:
        if not self._revocations_topic.name:
            raise PublishError("revocations are switched off: there is no revocations topic")
        await self._sender.confirm(
            await self._sender.send(self._revocations_topic, encode_change(change))
        )

    def _check(self, event_type: str, source: Source) -> None:
        """Raise `PublishError` for an invalid type, and warn once of one without a category."""
        check_type(event_type)
        if (
            self._registry is not None
            and (source.mapping is None or source.mapping.category is None)
            and self._registry.category_of(event_type) is None
            and event_type not in self._warned
            and len(self._warned) < MAX_WARNED_TYPES
        ):
            self._warned.add(event_type)
            _log.warning(
                "event type %r is in no category: only streams without a filter get it", event_type
            )

    async def _settle(self, sent: Sent) -> str | None:
        try:
            await self._sender.confirm(sent)
        except PublishError as error:
            self._fail(error)
            return None
        return sent.event_id

    def _fail(self, error: PublishError, events: int = 1) -> None:
        """Raise, or count the events and log, at most once a second."""
        if self._raises:
            raise error
        self.dropped += events
        now = asyncio.get_running_loop().time()
        if now - self._logged_at >= _DROP_LOG_SECONDS:
            self._logged_at = now
            _log.warning("%s (%d events dropped until now)", error, self.dropped)


async def _dropped() -> None:
    """Return at once: the delivery of an event that was rejected before it was sent."""
