"""A Kafka node with a listener that accepts Kerberos tickets and limits the login's lifetime."""

from __future__ import annotations

from pathlib import Path

from tests.brokers.kafka import KafkaNode, with_listener
from tests.identity.kerberos import REALM, Realm


class KerberosNode(KafkaNode):
    """A node whose listener `kerberos` is the service `kafka/localhost` of a realm.

    A login is good for `login_ms`. `user` may do everything there, others nothing. On the plain
    listener everyone may.
    """

    def __init__(self, folder: Path, realm: Realm, login_ms: int, user: str) -> None:
        self._realm = realm
        principal = "kafka/localhost"
        keytab = realm.add(principal)
        second = with_listener(
            "kerberos",
            "localhost",
            "SASL_PLAINTEXT",
            {
                "sasl.enabled.mechanisms": "GSSAPI",
                "gssapi.connections.max.reauth.ms": login_ms,
                "gssapi.sasl.jaas.config": (
                    "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true"
                    f' storeKey=true keyTab="{keytab}" principal="{principal}@{REALM}";'
                ),
            },
        )
        self.kerberos_bootstrap = second.bootstrap
        """The `host:port` of the listener that accepts tickets."""
        super().__init__(
            folder,
            port=second.port,
            voters=second.voters,
            properties={
                **second.properties,
                "sasl.kerberos.service.name": "kafka",
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": f"User:ANONYMOUS;User:{user}",
            },
        )

    def _java(self, jars: Path) -> list[str]:
        java, *rest = super()._java(jars)
        return [java, f"-Djava.security.krb5.conf={self._realm.config}", *rest]
