"""The public application on a real socket, over a hub that is fed by hand: no Kafka."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

from aiohttp import web

from gateway import clock
from gateway.config import load_settings
from gateway.core.edge import Edge, HubOptions
from gateway.core.event import Decoder
from gateway.core.feed import PartitionFeed
from gateway.core.gap import CloseReason
from gateway.core.hub import Hub
from gateway.core.interpreter import Interpreter
from gateway.core.limits import Limits
from gateway.core.records import LogKind, Moment, OffsetPosition, TopicPartition, make_record
from gateway.core.registry import Registry
from gateway.core.request import StreamRequest
from gateway.core.source import Topic
from gateway.core.stream import Sink, Stream
from gateway.http.admission import StreamAdmission
from gateway.http.auth.keys import OneKey
from gateway.http.auth.tokens import Authenticator
from gateway.http.caller import Callers
from gateway.http.origins import Origins
from gateway.http.problem import problems
from gateway.http.public import EventsEndpoint, public_app
from gateway.http.refusals import Refusals, metadata_routes
from gateway.http.request_reader import RequestReader
from gateway.http.shards import Shards
from gateway.http.siblings import Siblings
from gateway.http.transport.acceptor import Acceptor
from gateway.http.transport.handover import Handover
from gateway.http.transport.listen import HEAD_SECONDS, REQUEST_LIMITS
from gateway.http.transport.malformed import server_log
from gateway.kafka.revocation_events import RevocationEvents
from gateway.metrics import Metrics
from gateway.ops.pseudonyms import pseudonyms
from gateway.ops.stream_log import StreamLog
from gateway.parts import Parts
from gateway.readiness import NotReadyReason, Readiness
from gateway.revocation.table import Revocations
from gateway.supervise import Part, Supervisor
from gateway.throttled_log import ThrottledLog
from tests.eventually import eventually
from tests.http.raw_client import GREETING, SMALL_BUFFER, RawClient
from tests.records import TYPE, envelope
from tests.tokens import SECRET, mint

USER = "alice"
LOG = TopicPartition("user-events", 0)
SHARD = "0"
TOPIC = Topic("user-events", LogKind.USER, b"tagA", 1)


class AttentiveHub(Hub):
    """A hub that records its openings."""

    def __init__(self, metrics: Metrics) -> None:
        contain = partial(Supervisor(metrics).contain, Part.STREAM)
        self.interpreter = Interpreter(Decoder(Registry.built_in()), metrics, contain)
        super().__init__(
            HubOptions(
                Limits(3_600_000, 1_000_000, 1_000_000),
                lambda _: 0,
                1 << 28,
                3000,
                heartbeat=30,
                slow=30,
            ),
            self.interpreter,
            Edge(metrics, lambda _feed: None, lambda: None, contain),
        )
        self.openings: list[StreamRequest] = []
        self.deadlines: list[tuple[Moment, dict[CloseReason, float]]] = []

    def open(
        self,
        opening: StreamRequest,
        feeds: tuple[PartitionFeed, ...],
        sink: Sink,
        deadlines: Sequence[tuple[float, CloseReason]],
        moment: Moment,
    ) -> Stream:
        self.openings.append(opening)
        self.deadlines.append((moment, {reason: deadline for deadline, reason in deadlines}))
        return super().open(opening, feeds, sink, deadlines, moment)


class Served:
    """An application that is ready; `prepare` lets requests through while `let_through` is set."""

    def __init__(
        self,
        *,
        readiness: Readiness | None = None,
        head_seconds: float = HEAD_SECONDS,
        handover: Handover | None = None,
        **settings: object,
    ) -> None:
        self.settings = load_settings(None, **{"jwt_secret": SECRET, **settings})
        self.notices = ThrottledLog(lambda: clock.now().monotonic)
        lives = StreamLog(pseudonyms(self.settings))
        self.metrics = Metrics(self.notices, lives, "murmur2")
        self.hub = AttentiveHub(self.metrics)
        self.feed = self.hub.feed(LOG, TOPIC)
        self.hub.activate(self.feed, OffsetPosition(0, 0, False), clock.now())
        if readiness is None:
            readiness = Readiness()
            readiness.clear(NotReadyReason.STARTING)
        self.readiness = readiness
        self.let_through = asyncio.Event()
        self.let_through.set()
        self.asking = 0
        self.port = 0
        self.revocations = Revocations()
        self.revoking = RevocationEvents(
            self.settings,
            self.hub,
            self.hub.interpreter,
            self.revocations,
            Supervisor(self.metrics),
        )
        self.origins = Origins(self.settings.cors_origins)
        self.callers = Callers(self.settings.trusted_proxies)
        registry, kafka = Registry.built_in(), cast("Any", self)
        parts = Parts(self.settings, registry, self.hub, self.metrics, self.readiness, kafka)
        authenticator = Authenticator(self.settings, OneKey(self.settings), self.revocations)
        reader = RequestReader(
            parts,
            authenticator,
            self.origins,
            self.callers,
            StreamAdmission(self.settings, self.hub),
        )
        self._handover = handover
        self.endpoint = EventsEndpoint(
            parts,
            reader,
            Shards(parts) if self.settings.sharding == "redirect" else None,
            None if handover is None else Siblings(self.settings, authenticator, handover),
        )
        self.middlewares = [problems(self.callers, self.metrics, Refusals(self.settings).answer)]
        routes = metadata_routes(self.settings, registry)
        self.app = public_app(self.endpoint, self.origins, self.middlewares, routes)
        self._acceptor: Acceptor | None = None
        self._runner = web.AppRunner(
            self.app,
            access_log=None,
            logger=server_log(self.metrics),
            **{**REQUEST_LIMITS, "keepalive_timeout": head_seconds},
        )
        self._head_seconds = head_seconds
        self._offset = 0

    def at_hand(self, opening: StreamRequest) -> tuple[PartitionFeed, ...] | None:
        return (self.feed,) if self.let_through.is_set() else None

    async def prepare(self, opening: StreamRequest, patience: float) -> None:
        self.asking += 1
        await self.let_through.wait()
        self.asking -= 1

    def feeds(self, opening: StreamRequest) -> tuple[PartitionFeed, ...]:
        return (self.feed,)

    def shard(self, user: bytes) -> str:
        return SHARD

    async def agreed_shard(self, user: bytes, given: str) -> str:
        return SHARD

    async def start(self, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        listening = socket.socket()
        # Accepted sockets inherit it, so that a client that does not read is soon felt.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
        listening.bind((host, 0))
        self.port = listening.getsockname()[1]
        await self._runner.setup()
        listening.listen()
        self._acceptor = Acceptor(self._runner, listening, self.endpoint, context)
        await self._acceptor.start()
        if self._head_seconds < 1:  # the kernel would wait a second for a first byte
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 0)
        self.receive_again()

    def receive_again(self) -> None:
        """Receive connections from siblings."""
        if self._handover is not None:
            assert self._acceptor is not None
            self._handover.start(self._acceptor.receive)

    async def stop(self) -> None:
        if self._handover is not None:
            self._handover.stop()
        self.let_through.set()
        for stream in list(self.hub.streams):
            self.hub.close(stream, CloseReason.CLOSED, clock.now())
        await self._runner.cleanup()
        if self._acceptor is not None:
            self._acceptor.cut_off()

    @property
    def connections(self) -> int:
        """How many connections aiohttp's server takes for its own."""
        assert self._runner.server is not None
        return len(self._runner.server.connections)

    @property
    def requests(self) -> int:
        """How many requests have got to aiohttp."""
        assert self._runner.server is not None
        return self._runner.server.requests_count

    def publish(self, *payloads: bytes, user: str = USER) -> None:
        """Dispatch events of a user in one batch, as the reader would."""
        moment = clock.now()
        records = [
            make_record(self._offset + n, moment.wall, user.encode(), envelope(user, TYPE, payload))
            for n, payload in enumerate(payloads)
        ]
        self._offset += len(records)
        self.hub.dispatch({LOG: records}, moment)

    @property
    def stream(self) -> Stream:
        """The only stream that is open."""
        (stream,) = self.hub.streams
        return stream

    async def open(self, client: RawClient, target: str = "/api/v1/events", **options: Any) -> None:
        """Ask for a stream, and read its head and its first chunk."""
        await client.request(target, token=mint(USER), **options)
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
        assert GREETING.match(await client.chunk())

    async def until_open(self, count: int) -> None:
        """Return when the hub has that many streams."""
        await eventually(f"{count} streams are open", lambda: len(self.hub.streams) == count)


class Turns:
    """Counts the turns of the event loop, and the streams that opened in each."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._before = len(served.hub.openings)
        self.openings: list[int] = []

    @asynccontextmanager
    async def counted(self) -> AsyncIterator[Turns]:
        loop = asyncio.get_running_loop()
        running = True

        def count() -> None:
            opened = len(self._served.hub.openings)
            self.openings.append(opened - self._before)
            self._before = opened

        def turn() -> None:
            if running:
                count()
                loop.call_soon(turn)

        turn()
        try:
            yield self
        finally:
            running = False
            count()  # those of the present turn


@asynccontextmanager
async def serving(
    context: ssl.SSLContext | None = None,
    readiness: Readiness | None = None,
    head_seconds: float = HEAD_SECONDS,
    host: str = "127.0.0.1",
    handover: Handover | None = None,
    **settings: object,
) -> AsyncIterator[Served]:
    """Serve until the block ends."""
    served = Served(readiness=readiness, head_seconds=head_seconds, handover=handover, **settings)
    await served.start(context, host)
    try:
        yield served
    finally:
        await served.stop()
