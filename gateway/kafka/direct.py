"""Why a request to Kafka has failed: a fresh look at the bootstrap servers and the brokers.

aiokafka raises the same `KafkaConnectionError`, "Unable to bootstrap", for every failure at the
start, and logs its cause. A connection of our own raises the cause.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError

from gateway.kafka.client.cluster import ClusterClient
from gateway.kafka.diagnosis import Diagnosis, diagnose, slow, unreachable

ATTEMPT_SECONDS = 2.0
"""Timeout of each step; a broker that is up answers within it, TLS and login included."""


async def explain(error: KafkaError | OSError, options: dict[str, Any]) -> Diagnosis:
    """Return the meaning of a failed request to Kafka, with the findings of a new attempt.

    `options` are those of `connection_options`. Takes at most twice `ATTEMPT_SECONDS`; raises
    nothing.
    """
    if not isinstance(error, KafkaConnectionError | NodeNotReadyError | OSError):
        return diagnose(error, options)
    client = ClusterClient(options)
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS):
            await client.describe([])
        away = await _away(client)
    except (KafkaError, OSError) as failure:
        return diagnose(failure, options)
    finally:
        await client.stop()
    return unreachable(away) if away else slow(options)


async def _away(client: ClusterClient) -> list[str]:
    """Return the address of each broker of the cluster that does not answer."""

    async def is_away(node_id: int) -> bool:
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                (await client.connect(node_id)).close()
        except (KafkaError, OSError):
            return True
        return False

    found = await asyncio.gather(*[is_away(node_id) for node_id in client.nodes])
    return [
        f"{node.host}:{node.port}"
        for node, away in zip(client.nodes.values(), found, strict=True)
        if away
    ]
