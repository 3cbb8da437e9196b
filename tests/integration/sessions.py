"""Streams of sessions that are revoked, and the answers that their tokens get."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp

from gateway.publisher import EventPublisher
from tests.client import StreamClient
from tests.eventually import eventually
from tests.integration.conftest import OpenStream
from tests.records import Topics
from tests.tokens import bearer, mint
from tests.worker import Worker

REVOKED = "security.session.revoked"


@asynccontextmanager
async def publishing(bootstrap: str, topics: Topics) -> AsyncIterator[EventPublisher]:
    async with EventPublisher(
        bootstrap,
        topic=topics.user,
        broadcast_topic=topics.broadcast,
        revocations_topic=topics.revocations,
    ) as publisher:
        yield publisher


async def answer(worker: Worker, token: str, http: aiohttp.ClientSession) -> tuple[int, object]:
    """Return how a request for a stream is answered, but for its id, and for a stream's text."""
    async with http.get(worker.events_url, headers=bearer(token)) as response:
        if response.status == 200:
            return 200, None
        problem = await response.json(content_type=None)
        del problem["request_id"]
        return response.status, problem


async def becomes(code: int, worker: Worker, token: str, http: aiohttp.ClientSession) -> None:
    answers: list[tuple[int, object]] = []

    async def so() -> bool:
        answers[:] = [await answer(worker, token, http)]
        return answers[0][0] == code

    try:
        await eventually(f"the token is answered by {code}", so)
    except AssertionError as error:
        raise AssertionError(f"{error}: {answers}") from None


class Open(NamedTuple):
    """A stream and the token that opened it."""

    client: StreamClient
    token: str


class Opener:
    """Opens streams of sessions."""

    def __init__(self, open_stream: OpenStream) -> None:
        self._open_stream = open_stream

    async def __call__(self, worker: Worker, user: str, session: str | None = None) -> Open:
        token = mint(user, sid=session)
        client = await self._open_stream(worker, user, token=token)
        return Open(client, token)
