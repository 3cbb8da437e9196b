"""The packages of npm that the tests take."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.programs import require
from tests.writers.fetched import node_modules

SOURCES = Path(__file__).parent


async def packages() -> Path:
    """Return the folder `node_modules`; skip the test if Node is not installed."""
    require("node", "npm", in_ci=False)
    return await asyncio.to_thread(node_modules, SOURCES)
