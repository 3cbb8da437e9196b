"""Fixtures of the suite that goes through the program's own door: a worker, its users, its clients.

Tests that need no settings of their own share one worker for each broker. They do not meet: each
has its own user. Broadcasts reach every stream, so only tests with their own topics count
them.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Protocol

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from tests.client import Params, StreamClient
from tests.conftest import PARTITIONS, Broker, MakeTopics, StartWorker
from tests.eventually import DEADLINE
from tests.records import RecordWriter, Topics
from tests.shared import Shared, sharing
from tests.tokens import mint
from tests.worker import Worker


class OpenStream(Protocol):
    """Opens a stream of the user and ends it with the test.

    Returns when the stream has its first id, so it gets every event that is written afterwards;
    with `started=False` it returns with the head of the response.
    """

    def __call__(
        self,
        worker: Worker,
        user: str,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        token: str | None = None,
        started: bool = True,
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
        self._calls = 0

    async def has_seen_everything(self) -> None:
        """Return when the worker has read all that was written before this call."""
        self._calls += 1
        await self._write.numbered(self._user, [self._calls])
        await self._client.wait_for(lambda client: f'{{"n":{self._calls}}}' in client.data)


class Stage:
    """A worker with topics of its own, which `write` writes to."""

    def __init__(
        self,
        topics: Topics,
        write: RecordWriter,
        start_worker: StartWorker,
        open_stream: OpenStream,
    ) -> None:
        self.topics = topics
        self.write = write
        self.worker: Worker
        """The first worker that was started."""
        self._start_worker = start_worker
        self._open_stream = open_stream

    async def start(self, **settings: Any) -> Worker:
        """Return another worker that serves the same topics."""
        return await self._start_worker(self.topics, **settings)

    async def open(self, user: str, *arguments: Any, **options: Any) -> StreamClient:
        """Return an open stream of the first worker; arguments are those of `OpenStream`."""
        return await self._open_stream(self.worker, user, *arguments, **options)

    async def witness(self) -> Witness:
        """Return a stream that tells how far the first worker has read the topic."""
        name = new_user()
        return Witness(await self.open(name), name, self.write)


class SetUp(Protocol):
    """Starts a worker with settings on new topics: so many partitions, and other topics."""

    def __call__(
        self,
        partitions: int = PARTITIONS,
        *,
        revocations: int = 0,
        workers: int = 0,
        **settings: object,
    ) -> Awaitable[Stage]: ...


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
            started: bool = True,
        ) -> StreamClient:
            client = StreamClient(worker.events_url, token or mint(user))
            await clients.enter_async_context(client)
            await client.connect(params, headers)
            assert client.status == 200
            if started:
                await client.wait_for(lambda client: client.last_event_id or not client.is_open)
            return client

        yield open_one


async def open_expiring(
    open_stream: OpenStream, worker: Worker, user: str, mint: Callable[..., str] = mint
) -> tuple[StreamClient, str]:
    """Return a stream whose token expires soon, and the token.

    It lives for 2 s, or longer where the request for the stream takes as long as that.
    """
    seconds = 2
    while True:
        token = mint(user, lifetime=seconds)
        begin = time.monotonic()
        try:
            return await open_stream(worker, user, token=token), token
        except AssertionError:
            if time.monotonic() < begin + seconds or seconds > DEADLINE:
                raise
        seconds *= 2


@pytest.fixture
def set_up(
    topics: MakeTopics,
    producer: AIOKafkaProducer,
    start_worker: StartWorker,
    open_stream: OpenStream,
) -> SetUp:
    async def set_up(
        partitions: int = PARTITIONS, *, revocations: int = 0, workers: int = 0, **settings: object
    ) -> Stage:
        made = await topics(partitions, revocations=revocations, workers=workers)
        stage = Stage(made, RecordWriter(producer, made), start_worker, open_stream)
        stage.worker = await stage.start(**settings)
        return stage

    return set_up
