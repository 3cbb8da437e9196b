"""Turns connection and read failures of Kafka into a cause and a remedy.

A wrong password or certificate surfaces as an exception with a TLS or Kafka protocol code. This
module maps each exception that a setting can cause to two short texts: the cause, and the setting
to change. `explain` opens a connection to find the cause of a request that has failed.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from gateway.kafka.client.cluster import ClusterClient
from gateway.kafka.client.connection import ForeignProtocolError
from gateway.kafka.client.shared_token import TokenUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PREFIX = "GATEWAY_KAFKA_"

_CA = f"set {_PREFIX}SSL_CAFILE to the certificate of the CA that signed the broker's"
_NAME = f"in {_PREFIX}BOOTSTRAP, name the broker as its certificate does"

_UNVERIFIED = {
    9: ("is not valid yet", "set this machine's clock, or the broker's"),
    10: (
        "has expired",
        f"renew it at the broker; if it is the CA that has expired, renew {_PREFIX}SSL_CAFILE",
    ),
    18: ("is self-signed", _CA),
    19: ("is signed by a CA that is not trusted here", _CA),
    20: ("is signed by a CA that is not trusted here", _CA),
    21: ("is signed by a CA that is not trusted here", _CA),
    62: ("is made out for another name", _NAME),
    64: ("is made out for another address", _NAME),
}
"""Meaning of OpenSSL's verification codes (`X509_V_ERR_…` in x509_vfy.h)."""

_CERTIFICATE = f"{_PREFIX}SSL_CERTFILE and {_PREFIX}SSL_KEYFILE"

_WANTED = ("wants a certificate of this client", f"set {_CERTIFICATE}")

_REFUSED = (
    "does not trust this client's certificate",
    f"set {_CERTIFICATE} to one that is still valid and whose CA the broker trusts",
)

_ALERTS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WANTED,
    # Java's TLS, hence every broker, sends this alert mainly for a missing client certificate.
    "SSLV3_ALERT_BAD_CERTIFICATE": _WANTED,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _REFUSED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _REFUSED,
    "TLSV1_ALERT_UNKNOWN_CA": _REFUSED,
}
"""TLS alerts (RFC 8446, §6.2) about this client's certificate, by OpenSSL's names."""


ADMIN_PROPERTIES = "admin.properties"
"""File with an administrator's login, if the brokers need one; not the gateway's login."""

ATTEMPT_SECONDS = 2.0
"""Timeout of each step; enough for a reachable broker, TLS and login included."""


class Diagnosis(NamedTuple):
    """A cause and its remedy; `str` joins both in one line."""

    found: str
    advice: str

    def __str__(self) -> str:
        return f"{self.found}; {self.advice}" if self.advice else self.found


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


def diagnose(error: BaseException, options: dict[str, Any]) -> Diagnosis:
    """Return cause and remedy of an exception of aiokafka, TLS or the network.

    `options` are those of `connection_options`. The most specific exception of the chain of causes
    is used.
    """
    chain = list(_chain(error))
    for cause in chain:
        diagnosis = (
            _of_login(cause, options) or _of_tls(cause, options) or _of_topic(cause, options)
        )
        if diagnosis is not None:
            return diagnosis
    servers = _servers(options)
    if any(isinstance(cause, ForeignProtocolError) for cause in chain):
        return Diagnosis(f"{servers} does not answer in Kafka's protocol", _protocol(options))
    if any(isinstance(cause, EOFError | ConnectionResetError) for cause in chain):
        return Diagnosis(
            f"{servers} closes the connection at the first request",
            _protocol(options),
        )
    if any(isinstance(cause, socket.gaierror) for cause in chain):
        return Diagnosis(
            f"a host name in {servers} cannot be resolved",
            f"correct {_PREFIX}BOOTSTRAP, or the DNS of this machine",
        )
    if isinstance(error, KafkaError) and not isinstance(error, KafkaConnectionError):
        return Diagnosis(f"Kafka refuses: {error}", "")
    return Diagnosis(
        f"no Kafka broker answers at {servers}", f"start it, or set {_PREFIX}BOOTSTRAP"
    )


def unreachable(addresses: Sequence[str]) -> Diagnosis:
    """Return the diagnosis of a cluster in which some brokers do not answer."""
    return Diagnosis(
        f"the cluster answers, but not its broker at {' and '.join(addresses)}",
        "start it; if it runs, see that its advertised.listeners can be reached from here",
    )


