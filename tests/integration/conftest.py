"""Fixtures of the suite that goes through the program's own door: a worker, its users, its clients.

Tests that need no settings of their own share one worker for each broker. They do not meet: each
has its own user. Broadcasts reach every stream, so only tests with their own topics count
them.
"""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol

import pytest
import pytest_asyncio

from tests.client import StreamClient
from tests.shared import sharing
from tests.tokens import mint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

    from tests.client import Params
    from tests.conftest import Broker
    from tests.records import RecordWriter
    from tests.shared import Shared
    from tests.worker import Worker


class OpenStream(Protocol):
    """Opens a stream of the user and ends it with the test."""

    def __call__(
        self,
        worker: Worker,
        user: str,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        token: str | None = None,
    ) -> Awaitable[StreamClient]: ...


class Witness:
    """A stream that tells how far its worker has read a topic of one partition.

    Records that a worker reads after a client resumes reach the client live, so tests of memory and
    replay wait for their witness first.
    """

    def __init__(self, client: StreamClient, user: str, write: RecordWriter) -> None:
        self._client = client
        self._user = user
        self._write = write

    async def has_seen_everything(self) -> None:
        """Return when the worker has read all that was written before this call."""
        await self._write.event(self._user)
        await self._client.wait_for(len(self._client.events) + 1)


class CallWitness(Protocol):
    """Opens a stream that is a witness, and returns when it follows the topic."""

    def __call__(self, worker: Worker, write: RecordWriter) -> Awaitable[Witness]: ...


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shared]:
    """The shared worker: every setting has its default."""
    async with sharing(broker, tmp_path_factory.mktemp("worker")) as made:
        yield made


@pytest.fixture
def user() -> str:
    return new_user()


def new_user() -> str:
    """Return a unique user id."""
    return f"user-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def open_stream() -> AsyncIterator[OpenStream]:
    async with AsyncExitStack() as clients:

        async def open_one(
            worker: Worker,
            user: str,
            params: Params | None = None,
            headers: Mapping[str, str] | None = None,
            *,
            token: str | None = None,
        ) -> StreamClient:
            client = StreamClient(worker.events_url, token or mint(user))
            await clients.enter_async_context(client)
            await client.connect(params, headers)
            assert client.status == 200
            return client

        yield open_one


@pytest.fixture
def witness(open_stream: OpenStream) -> CallWitness:
    async def call(worker: Worker, write: RecordWriter) -> Witness:
        name = new_user()
        client = await open_stream(worker, name)
        await client.wait_for(lambda client: client.last_event_id)
        return Witness(client, name, write)

    return call
