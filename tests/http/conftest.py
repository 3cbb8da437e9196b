from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.http.transport.tls import Certificate
from tests.http.certificates import Files
from tests.http.raw_client import RawClient, connected
from tests.http.served import Served, serving


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """The public listener, ready, with default settings; a module may have its own."""
    async with serving() as it:
        yield it


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """The files of a certificate."""
    return Files(tmp_path)


@pytest.fixture
def certificate(files: Files) -> Certificate:
    return Certificate(files.certfile, files.keyfile)


@pytest.fixture
async def client(served: Served) -> AsyncIterator[RawClient]:
    """A connection to `served`."""
    async with connected(served.port) as it:
        yield it


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Callable[[], None]:
    """A check that nothing was logged at WARNING or above."""

    def check() -> None:
        loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert [record.getMessage() for record in loud] == []

    return check
