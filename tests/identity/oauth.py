"""An OAuth 2.0 server for the tests: mock-oauth2-server, fetched from Maven Central once."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.child import Child, free_port
from tests.eventually import DEADLINE, eventually
from tests.jars import fetch

if TYPE_CHECKING:
    from types import TracebackType

POM = Path(__file__).with_name("pom.xml")
FOLDER = POM.parents[2] / ".identity"

ISSUER = "default"

AUDIENCE = "kafka"


class OAuthServer:
    """A server that issues tokens and publishes keys while the `async with` block runs.

    Its tokens are good for `life` seconds. It can be ended and started again on the same port.
    """

    def __init__(self, folder: Path, life: int = 3600) -> None:
        self._folder = folder
        self._port = free_port()
        self._life = life
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """The issuer URL."""
        return f"http://127.0.0.1:{self._port}/{ISSUER}"

    @property
    def token_url(self) -> str:
        """The token endpoint."""
        return f"{self.url}/token"

    @property
    def keys_url(self) -> str:
        """The JWKS URL."""
        return f"{self.url}/jwks"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    async def start(self) -> None:
        """Start the server and return when it answers."""
        jars = fetch(POM, FOLDER)
        claims = {"sub": "gateway", "aud": [AUDIENCE], "scope": AUDIENCE}
        mappings = [{"requestParam": "grant_type", "match": "*", "claims": claims}]
        callbacks = [{"issuerId": ISSUER, "tokenExpiry": self._life, "requestMappings": mappings}]
        config = {"interactiveLogin": False, "tokenCallbacks": callbacks}
        self._child = Child(
            [
                *("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m"),
                *("-cp", f"{jars}/*", "no.nav.security.mock.oauth2.StandaloneMockOAuth2ServerKt"),
            ],
            self._folder / "oauth.log",
            {
                **os.environ,
                "SERVER_HOSTNAME": "127.0.0.1",
                "SERVER_PORT": str(self._port),
                "JSON_CONFIG": json.dumps(config),
            },
        )
        await eventually("the OAuth server answers", self._is_up, 2 * DEADLINE)

    def end(self) -> None:
        """End the server."""
        if self._child is not None:
            self._child.end()

    async def _is_up(self) -> bool:
        assert self._child is not None
        if self._child.exit_code is not None:
            raise RuntimeError(f"the OAuth server did not start:\n{self._child.log()}")
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        writer.close()
        return True
