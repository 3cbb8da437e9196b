"""A Kafka node with authentication: one listener for each security protocol.

The plain listener stays, for the test's own clients: they are super users. Every other one is for
workers. ACLs are checked, and every user has access to a topic that no rule names.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from pathlib import Path

from aiokafka.conn import create_conn
from aiokafka.protocol.admin import CreateAclsRequest

from tests.brokers.authority import DAY, Authority, Pair
from tests.brokers.kafka import KafkaNode
from tests.child import free_port

USER = "gateway-user"
PASSWORD = "right-password"

_TOPIC, _LITERAL, _ALLOW = 2, 3, 3
"""Codes of Kafka's protocol: resource type, pattern type, permission."""


class Listener(StrEnum):
    """Listeners by security protocol."""

    TLS = "TLS"
    MUTUAL = "MUTUAL"
    EXPIRED = "EXPIRED"
    PLAIN = "PLAIN"
    SCRAM = "SCRAM"


class Operation(IntEnum):
    """Operations of an ACL, by Kafka's codes."""

    READ = 3
    WRITE = 4
    DESCRIBE = 8


_PROTOCOLS = {
    Listener.TLS: "SSL",
    Listener.MUTUAL: "SSL",
    Listener.EXPIRED: "SSL",
    Listener.PLAIN: "SASL_PLAINTEXT",
    Listener.SCRAM: "SASL_SSL",
}


class SecureNode(KafkaNode):
    """A node with every kind of listener and certificates of an authority."""

    def __init__(self, folder: Path, authority: Authority, **properties: object) -> None:
        self._ports: dict[str, int] = {listener: free_port() for listener in Listener}
        self._controller = free_port()
        port = free_port()
        super().__init__(
            folder,
            port=port,
            voters={1: self._controller},
            properties={**self._security(port, authority), **properties},
        )

    def address(self, listener: Listener) -> str:
        """Return the `host:port` of a listener."""
        return f"127.0.0.1:{self._ports[listener]}"

    async def allow(self, topic: str, principal: str, operation: Operation) -> None:
        """Add an ACL for the topic; users without one are denied from then on."""
        host, port = self.bootstrap.split(":")
        connection = await create_conn(host, int(port))
        try:
            answer = await connection.send(
                CreateAclsRequest(_TOPIC, topic, _LITERAL, principal, "*", operation, _ALLOW)
            )
        finally:
            await connection.close()
        assert "error_code=0" in str(answer), answer

    def _format_options(self) -> list[str]:
        return ["--add-scram", f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"]

    def _security(self, port: int, authority: Authority) -> dict[str, object]:
        ports = {"PLAINTEXT": port, **self._ports}
        addresses = ",".join(f"{name}://127.0.0.1:{at}" for name, at in ports.items())
        protocols = ",".join(f"{name}:{protocol}" for name, protocol in _PROTOCOLS.items())
        plain, scram = (
            f"org.apache.kafka.common.security.{name}LoginModule required"
            for name in ("plain.Plain", "scram.Scram")
        )
        return {
            "listeners": f"{addresses},CONTROLLER://127.0.0.1:{self._controller}",
            "advertised.listeners": addresses,
            "listener.security.protocol.map": (
                f"CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,{protocols}"
            ),
            "inter.broker.listener.name": "PLAINTEXT",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "true",
            **stores("", authority.pair("broker"), authority),
            **stores("listener.name.expired.", authority.pair("expired", -DAY), authority),
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.plain.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.plain.plain.sasl.jaas.config": f'{plain} user_{USER}="{PASSWORD}";',
            "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.scram.scram-sha-512.sasl.jaas.config": f"{scram};",
        }


def stores(prefix: str, pair: Pair, authority: Authority) -> dict[str, object]:
    """Return the certificate settings of a listener and of the CA for clients."""
    store = pair.certificate.with_suffix(".store.pem")
    store.write_text(pair.key.read_text() + pair.certificate.read_text())
    return {
        f"{prefix}ssl.keystore.type": "PEM",
        f"{prefix}ssl.keystore.location": store,
        f"{prefix}ssl.truststore.type": "PEM",
        f"{prefix}ssl.truststore.location": authority.certificate,
    }
