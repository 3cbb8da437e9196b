"""Cluster metadata (brokers, leaders, topic ids) and short requests to brokers.

Metadata is cached and refreshed: at an interval, and soon after `request_refresh`. Reading the
cache never waits. Brokers are independent of each other: each has its own connection for short
requests, opened on first use, and a failure or a silent broker affects only its own requests.

A metadata request goes to one broker, to another one after a short silence, and to the bootstrap
servers when no known broker answers (KIP-899), which finds a cluster whose addresses have changed.
The request names its topics and never creates one.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from aiokafka.errors import KafkaConnectionError, KafkaError, LeaderNotAvailableError

from gateway.kafka.client.backoff import Backoff
from gateway.kafka.client.error_codes import log_name
from gateway.kafka.client.metadata import (
    NO_ID,
    Cluster,
    Leader,
    Metadata,
    Node,
    TopicMetadata,
    bootstrapped,
    fetch_metadata,
    newest,
)
from gateway.kafka.client.open_connection import SharedConnection, open_connection
from gateway.kafka.client.race import first_of
from gateway.kafka.client.requests import (
    PEEK,
    REQUEST_SECONDS,
    Peek,
    ask,
    peek_request,
    read_peek,
)
from gateway.supervise import Failures, Part, Supervisor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from gateway.core.records import TopicPartition
    from gateway.kafka.client.connection import Connection

T = TypeVar("T")

EMBEDDED_CLUSTER = "tansu_cluster"

REFRESH_SECONDS = 5.0
"""Interval of refreshes without a request. When Kafka moves a partition away from a frozen broker,
only metadata shows it before a request to that broker times out."""

SOON_SECONDS = 0.2
"""Minimum interval between two requested refreshes."""

UNCHANGED_SECONDS = 1.0
"""Minimum interval once refreshes bring no change: a partition may be without a leader for hours,
and its readers request refreshes all the time."""

NEXT_BROKER_SECONDS = 0.5
"""Delay until the next known broker is asked as well."""

NEXT_BOOTSTRAP_SECONDS = 0.1
"""The same for bootstrap servers, any of which may be down when a worker starts."""

KNOWN_BROKERS = 3
"""Known brokers that are asked for metadata before the bootstrap servers."""


class ClusterClient:
    """Metadata of a cluster and connections to its brokers.

    `options` are those of `connection_options`. Methods raise aiokafka's `KafkaError`. A topic
    joins the cached metadata at its first use. `rack` is the location of this client (KIP-392);
    empty: unknown. `failures` receives unexpected exceptions of the refresh of the metadata, which
    takes place every `refresh_seconds` without a request.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        rack: str = "",
        failures: Failures | None = None,
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        self.rack = rack
        self._failures = failures
        self._refresh_seconds = refresh_seconds
        self.options = options
        self._known = Metadata("", {}, {})
        self._names: set[str] = set()
        self._asking: dict[int, SharedConnection] = {}
        self._backoffs: defaultdict[int, Backoff] = defaultdict(Backoff)
        self._listeners: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._refresher: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._refreshed = asyncio.Event()
        """Set when the next refresh has ended, and then replaced."""
        self._refreshing = asyncio.Lock()
        self._began = float("-inf")
        """Start of the last refresh, in seconds of the loop's clock."""
        self._pause = SOON_SECONDS

    async def start(self) -> None:
        """Load the metadata, and begin to refresh it.

        If no bootstrap server answers, raises the most specific `KafkaError` and retries in the
        background.
        """
        self._stopped = False
        try:
            await self._refresh()
        finally:
            if self._refresher is None or self._refresher.done():
                refresh = self._keep_fresh
                if self._failures is not None:
                    refresh = partial(Supervisor(self._failures).keep, Part.KAFKA, refresh)
                self._refresher = self.start_task(refresh())

    async def stop(self) -> None:
        """Close the connections, except connections returned by `connect`."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(questions.close() for questions in self._asking.values()))
        self._asking.clear()

    @property
    def cluster_id(self) -> str:
        """The cluster's id; empty before `start`."""
        return self._known.cluster_id

    @property
    def is_embedded(self) -> bool:
        """Whether this is the embedded broker, tansu 0.6, by its default cluster id."""
        return self._known.cluster_id == EMBEDDED_CLUSTER

    @property
    def nodes(self) -> Mapping[int, Node]:
        """The brokers by their ids."""
        return self._known.nodes

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever a broker's address, a leader or a topic has changed.

        The returned function removes the listener.
        """
        self._listeners.append(listener)
        return partial(self._listeners.remove, listener)

    def leader(self, log: TopicPartition) -> Leader | None:
        """Return the leader of a partition by the cached metadata; None: unknown."""
        topic = self._topic(log.topic)
        return topic.leaders.get(log.partition) if topic else None

    def partition_count(self, name: str) -> int:
        """Return the number of partitions of a topic by the cached metadata; 0: unknown topic."""
        topic = self._topic(name)
        return len(topic.leaders) if topic else 0

    def leader_or_raise(self, log: TopicPartition) -> Leader:
        """Return `leader`; if it is unknown, request a refresh and raise `KafkaError`."""
        leader = self.leader(log)
        if leader is None:
            self.request_refresh()
            raise LeaderNotAvailableError(f"{log_name(log)} has no leader")
        return leader

    def topic_id(self, name: str) -> bytes | None:
        """Return the id of a topic; None: missing topic, or brokers without topic ids."""
        topic = self._topic(name)
        return topic.id if topic and topic.id != NO_ID else None

    def request_refresh(self) -> None:
        """Refresh the metadata soon; cheap to repeat."""
        self._wanted.set()

    async def describe(self, names: Sequence[str]) -> Cluster:
        """Fetch metadata of these topics. Raises `KafkaError` if no broker answers."""
        self._names.update(names)
        known = await self._refresh()
        topics = {name: topic for name, topic in known.topics.items() if name in names}
        return Cluster.of(known._replace(topics=topics))

    async def connect(self, node_id: int) -> Connection:
        """Return a new connection to a broker; the caller closes it.

        Waits for the back-off if the last attempts have failed. Raises `KafkaError`.
        """
        backoff = self._backoffs[node_id]
        await backoff.wait()
        node = self._known.nodes.get(node_id)
        try:
            if node is None:
                raise KafkaConnectionError(f"broker {node_id} is not known")
            connection = await open_connection(self.options, node.host, node.port, REQUEST_SECONDS)
        except Exception:
            backoff.failed()
            self.request_refresh()
            raise
        backoff.clear()
        return connection

    async def peek(self, log: TopicPartition, offset: int) -> Peek:
        """Fetch at an offset, discard the records; the broker checks the ACL `Read`."""
        leader = self.leader_or_raise(log)
        connection = await self.connection(leader.node_id)
        return await ask(connection, PEEK, partial(peek_request, log, offset), read_peek)

    async def controller(self) -> Connection:
        """Return the connection for short requests to the broker that creates topics."""
        return await self.connection(self._known.controller)

    async def ask_any(self, question: Callable[[Connection], Awaitable[T]]) -> T:
        """Return the first answer of some brokers, which are asked in random order."""

        async def ask_one(node_id: int) -> T:
            return await question(await self.connection(node_id))

        nodes = list(self._known.nodes)
        some = random.sample(nodes, min(KNOWN_BROKERS, len(nodes)))
        return await first_of([partial(ask_one, node_id) for node_id in some], NEXT_BROKER_SECONDS)

    # Metadata.

    def _topic(self, name: str) -> TopicMetadata | None:
        if name not in self._names:
            self._names.add(name)
            self.request_refresh()
        return self._known.topics.get(name)

    async def _keep_fresh(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout_at(self._began + self._refresh_seconds):
                    await self._wanted.wait()
                await asyncio.sleep(self._began + self._pause - loop.time())
            except TimeoutError:
                pass
            before, asked = self._known, loop.time()
            try:
                await self._refresh()
            except (KafkaError, OSError):
                pass
            finally:
                if self._began < asked:  # a failed refresh counts for the interval
                    self._refreshed_since(loop.time())
                    self._wanted.set()
            changed = self._known != before
            self._pause = SOON_SECONDS if changed else min(2 * self._pause, UNCHANGED_SECONDS)

    async def _refresh(self) -> Metadata:
        """Return metadata requested after this call; concurrent calls share a request."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        async with self._refreshing:
            if self._began < asked:
                began = loop.time()
                self._wanted.clear()
                known = await self._ask_metadata()
                self._apply(known)
                self._refreshed_since(began)
            return self._known

    async def refreshed(self) -> None:
        """Return after the next refresh of the metadata has ended."""
        asked = asyncio.get_running_loop().time()
        while self._began < asked:
            await self._refreshed.wait()

    def _refreshed_since(self, began: float) -> None:
        self._began = began
        self._refreshed.set()
        self._refreshed = asyncio.Event()

    async def _ask_metadata(self) -> Metadata:
        names = sorted(self._names)
        with suppress(KafkaError, OSError):  # ask the bootstrap servers instead
            return await self.ask_any(partial(fetch_metadata, names))
        return await first_of(
            [
                partial(bootstrapped, self.options, at, names)
                for at in self.options["bootstrap_servers"]
            ],
            NEXT_BOOTSTRAP_SECONDS,
        )

    def _apply(self, known: Metadata) -> None:
        if known.cluster_id == self._known.cluster_id:
            topics = {
                name: newest(self._known.topics.get(name), topic)
                for name, topic in known.topics.items()
            }
            known = known._replace(topics=topics)
        if known == self._known:
            return
        moved = [
            node for node in self._asking if known.nodes.get(node) != self._known.nodes.get(node)
        ]
        for node in moved:
            self.start_task(self._asking.pop(node).close())
            self._backoffs.pop(node, None)
        self._known = known
        for listener in list(self._listeners):
            listener()

    # Requests to one broker.

    async def connection(self, node_id: int) -> Connection:
        """Return the connection for short requests to a broker. Raises `KafkaError`."""
        if node_id not in self._asking:
            if node_id not in self._known.nodes:
                raise KafkaConnectionError(f"broker {node_id} is not known")
            self._asking[node_id] = SharedConnection(partial(self.connect, node_id))
        return await self._asking[node_id].connection()

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that `stop` cancels; after `stop` it is cancelled at once."""
        task = asyncio.get_running_loop().create_task(coroutine)
        if self._stopped:
            task.cancel()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
