"""Cost of opening a stream by signature algorithm, and with TLS, apart from the handshake.

Each client opens a stream twice: with a token that the worker has not seen, whose signature it
verifies, and again with the same token, as a client that reconnects.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.http.certificates import Files
from tests.issuer import SigningKey
from tests.tokens import mint
from tests.tools.bench.figures import Quantity, Sample
from tests.tools.bench.ground import Ground
from tests.tools.bench.helper import Helper, helper
from tests.tools.bench.openings import CONNECT, LEAVE, OPEN
from tests.tools.bench.process import cpu_seconds
from tests.tools.bench.server import Server

SETTLE_SECONDS = 0.3
"""Time for work that a step leaves, before the CPU is read."""


class Variant(NamedTuple):
    """A signature algorithm of the tokens, and whether clients connect with TLS."""

    algorithm: str = "HS256"
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.algorithm}{' and TLS' if self.tls else ''}"

    @property
    def new(self) -> Quantity:
        """Opening a stream with a token whose signature has to be verified."""
        return Quantity(f"{self}, new token: CPU", "µs")

    @property
    def known(self) -> Quantity:
        """Opening a stream with a token that was verified before."""
        return Quantity(f"{self}, known token: CPU", "µs")


HANDSHAKE = Quantity("TLS handshake: CPU", "µs")

MOST = Quantity("known token, most of these: CPU", "µs")

VARIANTS = (Variant(), Variant("RS256"), Variant("ES256"), Variant(tls=True))


@dataclass(frozen=True)
class Opening:
    """A number of streams, opened `rounds` times with known tokens; the least cost counts."""

    streams: int
    rounds: int = 3

    @property
    def title(self) -> str:
        return f"{self.streams:,} streams open with tokens of three algorithms, and with TLS"

    async def measure(self, ground: Ground) -> Sample:
        """Measure each variant with a new worker."""
        sample: Sample = {}
        for variant in VARIANTS:
            sample |= await self._measure(ground, variant)
        return {**sample, MOST: max(sample[variant.known] for variant in VARIANTS)}

    async def _measure(self, ground: Ground, variant: Variant) -> Sample:
        tokens, settings = tokens_of(self.streams, ground.folder, variant.algorithm)
        if variant.tls:
            files = Files(ground.folder)
            settings["GATEWAY_TLS_CERTFILE"] = str(files.certfile)
            settings["GATEWAY_TLS_KEYFILE"] = str(files.keyfile)
        tls = "tls" if variant.tls else "plain"
        async with (
            ground.worker(await ground.topics(), **settings) as server,
            helper("openings", server.port, tokens, tls) as clients,
        ):
            first = await self._open(server, clients)
            rounds = [await self._open(server, clients) for _ in range(self.rounds)]
        sample = {variant.new: first[1], variant.known: min(cost for _, cost in rounds)}
        if variant.tls:
            sample[HANDSHAKE] = min(cost for cost, _ in rounds)
        return sample

    async def _open(self, server: Server, clients: Helper) -> tuple[float, float]:
        """Return the cost of a connection and of an opening, in µs."""
        costs = [await self._step(server, clients, step) for step in (CONNECT, OPEN)]
        await self._step(server, clients, LEAVE)
        return costs[0], costs[1]

    async def _step(self, server: Server, clients: Helper, step: str) -> float:
        before = cpu_seconds(server.pid)
        await clients.ask(step, int)
        await asyncio.sleep(SETTLE_SECONDS)
        return (cpu_seconds(server.pid) - before) / self.streams * 1e6


def tokens_of(
    streams: int, folder: Path, algorithm: str = "HS256"
) -> tuple[Path, dict[str, str | None]]:
    """Return a file with a token for each stream, and the settings of its worker."""
    users = [f"user-{number}" for number in range(streams)]
    path = folder / "tokens.txt"
    settings: dict[str, str | None] = {}
    if algorithm == "HS256":
        minted = [mint(user) for user in users]
    else:
        key, public = SigningKey(algorithm), folder / "public.pem"
        public.write_bytes(key.public_pem)
        settings = {
            "GATEWAY_JWT_SECRET": None,
            "GATEWAY_JWT_PUBLIC_KEY_FILE": str(public),
            "GATEWAY_JWT_ALGORITHMS": algorithm,
        }
        minted = [key.mint(user) for user in users]
    path.write_text("\n".join(minted))
    return path, settings
