"""Login by SASL on a connection that is open, with aiokafka's exchanges.

Kerberos (SASL/GSSAPI, RFC 4752) uses the system's library and its configuration. The library takes
the ticket from the credential cache (`KRB5CCNAME`). With a client keytab (`KRB5_CLIENT_KTNAME`) it
fetches a ticket itself, and a new one before the ticket expires, so every login has a valid ticket
as long as the KDC answers.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any

from aiokafka.conn import (
    SaslGSSAPIAuthenticator,
    SaslPlainAuthenticator,
    ScramAuthenticator,
)
from aiokafka.errors import (
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
    UnsupportedVersionError,
    for_code,
)

from gateway.kafka.client import wire
from gateway.kafka.client.login import BearerAuthenticator, current_password
from gateway.kafka.client.shared_token import TokenUnavailable

try:
    from gssapi.raw.misc import GSSError
except ImportError:  # the extra `kerberos` is not installed: nothing raises this error

    class GSSError(Exception):  # type: ignore[no-redef] # noqa: D101
        pass


if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.kafka.client.connection import Connection

LOGIN_SECONDS = 5.0
"""Timeout of each request of a login."""

_KDC = "see that the KDC of the file in KRB5_CONFIG answers, and that the clocks agree"

_ADVICE = {
    7: (  # KDC_ERR_S_PRINCIPAL_UNKNOWN
        "set GATEWAY_KAFKA_SASL_KERBEROS_SERVICE_NAME and"
        " GATEWAY_KAFKA_SASL_KERBEROS_DOMAIN_NAME to the principal of the brokers"
    ),
    37: _KDC,  # KRB_AP_ERR_SKEW
    156: _KDC,  # KRB5_KDC_UNREACH
    220: _KDC,  # KRB5_REALM_CANT_RESOLVE
}
"""Remedies by error code (RFC 4120, §7.5.9; from 128 on MIT's own)."""

_KEYTAB = (
    "set KRB5_CLIENT_KTNAME to a keytab with the current key of this client,"
    " or run kinit for the cache in KRB5CCNAME"
)

_ERROR_TABLE = -1765328384
"""The library's code for error 0 of RFC 4120."""

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


class KerberosAuthenticator(SaslGSSAPIAuthenticator):  # type: ignore[misc]
    """Client side of GSSAPI to `principal`, `service@host`. The library's calls run in a thread."""

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """Return the next message, None at the end. Raises `TokenUnavailable`."""
        try:
            step: tuple[bytes, bool] | None = await super().step(payload)
        except GSSError as error:
            cause = f"no Kerberos ticket: {_message(error)}"
            raise TokenUnavailable(cause, _advice(error)) from None
        return step


def _message(error: GSSError) -> str:
    """Return the mechanism's text. The library keeps it for the thread that called it only."""
    _, _, text = str(error).partition(", Minor (")
    return text.partition("): ")[2] or str(error)


def _advice(error: GSSError) -> str:
    return _ADVICE.get(error.min_code - _ERROR_TABLE & 0xFFFFFFFF, _KEYTAB)


def check_code(code: int, message: str) -> None:
    """Raise the `KafkaError` of an error code; 0 means success."""
    if code:
        raise for_code(code)(message)
