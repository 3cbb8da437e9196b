"""A stream that goes on: one connection after the other, each where the last one ended.

Whatever happens to a connection, the next event is the one after the last. That takes no queue: an
event counts as the caller's when it is handed out, and the id behind it is what the next connection
sends. Bytes are read only when everything that came before has been handed out, so a caller that is
slow lets the socket fill up, and the gateway wait.
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
from gateway.client.refusal import is_transient, refusal, said
from gateway.client.token import Tokens, TokenSource
from gateway.client.wait import retry_after_seconds, wait_seconds
from gateway.errors import IdFileError, NotAStream

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

SILENCE_SECONDS = 90.0
"""Three heartbeats of a gateway with default settings: then the connection is taken for dead."""

CONNECT_SECONDS = 10.0

REFUSAL_BYTES = 1 << 16
"""At most so much of the body of a refusal is read."""

READ_BYTES = 1 << 16
"""Twice as much is buffered before the socket is left alone, and one read of it may come on top."""


class EventStream:
    """A user's stream as an async iterator that ends only by the caller, or with an error.

    `url` is the endpoint, `https://…/api/v1/events`. `token` is asked at first, after a 401 and
    when the server says `token_expired`. `categories` choose events, `since` begins in the past
    where there is no id. `resume` is where to go on: an id that the caller has kept, or an
    `IdFile`. A connection that is silent for `silence_seconds`, three heartbeats, is taken for
    dead. `http` is a session of the caller's own, for proxies, certificates or tracing.

    Use it in `async with`. Iterating raises `StreamRefused` where a second try cannot help, and
    whatever `token` raises; after that, as after a cancellation, iteration may go on: nothing is
    lost. The present item counts as handled when the next one is asked for, or when the block is
    left without an exception.
    """

    def __init__(
        self,
        url: str,
        token: TokenSource,
        *,
        categories: Iterable[str] = (),
        since: str | int | datetime | None = None,
        resume: str | IdFile = "",
        silence_seconds: float = SILENCE_SECONDS,
        http: aiohttp.ClientSession | None = None,
    ) -> None:
        self._url = url
        self._params = {}
        if chosen := ",".join(categories):
            self._params["categories"] = chosen
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
        """Behind all that was handed out: a stream that begins there misses and repeats nothing.

        It moves also without events, by heartbeats.
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
                self._ready.appendleft(item)  # for the caller who iterates again
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
            raise NotAStream(f"{self._url} is no URL of a gateway") from error
        except aiohttp.ClientError:
            return self._interrupted("the connection broke")
        if response.content_type != "text/event-stream":
            response.close()
            raise NotAStream(f"{self._url} is {response.content_type}, no stream")
        self._response = response
        self._tokens.accepted()
        self._failures = 0
        self._decoder.connected()
        return Opened(bool(self._decoder.last_event_id))

    async def _refused(self, response: aiohttp.ClientResponse) -> Interrupted:
        text = said(
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
            return self._interrupted("the server has gone silent")
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
