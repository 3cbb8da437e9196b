"""Finds the cause of a failed request: connects to bootstrap servers and brokers.

aiokafka raises the same `KafkaConnectionError`, "Unable to bootstrap", for every start-up failure,
and only logs the cause. A connection of `gateway.kafka.client` raises the cause.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError

from gateway.kafka.client.cluster import ClusterClient
from gateway.kafka.diagnosis import Diagnosis, diagnose, slow, unreachable

ATTEMPT_SECONDS = 2.0
"""Timeout of each step; enough for a reachable broker, TLS and login included."""


async def explain(error: KafkaError | OSError, options: dict[str, Any]) -> Diagnosis:
    """Return the diagnosis of a failed request, based on a new connection attempt.

    `options` are those of `connection_options`. Takes at most twice `ATTEMPT_SECONDS`; never
    raises.
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
