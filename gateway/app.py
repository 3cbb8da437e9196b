"""A worker: builds, starts, drains and stops its parts."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Self

import structlog

from gateway import clock
from gateway.core.edge import Edge
from gateway.core.event import Decoder
from gateway.core.hub import Hub
from gateway.core.interpreter import Interpreter
from gateway.errors import GatewayError
from gateway.event_types import load_registry
from gateway.gauges import add_gauges
from gateway.http.auth.signing_keys import SigningKeys
from gateway.http.auth.tokens import Authenticator
from gateway.http.draining import drain_streams, say_goodbye_to_all
from gateway.http.transport.listen import bind, listen_on
from gateway.http.transport.tls import Certificate
from gateway.kafka.dead_letters import DeadLetters
from gateway.kafka.revocation_events import RevocationEvents
from gateway.kafka.session import KafkaSession
from gateway.listeners import ops_runner, public_listener
from gateway.metrics import Metrics
from gateway.ops.contained_observer import contained
from gateway.ops.pseudonyms import hashed, pseudonyms
from gateway.ops.reporting import Reporting
from gateway.ops.stream_log import StreamLog
from gateway.ops.streams import Streams
from gateway.ops.traced import TracedHub, TracedMetrics
from gateway.ops.tracing import start_metrics, start_tracing
from gateway.parts import Parts
from gateway.pump import Pump, hub_options
from gateway.readiness import NotReadyReason, Readiness
from gateway.revocation.table import Revocations
from gateway.schemas.startup import open_schemas
from gateway.settings.setting_types import url_of
from gateway.supervise import Part, Supervisor
from gateway.throttled_log import ThrottledLog
from gateway.ticker import REST_SECONDS, TICK_SECONDS, TICKS_PER_SECOND, Ticker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aiohttp.web_routedef import AbstractRouteDef

    from gateway.config import Settings
    from gateway.http.transport.acceptor import Acceptor
    from gateway.http.transport.handover import Handover
    from gateway.workers.slot import Slot

MAX_HOST = 64
"""Maximum characters of the host name in the worker's name."""

_log = structlog.stdlib.get_logger(__name__)


