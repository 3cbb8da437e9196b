"""The OAuth 2.0 server at which workers get tokens for Kafka."""

from __future__ import annotations

from pathlib import Path

from tests.identity.provider import Provider

ISSUER = "default"

AUDIENCE = "kafka"


class OAuthServer(Provider):
    """A provider of one issuer; it can be ended and started again on the same port."""

    def __init__(self, folder: Path, life: int = 3600) -> None:
        claims = {"sub": "gateway", "aud": [AUDIENCE], "scope": AUDIENCE}
        super().__init__(folder, {ISSUER: claims}, life)
        self.url = self.issuer(ISSUER)
        self.token_url = f"{self.url}/token"
        self.keys_url = f"{self.url}/jwks"
