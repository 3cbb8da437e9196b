"""Login by SASL on a connection that is open, with aiokafka's exchanges."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any

from aiokafka.conn import SaslPlainAuthenticator, ScramAuthenticator
from aiokafka.errors import (
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
    UnsupportedVersionError,
    for_code,
)

from gateway.kafka.client import wire
from gateway.kafka.client.kerberos import KerberosAuthenticator
from gateway.kafka.client.login import BearerAuthenticator, current_password

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.kafka.client.connection import Connection

LOGIN_SECONDS = 5.0
"""Timeout of each request of a login."""

_INT32 = struct.Struct(">i")


async def log_in(connection: Connection, options: Mapping[str, Any]) -> float:
    """Log in by SASL and return the lifetime in seconds; 0: unlimited."""
    mechanism = options["sasl_mechanism"]
    version = wire.supported(connection.versions, wire.SASL_AUTHENTICATE, 1)
    if version is None:
        raise UnsupportedVersionError(f"{connection.peer} is older than Kafka 1.0")
    send = connection.request_at_once
    try:
        answer = await send(
            wire.SASL_HANDSHAKE, 1, wire.string(mechanism, flexible=False), LOGIN_SECONDS
        )
        reader = wire.Reader(answer, flexible=False)
        code = reader.int16()
        enabled = [reader.string() for _ in range(reader.count())]
        check_code(code, f"enabled mechanisms: {enabled}")
        if mechanism not in enabled:
            raise UnsupportedSaslMechanismError(f"enabled mechanisms: {enabled}")
        authenticator = _authenticator(mechanism, options, connection.peer)
        token, lifetime_ms = None, 0
        while (step := await authenticator.step(token)) is not None:
            payload = step[0]
            answer = await send(
                wire.SASL_AUTHENTICATE,
                version,
                _INT32.pack(len(payload)) + payload,
                LOGIN_SECONDS,
            )
            reader = wire.Reader(answer, flexible=False)
            code, message, token = reader.int16(), reader.string(), reader.bytes()
            check_code(code, message or "")
            lifetime_ms = reader.int64() if version >= 1 else 0
    except (*wire.MALFORMED, ValueError, KeyError, AssertionError) as error:
        # The authenticators raise these if the server cannot prove that it knows the password.
        raise SaslAuthenticationFailed(f"{connection.peer}: login not understood") from error
    return lifetime_ms / 1000


def _authenticator(mechanism: str, options: Mapping[str, Any], peer: str) -> Any:
    if mechanism == "OAUTHBEARER":
        return BearerAuthenticator(sasl_oauth_token_provider=options["sasl_oauth_token_provider"])
    if mechanism == "GSSAPI":
        host = options["sasl_kerberos_domain_name"] or peer.rpartition(":")[0]
        return KerberosAuthenticator(
            loop=asyncio.get_running_loop(),
            principal=f"{options['sasl_kerberos_service_name']}@{host}",
        )
    settings = {
        "loop": asyncio.get_running_loop(),
        "sasl_plain_username": options["sasl_plain_username"],
        "sasl_plain_password": current_password(options["sasl_plain_password"]),
    }
    if mechanism == "PLAIN":
        return SaslPlainAuthenticator(**settings)
    return ScramAuthenticator(sasl_mechanism=mechanism, **settings)


def check_code(code: int, message: str) -> None:
    """Raise the `KafkaError` of an error code; 0 means success."""
    if code:
        raise for_code(code)(message)
