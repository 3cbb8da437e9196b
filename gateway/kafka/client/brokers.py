"""Replacement for the broker connections of aiokafka's producer.

aiokafka has one lock for all new connections, sends metadata requests to one broker after the
other, repeats them without a pause while a broker or a leader is down, and never returns to the
bootstrap servers. Its metadata requests recreate a deleted topic. Here each broker has its own
lock, the first answer of several brokers is used, and the bootstrap servers are asked when no known
broker answers (KIP-899). Requests are `METADATA_SECONDS` apart and never create a topic.
"""

from __future__ import annotations

# ruff: noqa: SLF001
import asyncio
import logging
import random
import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import create_conn
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaError,
    KafkaStorageError,
    NodeNotReadyError,
    NotEnoughReplicasAfterAppendError,
    RequestTimedOutError,
    UnknownError,
)
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest

from gateway.kafka.client.kerberos import ticket_errors
from gateway.kafka.client.login import current_password
from gateway.kafka.client.race import first_of
from gateway.kafka.client.shared_token import TokenUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

NEXT_BROKER_SECONDS = 0.5
"""Delay until the next known broker is asked too."""

NEXT_BOOTSTRAP_SECONDS = 0.1
"""Delay until the next bootstrap server is asked too."""

METADATA_SECONDS = 0.2
"""Minimum interval of metadata requests: retries do not use up a core while brokers are down."""


_CONNECTION_OPTIONS = (
    "client_id",
    "request_timeout_ms",
    "ssl_context",
    "security_protocol",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
    "sasl_kerberos_service_name",
    "sasl_kerberos_domain_name",
    "sasl_oauth_token_provider",
)
"""Options of a connection, each a private attribute of aiokafka's client."""

_CLIENT_OPTIONS = (
    *_CONNECTION_OPTIONS,
    "bootstrap_servers",
    "metadata_max_age_ms",
    "connections_max_idle_ms",
)

_PERHAPS_WRITTEN = frozenset(
    error.errno
    for error in (
        UnknownError,
        RequestTimedOutError,
        NotEnoughReplicasAfterAppendError,
        KafkaStorageError,
    )
)
"""Error codes of a broker that may nevertheless have written the batch."""

_log = logging.getLogger(__name__)


