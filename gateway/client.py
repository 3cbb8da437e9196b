"""A reader of event streams that behaves as a browser's `EventSource` does, and says what happens.

It keeps the last event id, comes back with it when the connection ends, waits as long as the server
says and longer after every failure in a row, and gives up where an `EventSource` would: on an
answer that no second try can change. Unlike one, it also tries again after 429 and 5xx.
"""

from __future__ import annotations

import asyncio
import codecs
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import msgspec

from gateway.errors import StreamRefused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

DEFAULT_RETRY_SECONDS = 3.0
MIN_RETRY_SECONDS = 0.2
"""Between two tries that both failed, whatever the server asks for."""

MAX_DOUBLINGS = 16
"""Of the wait, from one failure to the next; `MAX_RETRY_SECONDS` is reached long before."""

MAX_RETRY_SECONDS = 30.0

SILENCE_SECONDS = 90.0
"""Three heartbeats of a gateway with default settings: then the connection is taken for dead."""

CONNECT_SECONDS = 10.0


class Opened(NamedTuple):
    """The stream is open; `resumed` where it goes on from an id."""

    resumed: bool


class Received(NamedTuple):
    """An event, as a page's listener gets it, and the id that was the last one before it."""

    type: str
    data: str
    last_event_id: str
    previous_id: str


class Interrupted(NamedTuple):
    """The stream has ended, or did not open; the next try comes in `retry_in` seconds."""

    reason: str
    retry_in: float


class EventStreamDecoder:
    """Reads the lines of a stream (HTML standard, §9.2.6); state outlives a connection's end."""

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry_seconds = DEFAULT_RETRY_SECONDS
        self.connected()

    def connected(self) -> None:
        """Forget what the last connection left unfinished."""
        self._text = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest = ""
        self._type = ""
        self._id = self.last_event_id
        self._data: list[str] = []

    def feed(self, data: bytes) -> list[Received]:
        """Return the events that these bytes complete."""
        text = self._rest + self._text.decode(data)
        # A CR at the end may be half of a CR LF.
        held = text.endswith("\r")
        lines = text[: len(text) - held].replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest = lines.pop() + "\r" * held
        events = []
        for line in lines:
            if line:
                self._field(line)
            else:
                events += self._dispatch()
        return events

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_seconds = int(value) / 1000

    def _dispatch(self) -> list[Received]:
        previous, self.last_event_id = self.last_event_id, self._id
        data, self._data = self._data, []
        event_type, self._type = self._type, ""
        if not data:
            return []
        return [Received(event_type or "message", "\n".join(data), self._id, previous)]


async def follow(
    url: str,
    token: Callable[[], str],
    parameters: Mapping[str, str],
    last_event_id: str = "",
) -> AsyncGenerator[Opened | Received | Interrupted, None]:
    """Follow a stream for ever.

    `token` is asked at every connection. Raises `StreamRefused` when the server does not want this
    request, whenever it comes.
    """
    decoder = EventStreamDecoder(last_event_id)
    failures = 0
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
    )
    async with aiohttp.ClientSession(timeout=timeout, read_bufsize=1 << 18) as http:
        while True:
            reason = "the server ended the stream"
            wait = 0.0
            try:
                async with http.get(
                    url, params=parameters, headers=_headers(token(), decoder.last_event_id)
                ) as response:
                    if response.status == 200:
                        if response.content_type != "text/event-stream":
                            raise StreamRefused(f"{url} is {response.content_type}, no stream")
                        failures = 0
                        decoder.connected()
                        yield Opened(bool(decoder.last_event_id))
                        async for data in response.content.iter_any():
                            for event in decoder.feed(data):
                                yield event
                    else:
                        reason = await _refusal(response)
                        wait = _seconds(response.headers.get("Retry-After", ""))
            except TimeoutError:
                reason = "the server does not answer"
            except aiohttp.ClientConnectorError as error:
                reason = f"cannot connect to {error.host}:{error.port}"
            except aiohttp.InvalidURL as error:
                raise StreamRefused(f"{url} is no URL of a gateway") from error
            except aiohttp.ClientError:
                reason = "the connection broke"
            failures += 1
            backoff = decoder.retry_seconds
            if failures > 1:
                backoff = max(backoff, MIN_RETRY_SECONDS) * 2 ** min(failures - 1, MAX_DOUBLINGS)
            wait = max(wait, min(backoff, MAX_RETRY_SECONDS))
            yield Interrupted(reason, wait)
            await asyncio.sleep(wait)


def _headers(token: str, last_event_id: str) -> dict[str, str]:
    headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {token}"}
    if last_event_id:
        headers["Last-Event-ID"] = last_event_id
    return headers


def _seconds(text: str) -> float:
    """Return the wait that `Retry-After` asks for; a date counts as none (RFC 9110, §10.2.3)."""
    return float(text) if text.isascii() and text.isdigit() else 0.0


async def _refusal(response: aiohttp.ClientResponse) -> str:
    """Return what the server says, or raise it where it is final."""
    try:
        problem = msgspec.json.decode(await response.read(), type=dict[str, object])
    except msgspec.DecodeError:
        problem = {}
    text = f"{response.status} {problem.get('title', response.reason)}"
    if "detail" in problem:
        text += f": {problem['detail']}"
    if response.status == 429 or response.status >= 500:
        return text
    raise StreamRefused(text)
