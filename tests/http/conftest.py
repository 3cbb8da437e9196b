from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.http.raw_client import RawClient, connected
from tests.http.served import Served, serving


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """The public listener, ready, with default settings; a module may have its own."""
    async with serving() as it:
        yield it


@pytest.fixture
async def client(served: Served) -> AsyncIterator[RawClient]:
    """A connection to `served`."""
    async with connected(served.port) as it:
        yield it