def pass_cancellation() -> None:
    """Raise `CancelledError` if the current task is being cancelled.

    For use after `close` and `stop` of aiokafka, which wait for a task and suppress its
    cancellation, and with it that of the caller. A task that is cancelled once would never end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class BrokerClient(AIOKafkaClient):  # type: ignore[misc]
    """aiokafka's connections to the brokers; no broker delays another."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.in_doubt: set[TopicPartition] = set()
        """Partitions whose batch may have been written by an attempt with an unclear outcome."""
        self._connecting: defaultdict[object, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._updated = float("-inf")

    @classmethod
    def like(cls, client: Any) -> Self:
        """Return a client with the options of aiokafka's."""
        options = {name: getattr(client, f"_{name}") for name in _CLIENT_OPTIONS}
        return cls(retry_backoff_ms=client._retry_backoff * 1000, **options)

    @property
    def _sasl_plain_password(self) -> str | None:
        """The current password: aiokafka reads it for each connection."""
        return current_password(self._password)

    @_sasl_plain_password.setter
    def _sasl_plain_password(self, source: str | Callable[[], str] | None) -> None:
        self._password = source

    @property
    def _get_conn_lock(self) -> asyncio.Lock:
        return asyncio.Lock()  # not shared: `_get_conn` has a lock for each broker

    async def _get_conn(
        self, node_id: object, *, group: object = ConnectionGroup.DEFAULT, no_hint: bool = False
    ) -> Any:
        async with self._connecting[node_id, group]:
            try:
                with ticket_errors():
                    return await super()._get_conn(node_id, group=group, no_hint=no_hint)
            except TokenUnavailable as error:  # aiokafka handles its own errors, not Kerberos's
                _log.warning("cannot connect to broker %s: %s", node_id, error)
                return None

    async def bootstrap(self) -> None:
        """Connect to a bootstrap server. Raises `KafkaError`, also without a Kerberos ticket."""
        with ticket_errors():
            await super().bootstrap()

    async def close(self) -> None:
        """Disconnect."""
        await super().close()
        pass_cancellation()

    async def _maybe_wait_metadata(self) -> None:
        """Use the cached metadata."""

    async def _metadata_update(self, cluster_metadata: Any, topics: Any) -> bool:
        """Apply the first metadata answer of a broker; return whether one arrived."""
        await asyncio.sleep(self._updated + METADATA_SECONDS - time.monotonic())
        if not self.cluster.brokers():
            return bool(await super()._metadata_update(cluster_metadata, topics))
        request = MetadataRequest(list(topics) if topics else None, allow_auto_topic_creation=False)
        answer = await self.first_answer(request)
        if answer is None:
            answer = await self._bootstrap_again(request)
        self._updated = time.monotonic()
        if answer is None:
            cluster_metadata.failed_update(None)
            return False
        cluster_metadata.update_metadata(answer)
        return True

    async def _bootstrap_again(self, request: MetadataRequest) -> Any:
        """Return the bootstrap servers' answer, or None; finds brokers that have moved."""
        attempts = [partial(self._ask, host, port, request) for host, port, _ in self.hosts]
        try:
            answer = await first_of(attempts, NEXT_BOOTSTRAP_SECONDS)
        except (KafkaError, OSError):
            return None
        addresses = {broker[0]: (broker[1], broker[2]) for broker in answer.brokers}
        for (node_id, _), connection in list(self._conns.items()):
            if addresses.get(node_id) != (connection.host, connection.port):
                connection.close()  # the next request opens one to the new address
        return answer if addresses else None

    async def _ask(self, host: str, port: int, request: MetadataRequest) -> Any:
        options = {name: getattr(self, f"_{name}") for name in _CONNECTION_OPTIONS}
        with ticket_errors():
            connection = await create_conn(host, port, **options)
        try:
            return await connection.send(request)
        finally:
            connection.close()

    async def send(
        self, node_id: int, request: Any, *, group: object = ConnectionGroup.DEFAULT
    ) -> Any:
        """Send a request and return the answer; any broker may give a producer id."""
        if isinstance(request, InitProducerIdRequest):
            answer = await self.first_answer(request, lambda answer: answer.error_code == 0)
            if answer is not None:
                return answer
        if not isinstance(request, ProduceRequest):
            return await super().send(node_id, request, group=group)
        try:
            response = await super().send(node_id, request, group=group)
        except (NodeNotReadyError, IncompatibleBrokerVersion):
            raise  # nothing was sent
        except KafkaError:
            self.in_doubt.update(
                TopicPartition(topic, partition)
                for topic, partitions in request._topics
                for partition, _ in partitions
            )
            raise
        self.in_doubt.update(
            TopicPartition(topic, partition)
            for topic, partitions in response.topics
            for partition, code, *_ in partitions
            if code in _PERHAPS_WRITTEN
        )
        return response

    async def first_answer(
        self, request: Any, accept: Callable[[Any], bool] = lambda answer: bool(answer.brokers)
    ) -> Any:
        """Return the first accepted answer of a known broker, or None if all fail."""
        send = super().send

        async def ask(node_id: int) -> Any:
            answer = await send(node_id, request)
            if not accept(answer):
                raise KafkaError(f"broker {node_id} gives no usable answer")
            return answer

        brokers = [broker.nodeId for broker in self.cluster.brokers()]
        random.shuffle(brokers)
        try:
            return await first_of([partial(ask, each) for each in brokers], NEXT_BROKER_SECONDS)
        except KafkaError:
            return None
