"""A stream over any number of connections, each resuming where the previous one ended.

After any failure of a connection the next event is the one after the last. No queue is needed: an
event is delivered when the iteration returns it, and the next connection sends its id. Bytes are
read only after all earlier messages were returned, so a slow caller fills the socket, and the
gateway waits.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING

import aiohttp

from gateway.client.decoder import EventStreamDecoder
from gateway.client.id_file import IdFile
from gateway.client.messages import TOKEN_EXPIRED, Close, Interrupted, Item, Message, Opened
from gateway.client.refusal import describe, is_transient, refusal
from gateway.client.token import Tokens, TokenSource
from gateway.client.wait import retry_after_seconds, wait_seconds
from gateway.errors import IdFileError, NotAStream

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

SILENCE_SECONDS = 90.0
"""Silence after which a connection counts as dead: three heartbeats at default settings."""

CONNECT_SECONDS = 10.0

REFUSAL_BYTES = 1 << 16
"""Maximum bytes read from the body of a refusal."""

READ_BYTES = 1 << 16
"""Read size. aiohttp pauses reading at twice this much, and one more read may follow."""


class EventStream:
    """A user's stream as an async iterator that only the caller or an error ends.

    `url` is the endpoint, `https://…/api/v1/events`. `token` is requested at the start, after a
    401 and after a close with `token_expired`. `categories` and `types` (such as `import.*`) select
    events; `since` is a start in the past for a stream without an event id. `resume` is the event
    id to resume from, or an `IdFile`. A connection without data for `silence_seconds`, three
    heartbeats, counts as dead. `http` is a session of the caller, for proxies,
    certificates or tracing.

    Use the stream in `async with`. Iteration raises `StreamRefused` where a retry cannot succeed,
    and every error of `token`. After an error or a cancellation iteration may continue: no event is
    lost. The current item counts as handled when the next one is requested, or when the block ends
    without an exception.
    """

    # Public: a program gives its options by name.
    def __init__(
        self,
        url: str,
        token: TokenSource,
        *,
        categories: Iterable[str] = (),
        types: Iterable[str] = (),
        since: str | int | datetime | None = None,
        resume: str | IdFile = "",
        silence_seconds: float = SILENCE_SECONDS,
        http: aiohttp.ClientSession | None = None,
    ) -> None:
        self._url = url
        self._params = {}
        if chosen := ",".join(categories):
            self._params["categories"] = chosen
        if chosen := ",".join(types):
            self._params["types"] = chosen
        if since is not None:
            self._params["since"] = since.isoformat() if isinstance(since, datetime) else str(since)
        self._tokens = Tokens(token)
        self._file = resume if isinstance(resume, IdFile) else None
        self._decoder = EventStreamDecoder(resume.load() if isinstance(resume, IdFile) else resume)
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=silence_seconds
        )
        self._http = http
        self._own: aiohttp.ClientSession | None = None
        self._response: aiohttp.ClientResponse | None = None
        self._ready: deque[Message] = deque()
        self._failures = 0
        self._goodbye = False
        self._not_before = 0.0

    @property
    def last_event_id(self) -> str:
        """The id after all returned items: a stream resumed from it misses and repeats nothing.

        Heartbeats advance the id without events.
        """
        return self._ready[0].previous_id if self._ready else self._decoder.last_event_id

    async def __aenter__(self) -> Self:
        if self._http is None:
            self._http = self._own = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._drop()
        if self._own is not None:
            await self._own.close()
        if error is None:
            self._handled()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        """Return the next item; one caller at a time."""
        self._handled()
        while not self._ready:
            if self._response is None:
                return await self._connect()
            interrupted = await self._read(self._response)
            if interrupted is not None:
                return interrupted
            self._handled()
        item = self._ready.popleft()
        if self._file is not None:
            try:
                self._file.handed_out(self.last_event_id)
            except IdFileError:
                self._ready.appendleft(item)  # returned again by the next iteration
                raise
        return item

    def _handled(self) -> None:
        if self._file is not None and self.last_event_id:
            self._file.handled(self.last_event_id)

    async def _connect(self) -> Opened | Interrupted:
        assert self._http is not None, "use the stream in `async with`"
        await asyncio.sleep(self._not_before - asyncio.get_running_loop().time())
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
        headers["Authorization"] = f"Bearer {await self._tokens.get()}"
        if self._decoder.last_event_id:
            headers["Last-Event-ID"] = self._decoder.last_event_id
        try:
            response = await self._http.get(
                self._url,
                params=self._params,
                headers=headers,
                timeout=self._timeout,
                read_bufsize=READ_BYTES,
            )
            if response.status != 200:
                async with response:
                    return await self._refused(response)
        except TimeoutError:
            return self._interrupted("the server does not answer")
        except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError) as error:
            return self._interrupted(str(error))
        except aiohttp.ClientConnectorError as error:
            return self._interrupted(f"cannot connect to {error.host}:{error.port}")
        except aiohttp.InvalidURL as error:
            raise NotAStream(f"{self._url} is not the URL of a gateway") from error
        except aiohttp.ClientError:
            return self._interrupted("the connection broke")
        if response.content_type != "text/event-stream":
            response.close()
            raise NotAStream(f"{self._url} returns {response.content_type}, not an event stream")
        self._response = response
        self._tokens.accepted()
        self._failures = 0
        self._decoder.connected()
        return Opened(bool(self._decoder.last_event_id))

    async def _refused(self, response: aiohttp.ClientResponse) -> Interrupted:
        text = describe(
            response.status, response.reason or "", await response.content.read(REFUSAL_BYTES)
        )
        if response.status == 401 and await self._tokens.refused():
            return self._interrupted(text, retry=0)
        if not is_transient(response.status):
            raise refusal(response.status, text)
        asked = retry_after_seconds(response.headers.get("Retry-After", ""))
        return self._interrupted(text, asked)

    async def _read(self, response: aiohttp.ClientResponse) -> Interrupted | None:
        try:
            data = await response.content.readany()
        except TimeoutError:
            return self._interrupted("the server sends no data")
        except aiohttp.ClientError:
            return self._interrupted("the connection broke")
        if not data:
            return self._interrupted("the server ended the stream")
        try:
            self._ready.extend(self._decoder.feed(data))
        except NotAStream:
            self._drop()
            raise
        for message in self._ready:
            if isinstance(message, Close):
                self._goodbye = True
                if message.reason == TOKEN_EXPIRED:
                    self._tokens.expired()
        return None

    def _interrupted(
        self, reason: str, retry_after: float = 0.0, retry: float | None = None
    ) -> Interrupted:
        self._drop()
        if not self._goodbye:
            self._failures += 1
        self._goodbye = False
        asked = self._decoder.retry_seconds if retry is None else retry
        wait = wait_seconds(asked, retry_after, self._failures, random.random())  # noqa: S311
        self._not_before = asyncio.get_running_loop().time() + wait
        return Interrupted(reason, wait)

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None
