"""aiokafka's connections to the brokers, as its consumer and its producer need them here.

aiokafka has one lock for all new connections, asks one broker after the other for metadata, and
asks again without a pause where a broker or a leader is away. Its requests for metadata create a
deleted topic again. Here each broker has a lock of its own, the next broker is asked soon and the
first answer counts, requests are `METADATA_SECONDS` apart, and none creates a topic.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from gateway.kafka.client.login import current_password

if TYPE_CHECKING:
    from collections.abc import Callable

NEXT_BROKER_SECONDS = 0.5
"""How long one broker is waited for until another one is asked as well."""

METADATA_SECONDS = 0.2
"""The least time between two looks for metadata, so that brokers that are away cost no core."""


class BrokerClient(AIOKafkaClient):  # type: ignore[misc]
    """aiokafka's connections to the brokers, where none of them waits for another."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._connecting: defaultdict[object, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._updated = float("-inf")

    @property
    def _sasl_plain_password(self) -> str | None:
        """The password at this moment: aiokafka reads it for each connection."""
        return current_password(self._password)

    @_sasl_plain_password.setter
    def _sasl_plain_password(self, source: str | Callable[[], str] | None) -> None:
        self._password = source

    @property
    def _get_conn_lock(self) -> asyncio.Lock:
        return asyncio.Lock()  # nobody else's: see below

    async def _get_conn(
        self, node_id: object, *, group: object = ConnectionGroup.DEFAULT, no_hint: bool = False
    ) -> Any:
        async with self._connecting[node_id, group]:
            return await super()._get_conn(node_id, group=group, no_hint=no_hint)

    async def _maybe_wait_metadata(self) -> None:
        """Go by what is known; see above."""

    async def _metadata_update(self, cluster_metadata: Any, topics: Any) -> bool:
        """Ask the brokers, the next one whenever the last one is silent for a while."""
        await asyncio.sleep(self._updated + METADATA_SECONDS - time.monotonic())
        if not self.cluster.brokers():
            return bool(await super()._metadata_update(cluster_metadata, topics))
        request = MetadataRequest(list(topics) if topics else None, allow_auto_topic_creation=False)
        answer = await self.first_answer(request)
        self._updated = time.monotonic()
        if answer is None:
            cluster_metadata.failed_update(None)
            return False
        cluster_metadata.update_metadata(answer)
        return True

    async def first_answer(
        self, request: Any, accept: Callable[[Any], bool] = lambda answer: bool(answer.brokers)
    ) -> Any:
        """Return the first accepted answer of a broker (one that knows the others), or None."""
        brokers = [broker.nodeId for broker in self.cluster.brokers()]
        random.shuffle(brokers)
        asked: set[asyncio.Task[Any]] = set()
        try:
            while brokers or asked:
                if brokers:
                    asked.add(asyncio.create_task(BrokerClient.send(self, brokers.pop(), request)))
                done, asked = await asyncio.wait(
                    asked,
                    timeout=NEXT_BROKER_SECONDS if brokers else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    try:
                        answer = task.result()
                    except KafkaError:
                        continue
                    if accept(answer):
                        return answer
            return None
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
