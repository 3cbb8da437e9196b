"""One connection of our own to each bootstrap server: it tells what aiokafka's client does not.

The client answers every failure at the start with one `KafkaConnectionError`, "Unable to
bootstrap", and keeps the cause in its log. So where it fails, the same is tried once more without
it, and the exception is what is looked at.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError
from aiokafka.protocol.metadata import MetadataRequest

from gateway.kafka.diagnosis import Diagnosis, advertised, diagnose

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka.conn import AIOKafkaConnection

ATTEMPT_SECONDS = 2.0
"""A server that is there has answered by then, TLS and login included."""


async def explain(error: KafkaError | TimeoutError, options: dict[str, Any]) -> Diagnosis:
    """Return what a failure of aiokafka means and what to do, with what a new attempt tells.

    `options` are those of `connection_options`. Takes at most
    `ATTEMPT_SECONDS`; raises nothing.
    """
    if not isinstance(error, KafkaConnectionError | NodeNotReadyError | TimeoutError):
        return diagnose(error, options)
    failures = await asyncio.gather(
        *(_failure(options, server) for server in options["bootstrap_servers"])
    )
    if None in failures:
        return advertised(options)
    # One that can be reached and refuses tells more than one that is away.
    telling = sorted(filter(None, failures), key=_is_away)
    return diagnose(telling[0], options)


@asynccontextmanager
async def connection(options: dict[str, Any], server: str) -> AsyncIterator[AIOKafkaConnection]:
    """Connect to one server, TLS and login included, for the block.

    Raises `OSError` (`ssl.SSLError`, `TimeoutError`) or `KafkaError`, each as it is.
    """
    host, _, port = server.rpartition(":")
    others = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    connected = await create_conn(
        host.strip("[]"), int(port), **others, request_timeout_ms=int(ATTEMPT_SECONDS * 1000)
    )
    try:
        yield connected
    finally:
        await connected.close()


async def ask(options: dict[str, Any], request: Any) -> Any:
    """Return the answer of the first bootstrap server that has one.

    Raises `KafkaConnectionError` where none has.
    """
    failure: OSError | KafkaError | None = None
    for server in options["bootstrap_servers"]:
        try:
            async with connection(options, server) as connected:
                return await connected.send(request)
        except (OSError, KafkaError) as error:
            failure = error
    raise KafkaConnectionError("no bootstrap server answers") from failure


async def _failure(options: dict[str, Any], server: str) -> OSError | KafkaError | None:
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS), connection(options, server) as connected:
            # A listener that wants a login still answers the first question, which is the version.
            await connected.send(MetadataRequest([]))
    except (OSError, KafkaError) as error:
        return error
    return None


def _is_away(error: OSError | KafkaError) -> bool:
    return isinstance(error, OSError) and not isinstance(error, ssl.SSLError)
