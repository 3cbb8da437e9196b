"""A Kafka node with a TLS listener that accepts OAuth tokens and limits the login's lifetime."""

from __future__ import annotations

from pathlib import Path

from tests.brokers.authority import Authority
from tests.brokers.kafka import KafkaNode, with_listener
from tests.brokers.secure import stores
from tests.identity.oauth import AUDIENCE, OAuthServer

_OAUTH = "org.apache.kafka.common.security.oauthbearer"


class OAuthNode(KafkaNode):
    """A node whose listener `oauth` validates tokens with the keys of `server`.

    A login is good for `login_ms`, or for the rest of the token's life if that is less.
    """

    def __init__(
        self, folder: Path, server: OAuthServer, authority: Authority, login_ms: int
    ) -> None:
        self._keys_url = server.keys_url
        second = with_listener(
            "oauth",
            "127.0.0.1",
            "SASL_SSL",
            {
                **stores("", authority.pair("broker"), authority),
                "sasl.enabled.mechanisms": "OAUTHBEARER",
                "oauthbearer.sasl.jaas.config": f"{_OAUTH}.OAuthBearerLoginModule required;",
                "oauthbearer.sasl.server.callback.handler.class": (
                    f"{_OAUTH}.OAuthBearerValidatorCallbackHandler"
                ),
                "oauthbearer.connections.max.reauth.ms": login_ms,
                "sasl.oauthbearer.jwks.endpoint.url": self._keys_url,
                "sasl.oauthbearer.expected.audience": AUDIENCE,
            },
        )
        self.oauth_bootstrap = second.bootstrap
        """The `host:port` of the listener that accepts tokens."""
        super().__init__(
            folder, port=second.port, voters=second.voters, properties=second.properties
        )

    def _java(self, jars: Path) -> list[str]:
        allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self._keys_url}"
        return [*super()._java(jars)[:1], allowed, *super()._java(jars)[1:]]
