"""Clients that people have, each on a live worker behind a network that fails.

All clients run the same scenario. They begin with an invalid id and get a gap; they get their
categories only; a heartbeat is not an event for them; their token expires, and they reconnect with
another one; the connection breaks in the middle of an event, and they miss and repeat nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.client import EventStream
from tests.child import Child
from tests.clients import programs
from tests.clients.iterating import opened, until
from tests.clients.programs import Prepare
from tests.eventually import eventually
from tests.records import TYPE, RecordWriter
from tests.relay import Relay
from tests.tokens import mint
from tests.worker import Worker

pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True, scope="session")

TOKEN_SECONDS = 3.0
"""How long the first token lives, which is a fresh one until a client has connected with it."""

TOKEN_EXPIRED = {"reason": "token_expired"}


class Token:
    """A file that has a whole token at any time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next = path.with_name("next")

    def set(self, token: str) -> None:
        self._next.write_text(token)
        self._next.replace(self.path)


class Reader:
    """A client in its own process, and its output so far."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def told(self, event_type: str) -> list[Any]:
        """Return the payloads of the events of this type."""
        return [line["data"] for line in self._lines() if line["type"] == event_type]

    def types(self) -> set[str]:
        return {line["type"] for line in self._lines()}

    @property
    def numbers(self) -> list[int]:
        return [data["n"] for data in self.told(TYPE)]

    async def has_numbers(self, count: int) -> None:
        """Return when it has told the events from 0 on, each once; there are so many."""
        await self.has_told(count)
        assert self.numbers == list(range(count))

    async def has_told(self, count: int, event_type: str = TYPE) -> None:
        """Return when it has told so many events of this type."""

        async def all_told() -> bool:
            assert self._child.exit_code is None, self._child.log()
            return len(self.told(event_type)) >= count

        await eventually(f"{count} of {event_type} are told", all_told)

    def _lines(self) -> list[dict[str, Any]]:
        whole, _, _ = self._child.log().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines() if line.startswith('{"type"')]


@contextmanager
def reading(
    prepare: Prepare,
    relay: Relay,
    token: Path,
    folder: Path,
    event_id: str = "unreadable",
    query: str = "",
) -> Iterator[Reader]:
    url = f"{relay.url}/api/v1/events?categories=portfolio{query}"
    child = Child([*prepare(), url, str(token), event_id], folder / "output")
    try:
        yield Reader(child)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{child.log()}") from None
    finally:
        child.end()


async def hears(relay: Relay, words: bytes, meanwhile: Callable[[], None] | None = None) -> None:
    """Return when the worker has said the words on the present connection."""

    async def said() -> bool:
        if meanwhile is not None:
            meanwhile()
        return words in relay.heard

    await eventually(f"{words!r} comes from the worker", said)


@pytest.mark.parametrize(
    "prepare",
    [
        programs.gateway_client,
        programs.httpx_sse,
        programs.aiohttp_sse_client2,
        programs.go_sse,
        programs.okhttp,
        programs.jdk,
        programs.curl,
    ],
    ids=lambda prepare: prepare.__name__,
)
async def test_a_client_gets_every_event_once_whatever_happens(
    prepare: Prepare, relay: Relay, write: RecordWriter, user: str, tmp_path: Path
) -> None:
    token = Token(tmp_path / "token")
    token.set(mint(user, lifetime=TOKEN_SECONDS))
    with reading(prepare, relay, token.path, tmp_path) as reader:
        await hears(relay, b"stream.gap", lambda: token.set(mint(user, lifetime=TOKEN_SECONDS)))
        token.set(mint(user))
        await write.event(user, "import.started", b'{"not": "asked for"}')
        await write.numbered(user, range(5))
        await reader.has_numbers(5)
        assert [data["reason"] for data in reader.told("stream.gap")] == ["invalid"]
        await hears(relay, b": heartbeat")

        await reader.has_told(1, "stream.close")
        await write.numbered(user, range(5, 10))
        await reader.has_numbers(10)
        assert reader.told("stream.close") == [TOKEN_EXPIRED]

        relay.cut_behind(b'data: {"n":12')
        await write.numbered(user, range(10, 45))
        await reader.has_numbers(45)
        assert reader.types() == {"stream.gap", TYPE, "stream.close"}


async def test_r3labs_delivers_a_truncated_event_as_complete(
    relay: Relay, write: RecordWriter, user: str, tmp_path: Path
) -> None:
    token = Token(tmp_path / "token")
    token.set(mint(user))
    with reading(programs.r3labs, relay, token.path, tmp_path) as reader:
        await hears(relay, b"stream.gap")
        await write.numbered(user, range(5))
        await reader.has_numbers(5)

        relay.cut_behind(b"\ndata: ")
        await write.numbered(user, range(5, 40))
        await reader.has_told(39)
        assert reader.numbers == [*range(5), *range(6, 40)]


@pytest.mark.parametrize(
    ("prepare", "since", "begin"),
    [
        (programs.httpx_sse, False, 0),
        (programs.go_sse, False, 0),
        (programs.aiohttp_sse_client2, False, 5),
        (programs.aiohttp_sse_client2, True, 0),
        (programs.okhttp, False, 5),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
async def test_a_client_that_drops_before_its_first_event_needs_the_id_without_one_or_since(
    prepare: Prepare,
    since: bool,
    begin: int,
    worker: Worker,
    relay: Relay,
    write: RecordWriter,
    user: str,
    tmp_path: Path,
) -> None:
    token = Token(tmp_path / "token")
    token.set(mint(user))
    query = f"&since={int(time.time() * 1000)}" if since else ""
    with reading(prepare, relay, token.path, tmp_path, "", query) as reader:
        await hears(relay, b"\nid: ")
        await hears(relay, b": heartbeat")
        relay.freeze()
        relay.cut()
        async with EventStream(worker.events_url, mint(user)) as witness:
            await opened(witness)
            await write.numbered(user, range(5))
            await until(witness, 4)  # what the worker has not read would come live
        relay.thaw()
        await hears(relay, b"\nid: ")
        await write.numbered(user, range(5, 10))
        await reader.has_told(10 - begin)
        assert reader.numbers == list(range(begin, 10))
