"""Events that revoke: `security.session.revoked`, found among all records that a worker reads.

The event is delivered first, then the session's streams here are ended, and its revocation is
written to the topic from which every other worker takes it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.errors import KafkaError

from gateway.core.event import Event
from gateway.core.frame import CloseReason
from gateway.core.revocation import revoked_session
from gateway.core.revocations import mentioning
from gateway.errors import PublishError
from gateway.kafka.envelope import encode_change
from gateway.kafka.producer import Producer
from gateway.kafka.topics import TopicSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.config import Settings
    from gateway.core.event import Decoder
    from gateway.core.hub import Hub
    from gateway.core.log import Log, Moment, Record
    from gateway.core.revocation import Change
    from gateway.core.revocations import Revocations

WRITE_SECONDS = 10.0
"""How long a revocation may take to be written, until it is tried again."""

RETRY_SECONDS = 5.0

_log = structlog.stdlib.get_logger(__name__)

Revoked = list[tuple[bytes, str, int]]
"""For each event found its user, its session, and its record's timestamp (ms)."""


class RevokingEvents:
    """Does what such events say. Does nothing where the settings switch revocations off."""

    def __init__(
        self,
        settings: Settings,
        options: dict[str, Any],
        hub: Hub,
        revocations: Revocations,
        decoder: Decoder,
    ) -> None:
        self._topic = settings.topic
        self._partitioner = settings.partitioner
        self._options = options
        self._target = TopicSpec(settings.revocations_topic, compacted=True)
        self._life = int(settings.revocation_seconds * 1000)
        self._hub = hub
        self._revocations = revocations
        self._decoder = decoder
        self._changes: asyncio.Queue[Change] = asyncio.Queue()

    def find(self, batches: Mapping[Log, Sequence[Record]]) -> Revoked:
        """Return what events among these records revoke; to be asked before they are dispatched.

        An event for everybody revokes nothing: a session is its user's.
        """
        found: Revoked = []
        if not self._target.name:
            return found
        for log, records in batches.items():
            if log.topic != self._topic:
                continue
            for record in mentioning(records):
                event = self._decoder.decode(record, keyed=True)
                session = revoked_session(event) if isinstance(event, Event) else None
                if session is not None:
                    assert record.key is not None
                    found.append((record.key, session, record.timestamp))
        return found

    def revoke(self, found: Revoked, moment: Moment) -> None:
        """Revoke what was found, which the streams concerned have got by now if they can."""
        users = set()
        for user, session, timestamp in found:
            # A time to come, or none, is a producer's mistake.
            since = timestamp if 0 < timestamp < moment.wall else moment.wall
            change = self._revocations.take_event(user, session, since, self._life, moment.wall)
            if change is not None:
                users.add(user)
                self._changes.put_nowait(change)
        if not users:
            return
        for stream in self._revocations.covered(self._hub.streams, users, moment.wall):
            self._hub.close(stream, CloseReason.REVOKED, moment)

    async def run(self) -> None:
        """Write to the topic what was revoked, for as long as the task lives."""
        options = dict(self._options)
        bootstrap = options.pop("bootstrap_servers")
        producer = Producer(bootstrap, self._partitioner, WRITE_SECONDS, options)
        try:
            while True:
                change = await self._changes.get()
                if not await self._written(producer, change):
                    self._changes.put_nowait(change)
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            await producer.close()

    async def _written(self, producer: Producer, change: Change) -> bool:
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await (await producer.send(self._target, encode_change(change)))
        except PublishError as error:
            reason = error
        except (KafkaError, TimeoutError) as error:
            reason = producer.explain(error)
        else:
            return True
        _log.warning("a revocation could not be written, and is tried again", error=str(reason))
        return False
