"""Applies `security.session.revoked` events among a worker's records.

The worker delivers the event first, then closes the streams of the session, and writes the
revocation to the topic that all workers read, unless another worker has written it.
"""

from __future__ import annotations

import asyncio
from random import uniform
from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import KafkaError

from gateway import clock
from gateway.core.gap import CloseReason
from gateway.core.records import LogKind
from gateway.errors import PublishError
from gateway.kafka.client.options import connection_options
from gateway.kafka.envelope import encode_change
from gateway.kafka.producer import Producer
from gateway.kafka.topics import TopicSpec
from gateway.revocation.pending import PendingRevocations
from gateway.revocation.record import revoked_session
from gateway.revocation.table import mentioning
from gateway.supervise import Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.config import Settings
    from gateway.core.hub import Hub
    from gateway.core.interpreter import Interpreter
    from gateway.core.records import Moment, Record, TopicPartition
    from gateway.revocation.record import Change
    from gateway.revocation.table import Revocations
    from gateway.supervise import Supervisor

WRITE_SECONDS = 10.0
"""Timeout of one write."""

SPREAD_SECONDS = 0.5
"""Maximum random delay of the write; after the first worker's write the others skip theirs.

A worker that reads the event revokes at once; only workers that do not read the user's partition
depend on the topic."""

RETRY_SECONDS = 5.0

_log = structlog.stdlib.get_logger(__name__)

Revoked = list[tuple[bytes, str, int]]
"""User, session and record timestamp (ms) of each event found."""


class RevocationEvents:
    """Applies revoking events; does nothing if the settings disable revocations."""

    def __init__(
        self,
        settings: Settings,
        hub: Hub,
        interpreter: Interpreter,
        revocations: Revocations,
        supervisor: Supervisor,
    ) -> None:
        self._sources = {
            source.topic: source for source in settings.event_sources if source.kind is LogKind.USER
        }
        self._partitioner = settings.partitioner
        self._options = connection_options(settings)
        self._target = TopicSpec(settings.revocations_topic, compacted=True)
        self.life = int(settings.revocation_seconds * 1000)
        """Lifetime of a revocation without `expires_at`, in ms."""
        self.hub = hub
        self.revocations = revocations
        self._interpreter = interpreter
        self._contain = supervisor.contain
        self._pending = PendingRevocations()
        self._news = asyncio.Event()

    def find(self, batches: Mapping[TopicPartition, Sequence[Record]]) -> Revoked:
        """Return the sessions that these records revoke; call it before dispatch.

        An event of a group or a broadcast revokes nothing: a session belongs to a user.
        """
        found: Revoked = []
        sources = self._sources
        if not self._target.name:
            return found
        of_users = [(log, records) for log, records in batches.items() if log.topic in sources]
        if not mentioning([record for _, records in of_users for record in records]):
            return found
        for log, records in of_users:
            feed = self.hub.feeds[log]
            for record in mentioning(records):
                with self._contain(Part.REVOCATIONS):
                    event = self._interpreter.decode(feed, record)
                    session = None if event is None else revoked_session(event)
                    user = sources[log.topic].key.name(record.key or b"")
                    if session is not None and user is not None:
                        found.append((user, session, record.timestamp))
        return found

    def revoke(self, found: Revoked, moment: Moment) -> None:
        """Revoke the found sessions and close their streams, after the events' delivery."""
        users = set()
        for user, session, timestamp in found:
            # A missing or future timestamp is a producer error: use the current time.
            since = timestamp if 0 < timestamp < moment.wall else moment.wall
            with self._contain(Part.REVOCATIONS):
                change = self.revocations.revoke_session(
                    user, session, since, self.life, moment.wall
                )
                if change is not None:
                    users.add(user)
                    due = moment.monotonic + uniform(0, SPREAD_SECONDS)  # noqa: S311
                    self._pending.add(change, due)
                    self._news.set()
        if not users:
            return
        covered = self.revocations.covered(self.hub.streams, users, moment.wall)
        self.hub.close_all(covered, CloseReason.REVOKED, moment)

    def seen(self, change: Change) -> None:
        """Note a record in the topic: this worker does not write its revocation again."""
        self._pending.seen(change)

    async def run(self) -> None:
        """Write pending revocations to the topic until the task is cancelled."""
        async with Producer(self._options, self._partitioner, WRITE_SECONDS) as producer:
            while True:
                found = self._pending.next(clock.now())
                if found is None:
                    self._news.clear()
                    await self._news.wait()
                    continue
                change, pause = found
                if pause:
                    await asyncio.sleep(pause)
                    continue
                written = False
                with self._contain(Part.REVOCATIONS):
                    written = await self._written(producer, change)
                if written:
                    self._pending.seen(change)
                else:
                    # Move it behind the others: a rejected record does not block them.
                    self._pending.postpone(change)
                    await asyncio.sleep(RETRY_SECONDS)

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
        _log.warning(
            "revocations not written; retried until they expire",
            error=str(reason),
            pending=len(self._pending),
            discarded=self._pending.discarded,
        )
        return False
