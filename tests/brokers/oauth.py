"""A Kafka node with a TLS listener that accepts OAuth tokens and limits the login's lifetime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.brokers.kafka import KafkaNode
from tests.brokers.secure import stores
from tests.child import free_port
from tests.identity.oauth import AUDIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.brokers.authority import Authority
    from tests.identity.oauth import OAuthServer

_OAUTH = "org.apache.kafka.common.security.oauthbearer"


class OAuthNode(KafkaNode):
    """A node whose listener `oauth` validates tokens with the keys of `server`.

    A login is good for `login_ms`, or for the rest of the token's life if that is less.
    """

    def __init__(
        self, folder: Path, server: OAuthServer, authority: Authority, login_ms: int
    ) -> None:
        self._keys_url = server.keys_url
        port, controller, self._oauth_port = free_port(), free_port(), free_port()
        addresses = f"PLAINTEXT://127.0.0.1:{port},OAUTH://127.0.0.1:{self._oauth_port}"
        prefix = "listener.name.oauth"
        super().__init__(
            folder,
            port=port,
            voters={1: controller},
            properties={
                "listeners": f"{addresses},CONTROLLER://127.0.0.1:{controller}",
                "advertised.listeners": addresses,
                "listener.security.protocol.map": (
                    "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,OAUTH:SASL_SSL"
                ),
                "inter.broker.listener.name": "PLAINTEXT",
                **stores(f"{prefix}.", authority.pair("broker"), authority),
                f"{prefix}.sasl.enabled.mechanisms": "OAUTHBEARER",
                f"{prefix}.oauthbearer.sasl.jaas.config": (
                    f"{_OAUTH}.OAuthBearerLoginModule required;"
                ),
                f"{prefix}.oauthbearer.sasl.server.callback.handler.class": (
                    f"{_OAUTH}.OAuthBearerValidatorCallbackHandler"
                ),
                f"{prefix}.oauthbearer.connections.max.reauth.ms": login_ms,
                f"{prefix}.sasl.oauthbearer.jwks.endpoint.url": self._keys_url,
                f"{prefix}.sasl.oauthbearer.expected.audience": AUDIENCE,
            },
        )

    @property
    def oauth_bootstrap(self) -> str:
        """The `host:port` of the listener that accepts tokens."""
        return f"127.0.0.1:{self._oauth_port}"

    def _java(self, jars: Path) -> list[str]:
        allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self._keys_url}"
        return [*super()._java(jars)[:1], allowed, *super()._java(jars)[1:]]
