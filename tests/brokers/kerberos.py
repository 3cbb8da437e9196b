"""A Kafka node with a listener that accepts Kerberos tickets and limits the login's lifetime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.brokers.kafka import KafkaNode
from tests.child import free_port
from tests.identity.kerberos import REALM

if TYPE_CHECKING:
    from pathlib import Path

    from tests.identity.kerberos import Realm


class KerberosNode(KafkaNode):
    """A node whose listener `kerberos` is the service `kafka/localhost` of a realm.

    A login is good for `login_ms`. `user` may do everything there, others nothing. On the plain
    listener everyone may.
    """

    def __init__(self, folder: Path, realm: Realm, login_ms: int, user: str) -> None:
        self._realm = realm
        port, controller, self._kerberos_port = free_port(), free_port(), free_port()
        addresses = f"PLAINTEXT://127.0.0.1:{port},KERBEROS://localhost:{self._kerberos_port}"
        principal = "kafka/localhost"
        keytab = realm.add(principal)
        prefix = "listener.name.kerberos"
        super().__init__(
            folder,
            port=port,
            voters={1: controller},
            properties={
                "listeners": f"{addresses},CONTROLLER://127.0.0.1:{controller}",
                "advertised.listeners": addresses,
                "listener.security.protocol.map": (
                    "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,KERBEROS:SASL_PLAINTEXT"
                ),
                "inter.broker.listener.name": "PLAINTEXT",
                "sasl.kerberos.service.name": "kafka",
                f"{prefix}.sasl.enabled.mechanisms": "GSSAPI",
                f"{prefix}.gssapi.connections.max.reauth.ms": login_ms,
                f"{prefix}.gssapi.sasl.jaas.config": (
                    "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true"
                    f' storeKey=true keyTab="{keytab}" principal="{principal}@{REALM}";'
                ),
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": f"User:ANONYMOUS;User:{user}",
            },
        )

    @property
    def kerberos_bootstrap(self) -> str:
        """The `host:port` of the listener that accepts tickets."""
        return f"localhost:{self._kerberos_port}"

    def _java(self, jars: Path) -> list[str]:
        java, *rest = super()._java(jars)
        return [java, f"-Djava.security.krb5.conf={self._realm.config}", *rest]