class Worker:
    """One worker, which runs during its `async with` block.

    Entering listens at once and connects to Kafka in the background; leaving ends all streams at
    once (call `drain` first to spread their ends). Raises `SettingsError` for settings that cannot
    work, and `GatewayError` for a port in use.
    """

    def __init__(
        self,
        settings: Settings,
        routes: Iterable[AbstractRouteDef] = (),
        slot: Slot | None = None,
    ) -> None:
        registry = load_registry(settings)
        revocations = Revocations()
        self._settings = settings
        self._slot = slot
        self._ticker = Ticker()
        self.readiness = Readiness(self._ticker.stir)
        self.is_sibling = slot is not None
        self.name = name = worker_name() if slot is None else slot.name
        names = pseudonyms(settings)
        # Without tracing, the hub and the metrics are used unwrapped.
        self._spans = spans = start_tracing(settings, name, names)
        make_metrics = Metrics if spans is None else partial(TracedMetrics, spans)
        notices = ThrottledLog(lambda: clock.now().monotonic)
        self._metrics = make_metrics(notices, StreamLog(names), settings.partitioner)
        self._supervisor = Supervisor(self._metrics)
        self._schemas = open_schemas(settings, self._supervisor.contain)
        self._dead_letters = None
        if settings.dead_letter_topic:
            self._dead_letters = DeadLetters(settings, self._metrics, self._supervisor)
        self._pump = Pump(self._supervisor)
        observer = contained(self._metrics, self._supervisor)
        interpreter = Interpreter(
            Decoder(registry),
            observer,
            partial(self._supervisor.contain, Part.PARTITION),
            self._schemas,
            self._dead_letters,
        )
        edge = Edge(
            observer,
            lambda feed: self._link.wake(feed),
            self._busy,
            partial(self._supervisor.contain, Part.STREAM),
        )
        make_hub = Hub if spans is None else partial(TracedHub, spans, self._supervisor)
        self._hub = make_hub(hub_options(settings), interpreter, edge)
        self._link = KafkaSession(
            settings,
            RevocationEvents(settings, self._hub, interpreter, revocations, self._supervisor),
            self._metrics,
            self.readiness,
            self._schemas,
        )
        parts = Parts(settings, registry, self._hub, self._metrics, self.readiness, self._link)
        self._otlp_metrics = start_metrics(settings, name, self._metrics)
        shown = hashed(settings) if settings.log_users == "plain" else names
        self._reporting = Reporting(parts, self._supervisor, self, shown.name)
        self.siblings = self._reporting.link.siblings
        self._keys = SigningKeys(settings, self.readiness)
        self._certificate = _certificate(settings)
        self.handover: Handover | None = None
        """Hands connections to other workers of the machine; None for a single worker."""
        if slot is not None:
            self.handover = slot.handover(self._link.partition, self._metrics.handed_over)
        self._build_listeners(parts, revocations, routes)
        self._acceptors: list[Acceptor] = []
        self._ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        add_gauges(parts, self._keys, self.connections)

    def _build_listeners(
        self, parts: Parts, revocations: Revocations, routes: Iterable[AbstractRouteDef]
    ) -> None:
        authenticator = Authenticator(parts.settings, self._keys.each, revocations)
        self._endpoint, self._public = public_listener(
            parts, authenticator, self.handover, self._spans, routes
        )
        streams = Streams(self.name, parts)
        routes = [*streams.routes(), *self._reporting.routes()]
        self._ops = ops_runner(parts, self.end, routes)

    @property
    def url(self) -> str:
        """The URL for clients."""
        scheme = "http" if self._certificate is None else "https"
        return url_of(scheme, *self._public.addresses[0][:2])

    @property
    def ops_url(self) -> str:
        """The URL for operators."""
        if self._slot is not None:
            return self._slot.ops_url
        return url_of("http", *self._ops.addresses[0][:2])

    @property
    def own_ops_port(self) -> int:
        """The port of this process's operations listener, while it runs."""
        return int(self._ops.addresses[0][1])

    @property
    def is_accepting(self) -> bool:
        """Whether clients can connect and open a stream."""
        return bool(self._acceptors and self.readiness.ever and not self.readiness.draining)

    async def __aenter__(self) -> Self:
        """Listen, and start connecting to Kafka."""
        try:
            if self._slot is None:
                await self._accept(await bind(self._settings.listen, "GATEWAY_LISTEN"))
            operations = await bind(self._settings.ops_listen, "GATEWAY_OPS_LISTEN")
            self._acceptors += await listen_on(self._ops, operations)
        except GatewayError:
            await self._public.cleanup()
            await self._ops.cleanup()
            raise
        if self._slot is not None:
            self._tasks.append(asyncio.create_task(self._accept_in(self._slot), name="accept"))
        else:
            self._log_listening()
        self._keep(Part.KAFKA, self._link.run)
        self._keep(Part.TICK, self._deliver)
        self._keep(Part.STREAM, partial(self._pump.run, self._hub))
        self._keep(Part.STATUS, partial(self._reporting.run, self._ticker))
        for client in self._keys.clients:
            self._keep(Part.KEYS, client.run)
        if self._reporting.link.topic is not None:
            self._keep(Part.FLEET, self._reporting.link.topic.run)
        if self._dead_letters is not None:
            self._keep(Part.DEAD_LETTERS, self._dead_letters.run)
        if self._otlp_metrics is not None:
            self._keep(Part.METRICS, self._otlp_metrics.run)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End every stream, disconnect from Kafka and close the ports."""
        self.readiness.set_reason(NotReadyReason.DRAINING, "the worker is being stopped")
        await say_goodbye_to_all(self._hub, self._settings)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reporting.close()
        if self._schemas is not None:
            await self._schemas.close()
        await self._public.cleanup()
        await self._ops.cleanup()
        for acceptor in self._acceptors:
            acceptor.cut_off()
        if self._otlp_metrics is not None:
            with self._supervisor.contain(Part.METRICS):
                await self._otlp_metrics.close()
        if self._spans is not None:
            with self._supervisor.contain(Part.TRACING):
                await self._spans.close()

    async def _accept(self, sockets: Iterable[socket.socket]) -> None:
        """Accept clients from these listening sockets."""
        context = None if self._certificate is None else self._certificate.context
        self._acceptors = [
            *await listen_on(self._public, sockets, context, self._endpoint),
            *self._acceptors,
        ]

    async def _accept_in(self, slot: Slot) -> None:
        """Accept clients as one of several workers; a patient one waits until it is ready."""
        if slot.patient:
            await self.readiness.first()
        await self._accept(slot.listening)
        if self.handover is not None:
            self.handover.start(self._acceptors[0].receive)
        self._log_listening()

    def _log_listening(self) -> None:
        _log.info("listening", worker=self.name, url=self.url, ops_url=self.ops_url)

    def end(self) -> None:
        """Request the worker's end: `ended` returns."""
        self._ended.set()

    async def ended(self) -> None:
        """Wait until `end` is called."""
        await self._ended.wait()

    async def drain(self) -> None:
        """End the streams evenly over the drain time.

        With another worker that is ready, clients get a short reconnect delay.

        New connections are refused: load balancers and `EventSource` retry a refused connection on
        another worker, even without health checks. A stream that is opened on an existing
        connection ends at once.
        """
        begun = time.time_ns()
        self.readiness.set_reason(NotReadyReason.DRAINING, "the worker is being stopped")
        if self.handover is not None:
            self.handover.stop()
        for site in list(self._public.sites):
            await site.stop()
        streams, seconds = list(self._hub.streams), self._settings.drain_seconds
        _log.info("draining; a second signal stops at once", streams=len(streams), seconds=seconds)
        await drain_streams(self._hub, self._reporting.fleet, streams, self._settings)
        if self._spans is not None:
            with self._supervisor.contain(Part.TRACING):
                self._spans.drained(len(streams), begun)

    def _keep(self, part: Part, run: Callable[[], Awaitable[None]]) -> None:
        """Start a task that is restarted when it fails."""
        self._tasks.append(asyncio.create_task(self._supervisor.keep(part, run), name=str(part)))

    def _busy(self) -> None:
        self._pump.wake()
        self._ticker.stir()

    async def _deliver(self) -> None:
        """Apply the deadlines of streams and measure how late the event loop is."""
        loop, contain, tick = asyncio.get_running_loop(), self._supervisor.contain, 0
        while True:
            with contain(Part.TICK):
                moment = clock.now()
                self._hub.tick(moment)
                self._ticker.rest(self._hub.is_quiet(moment, REST_SECONDS))
            if tick % TICKS_PER_SECOND == 0:
                with contain(Part.SWEEP):
                    self._link.sweep()
                if self._certificate is not None:
                    with contain(Part.CERTIFICATE):
                        self._certificate.refresh()
            tick = await self._ticker.next()
            late = max(0.0, loop.time() - tick * TICK_SECONDS)
            with contain(Part.METRICS):
                self._reporting.loop_late(late)

    def connections(self) -> int:
        """Return the number of clients: open streams and connections without one."""
        server = self._public.server
        return len(self._hub.streams) + (0 if server is None else len(server.connections))


def worker_name() -> str:
    """Return a unique worker name, also different from former workers on this host."""
    return f"{socket.gethostname()[:MAX_HOST]}-{secrets.token_hex(3)}"


def _certificate(settings: Settings) -> Certificate | None:
    if settings.tls_certfile is None or settings.tls_keyfile is None:
        return None
    return Certificate(settings.tls_certfile, settings.tls_keyfile)