def slow(options: dict[str, Any]) -> Diagnosis:
    """Return the diagnosis of a timed-out request although all brokers answer now."""
    return Diagnosis(
        f"{_servers(options)} did not answer in time, and does now",
        "if that happens again, look for overload or a restart in the brokers' logs",
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _of_login(error: BaseException, options: dict[str, Any]) -> Diagnosis | None:
    servers = _servers(options)
    mechanism = options.get("sasl_mechanism")
    if isinstance(error, TokenUnavailable):
        return Diagnosis(error.found, error.advice)
    if mechanism == "OAUTHBEARER" and isinstance(
        error, SaslAuthenticationFailed | IllegalSaslStateError | EOFError
    ):
        reason = f": {error}" if isinstance(error, SaslAuthenticationFailed) else ""
        return Diagnosis(
            f"{servers} refuses the token of this client ({mechanism}){reason}",
            f"set {_PREFIX}SASL_OAUTHBEARER_SCOPE, _CLIENT_ID and _TOKEN_ENDPOINT_URL so that its"
            " issuer, audience and signature match the settings of the brokers",
        )
    if mechanism == "GSSAPI" and isinstance(error, SaslAuthenticationFailed):
        return Diagnosis(
            f"{servers} refuses the Kerberos ticket of this client",
            f"see that their keytab has the current key of the principal that"
            f" {_PREFIX}SASL_KERBEROS_SERVICE_NAME and _DOMAIN_NAME say, and that the clocks agree",
        )
    if isinstance(error, SaslAuthenticationFailed):
        return Diagnosis(
            f"{servers} refuses the login of {options.get('sasl_plain_username')} ({mechanism})",
            f"set {_PREFIX}SASL_USERNAME and {_PREFIX}SASL_PASSWORD to those of the brokers",
        )
    if isinstance(error, UnsupportedSaslMechanismError):
        return Diagnosis(
            f"{servers} does not accept the SASL mechanism {mechanism}",
            f"set {_PREFIX}SASL_MECHANISM to one that the brokers have enabled",
        )
    if isinstance(error, IllegalSaslStateError):
        return Diagnosis(
            f"{servers} does not accept SASL",
            f"set {_PREFIX}SECURITY_PROTOCOL without SASL, or the port of a listener with it",
        )
    return None


def _of_tls(error: BaseException, options: dict[str, Any]) -> Diagnosis | None:
    if not isinstance(error, ssl.SSLError):
        return None
    servers = _servers(options)
    if isinstance(error, ssl.SSLCertVerificationError):
        found, advice = _UNVERIFIED.get(
            error.verify_code, (f"cannot be verified: {error.verify_message}", _CA)
        )
        return Diagnosis(f"the certificate of {servers} {found}", advice)
    if error.reason in _ALERTS:
        found, advice = _ALERTS[error.reason]
        return Diagnosis(f"{servers} {found}", advice)
    return Diagnosis(
        f"{servers} does not speak TLS as this client does: {error.reason or error}",
        f"set {_PREFIX}SECURITY_PROTOCOL to the protocol of the listener at that port",
    )


def _of_topic(error: BaseException, options: dict[str, Any]) -> Diagnosis | None:
    if not isinstance(error, TopicAuthorizationFailedError):
        return None
    [topic] = error.args or ["(not named)"]
    return missing_right("Read", str(topic), options)


def missing_right(right: str, topic: str, options: Mapping[str, Any]) -> Diagnosis:
    """Return cause and remedy of a missing ACL of this client on a topic.

    The remedy is a command that grants Write if `right` is Write, otherwise Read, which implies
    Describe: reading needs both.
    """
    operation = "Write" if right == "Write" else "Read"
    user = options.get("sasl_plain_username") or "NAME"
    words = f"--add --allow-principal User:{user} --operation {operation} --topic {topic}"
    command = tool_command("kafka-acls", options, words)
    return Diagnosis(f"no right {right} on topic {topic}", f"give it with: {command}")


def _protocol(options: dict[str, Any]) -> str:
    return (
        f"set {_PREFIX}SECURITY_PROTOCOL to the protocol of the listener at that port, which does"
        f" not seem to be {options.get('security_protocol', 'PLAINTEXT')}"
    )


def _servers(options: dict[str, Any]) -> str:
    return ", ".join(options["bootstrap_servers"])


def tool_command(tool: str, options: Mapping[str, Any], words: str) -> str:
    """Return the line that runs `tool` (without `.sh`) with `words` on the brokers.

    `options` are those of `connection_options`. For brokers with TLS or a login the line has
    `--command-config`, because the tools need the administrator's login.
    """
    servers = ",".join(options["bootstrap_servers"])
    secured = options.get("security_protocol", "PLAINTEXT") != "PLAINTEXT"
    login = f" --command-config {ADMIN_PROPERTIES}" if secured else ""
    return f"{tool}.sh --bootstrap-server {servers}{login} {words}"


def config_command(topic: str, config: str, options: Mapping[str, Any]) -> str:
    """Return the line that sets `config` (`name=value`) on a topic."""
    words = f"--alter --entity-type topics --entity-name {topic} --add-config {config}"
    return tool_command("kafka-configs", options, words)


def describe_command(topic: str, options: Mapping[str, Any]) -> str:
    """Return the line that prints the leader of each partition of a topic."""
    return tool_command("kafka-topics", options, f"--describe --topic {topic}")
