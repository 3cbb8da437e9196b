"""A real OpenID provider for the tests: mock-oauth2-server, fetched from Maven Central once.

One process serves any number of issuers, each with a discovery document, keys and a token endpoint
below its name.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import aiohttp

from tests.child import Child, Service, free_port
from tests.eventually import DEADLINE, eventually
from tests.jars import fetch

POM = Path(__file__).with_name("pom.xml")
FOLDER = POM.parents[2] / ".identity"

MAIN = "no.nav.security.mock.oauth2.StandaloneMockOAuth2ServerKt"


class Provider(Service):
    """The provider, running while the `async with` block runs.

    `claims` are those of each issuer's tokens, besides the times; `sub` is the client's name unless
    they have one. Tokens are good for `life` seconds.
    """

    def __init__(self, folder: Path, claims: dict[str, dict[str, Any]], life: int = 3600) -> None:
        self._folder = folder
        self._claims = claims
        self._port = free_port()
        self._life = life

    def issuer(self, name: str) -> str:
        return f"http://127.0.0.1:{self._port}/{name}"

    async def token(self, name: str, client: str) -> str:
        """Return an access token of an issuer, by the grant `client_credentials`."""
        form = {
            "grant_type": "client_credentials",
            "client_id": client,
            "client_secret": "any",
            "scope": "any",
        }
        url = f"{self.issuer(name)}/token"
        async with aiohttp.ClientSession() as http, http.post(url, data=form) as response:
            assert response.status == 200, await response.text()
            return str((await response.json())["access_token"])

    async def start(self) -> None:
        jars = fetch(POM, FOLDER)
        config = self._folder / "config.json"
        callbacks = [
            {
                "issuerId": name,
                "tokenExpiry": self._life,
                "requestMappings": [
                    {
                        "requestParam": "grant_type",
                        "match": "*",
                        "claims": {"sub": "${clientId}", **claims},
                    }
                ],
            }
            for name, claims in self._claims.items()
        ]
        config.write_text(json.dumps({"interactiveLogin": False, "tokenCallbacks": callbacks}))
        self.child = Child(
            [
                *("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx128m"),
                *("-cp", str(jars / "*"), MAIN),
            ],
            self._folder / "provider.log",
            {
                **os.environ,
                "SERVER_HOSTNAME": "127.0.0.1",
                "SERVER_PORT": str(self._port),
                "JSON_CONFIG_PATH": str(config),
            },
        )
        url = f"{self.issuer(next(iter(self._claims)))}/.well-known/openid-configuration"

        async def answers() -> bool:
            self.expect_alive()
            try:
                async with aiohttp.ClientSession() as http, http.get(url) as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        await eventually("the identity provider answers", answers, 2 * DEADLINE)
