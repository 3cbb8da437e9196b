"""Logins by Kerberos (SASL/GSSAPI, RFC 4752), with the system's library and its configuration.

The library takes the ticket from the credential cache (`KRB5CCNAME`). With a client keytab
(`KRB5_CLIENT_KTNAME`) it fetches a ticket itself, and a new one before the ticket expires, so every
login has a valid ticket as long as the KDC answers.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiokafka.conn import SaslGSSAPIAuthenticator

from gateway.kafka.client.shared_token import TokenUnavailable

try:
    from gssapi.raw.misc import GSSError
except ImportError:  # the extra `kerberos` is not installed: nothing raises this error

    class GSSError(Exception):  # type: ignore[no-redef] # noqa: D101
        pass


if TYPE_CHECKING:
    from collections.abc import Iterator

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


class KerberosAuthenticator(SaslGSSAPIAuthenticator):  # type: ignore[misc]
    """Client side of GSSAPI to `principal`, `service@host`. The library's calls run in a thread."""

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """Return the next message, None at the end. Raises `TokenUnavailable`."""
        with ticket_errors():
            step: tuple[bytes, bool] | None = await super().step(payload)
            return step


@contextmanager
def ticket_errors() -> Iterator[None]:
    """Turn an error of the Kerberos library into `TokenUnavailable` with cause and remedy."""
    try:
        yield
    except GSSError as error:
        raise TokenUnavailable(f"no Kerberos ticket: {_message(error)}", _advice(error)) from None


def _message(error: GSSError) -> str:
    """Return the mechanism's text. The library keeps it for the thread that called it only."""
    _, _, text = str(error).partition(", Minor (")
    return text.partition("): ")[2] or str(error)


def _advice(error: GSSError) -> str:
    return _ADVICE.get(error.min_code - _ERROR_TABLE & 0xFFFFFFFF, _KEYTAB)
