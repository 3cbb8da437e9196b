"""The gateway beside other servers of Server-Sent Events, each measured in the same round.

`make rivals` builds Centrifugo and Mercure (Go) and the server of Durable Streams (a crate) into
`.tools`; Nchan and Pushpin are packages of Debian. A server that is not installed is left out, and
the bench says so. The configurations are in this module, `nchan.py`, `pushpin.py` and `mercure.go`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.child import free_port
from tests.tokens import SECRET
from tests.tools.bench import pushpin
from tests.tools.bench.absence import to_each
from tests.tools.bench.audience import audience
from tests.tools.bench.delivery import Pace
from tests.tools.bench.figures import GATEWAY, NCHAN, Quantity, Sample, beside
from tests.tools.bench.forms import DURABLE, MERCURE
from tests.tools.bench.ground import Ground
from tests.tools.bench.helper import ROOT, Helper, helper
from tests.tools.bench.nchan import is_installed, nchan
from tests.tools.bench.pacing import Written
from tests.tools.bench.process import cpu_seconds, grown_kb, resident_kb
from tests.tools.bench.server import Dialect, Server, running
from tests.tools.bench.tally import Void

TOOLS = ROOT / ".tools"

OPENING = Quantity("CPU to open one stream", "µs")
MEMORY = Quantity("memory of one stream", "KB")
EVENT = Quantity("CPU for one event", "µs")
P50 = Quantity("latency, p50", "ms")
DELIVERY = Quantity("CPU for one delivery of a broadcast", "µs")
RESUME = Quantity("CPU for one client that resumes 10 events", "µs")
SERVED = Quantity("until all of them are served", "s")

LOST = Quantity("rounds in which events or streams were lost", "")

MEMORY_FOLDER = "/dev/shm"

SETTLE_SECONDS = 2.0
"""After the last write, before clients resume: servers that read Kafka are behind for a moment."""

Writer = Callable[[int], AbstractAsyncContextManager[Helper]]
"""Runs a helper that writes to a number of users; 0: broadcasts."""


class Stage(NamedTuple):
    """A running server, how clients ask it for a stream, and how events get to it."""

    server: Server
    users: Dialect
    all: Dialect
    writer: Writer
    resumes: bool = True
    """Whether the server keeps missed events."""


Run = Callable[["Ground"], AbstractAsyncContextManager[Stage]]


@asynccontextmanager
async def _gateway(ground: Ground) -> AsyncIterator[Stage]:
    topics = await ground.topics()

    def writer(users: int) -> AbstractAsyncContextManager[Helper]:
        topic = topics.user if users else topics.broadcast
        return helper("load", ground.bootstrap, topic, 0, users)

    async with ground.worker(topics) as server:
        yield Stage(server, Dialect.GATEWAY, Dialect.GATEWAY, writer)


@asynccontextmanager
async def _nchan(ground: Ground) -> AsyncIterator[Stage]:
    async with nchan(ground.folder) as server:
        writer = partial(helper, "posts", server.port)
        yield Stage(server, Dialect.NCHAN, Dialect.NCHAN_BROADCAST, writer)


@asynccontextmanager
async def _centrifugo(ground: Ground) -> AsyncIterator[Stage]:
    """Run Centrifugo, which reads the same topics and verifies tokens as the gateway does."""
    topics = await ground.topics()
    kafka = {
        "brokers": [ground.bootstrap],
        "topics": [topics.user, topics.broadcast],
        "consumer_group": topics.user,
        "publication_data_mode": {"enabled": True},
    }
    port = free_port()
    configuration = {
        "client": {"token": {"hmac_secret_key": SECRET}, "allowed_origins": ["*"]},
        # What a client has missed, as a tail of the gateway.
        "channel": {
            "without_namespace": {
                "history_size": 1000,
                "history_ttl": "600s",
                "force_recovery": True,
            }
        },
        "consumers": [{"enabled": True, "name": "kafka", "type": "kafka", "kafka": kafka}],
        "uni_sse": {"enabled": True},
        "http_server": {"address": "127.0.0.1", "port": port},
        "log": {"level": "error"},
    }
    home = Path(tempfile.mkdtemp(prefix="centrifugo-", dir=ground.folder))
    file = home / "config.json"
    file.write_text(json.dumps(configuration))

    def writer(users: int) -> AbstractAsyncContextManager[Helper]:
        topic = topics.user if users else topics.broadcast
        return helper("load", ground.bootstrap, topic, 0, users, "channels")

    async with running([_CENTRIFUGO, "-c", str(file)], port, home) as server:
        yield Stage(server, Dialect.CENTRIFUGO, Dialect.CENTRIFUGO_BROADCAST, writer)


_CENTRIFUGO = str(TOOLS / "centrifugo")


@asynccontextmanager
async def _durable(ground: Ground) -> AsyncIterator[Stage]:
    """Run the server without its write-ahead log: nothing else here waits for a disk either."""
    home = Path(tempfile.mkdtemp(prefix="durable-", dir=ground.folder))
    port = free_port()
    command = [_DURABLE, "--port", str(port), "--data-dir", str(home), "--durability", "memory"]

    @asynccontextmanager
    async def writer(users: int) -> AsyncIterator[Helper]:
        async with helper("posts", port, users, DURABLE) as posts:
            await posts.answer(int)
            yield posts

    async with running(command, port, home) as server:
        yield Stage(server, Dialect.DURABLE, Dialect.DURABLE_BROADCAST, writer)


_DURABLE = str(TOOLS / "bin" / "durable-streams-server")


@asynccontextmanager
async def _mercure(ground: Ground) -> AsyncIterator[Stage]:
    """Run Mercure, which keeps its history in a file; here in memory, as nothing waits for a disk.

    Updates are private: Mercure compares their topic with that of each client's token.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="mercure-", dir=MEMORY_FOLDER) as home:
        file = Path(home, "history.db")
        command = [_MERCURE, f"127.0.0.1:{port}", SECRET, str(file)]

        def writer(users: int) -> AbstractAsyncContextManager[Helper]:
            return helper("posts", port, users, MERCURE)

        async with running(command, port, Path(home)) as server:
            yield Stage(server, Dialect.MERCURE, Dialect.MERCURE_BROADCAST, writer)


_MERCURE = str(TOOLS / "mercure")


@asynccontextmanager
async def _pushpin(ground: Ground) -> AsyncIterator[Stage]:
    async with pushpin.pushpin() as (server, control):
        writer = partial(helper, "pushes", control)
        yield Stage(server, Dialect.PUSHPIN, Dialect.PUSHPIN_BROADCAST, writer, resumes=False)


class Rival(NamedTuple):
    """A server to compare with."""

    run: Run
    is_installed: Callable[[], object]
    remedy: str
    """The command that installs it."""


def _has(program: str) -> Callable[[], object]:
    return partial(shutil.which, program)


BUILT = "make rivals"

RIVALS = {
    NCHAN: Rival(_nchan, is_installed, "apt-get install nginx libnginx-mod-nchan"),
    "Centrifugo": Rival(_centrifugo, _has(_CENTRIFUGO), BUILT),
    "Durable Streams": Rival(_durable, _has(_DURABLE), BUILT),
    "Mercure": Rival(_mercure, _has(_MERCURE), BUILT),
    "Pushpin": Rival(_pushpin, pushpin.is_installed, "apt-get install pushpin"),
}


def servers() -> Mapping[str, Run]:
    """Return the servers that are installed, by name, the gateway first."""
    installed = {name: rival.run for name, rival in RIVALS.items() if rival.is_installed()}
    return {GATEWAY: _gateway, **installed}


def missing_rivals() -> list[str]:
    """Return one line for each server that is not installed, with the remedy."""
    return [
        f"{name} is not installed and not measured; to install it: {rival.remedy}"
        for name, rival in RIVALS.items()
        if not rival.is_installed()
    ]


@dataclass(frozen=True)
class Rivals:
    """The same work for each server that is installed.

    `streams` are opened, get events for single users, then broadcasts. After that `clients` drop
    their streams, miss some events each, and return at once.
    """

    streams: int
    clients: int
    events: Pace
    broadcasts: Pace
    missed: int = 10

    @property
    def title(self) -> str:
        return f"{self.streams:,} streams of each server, {self.clients:,} clients that resume"

    async def measure(self, ground: Ground) -> Sample:
        """Measure each server on its own, one after the other.

        A rival that loses events or streams has no values in this round. Raises `Void` if the
        gateway does.
        """
        found: dict[str, Sample] = {}
        sample: Sample = {}
        for name, run in servers().items():
            sample[LOST.of(name)] = 0.0
            try:
                found[name] = await self.measure_one(run, ground)
            except Void:
                if name == GATEWAY:
                    raise
                sample[LOST.of(name)] = 1.0
        for quantity in found[GATEWAY]:
            each = {name: values[quantity] for name, values in found.items() if quantity in values}
            sample |= beside(quantity, each)
        return sample

    async def measure_one(self, run: Run, ground: Ground) -> Sample:
        """Return the values of one server. Raises `Void` if it loses events or streams."""
        async with run(ground) as stage:
            sample = await self._events(stage) | await self._broadcasts(stage)
        if not stage.resumes:
            return sample
        async with run(ground) as stage:
            return sample | await self._resume(stage)

    async def _events(self, stage: Stage) -> Sample:
        server = stage.server
        async with stage.writer(self.streams) as writer:
            empty, closed = resident_kb(server.pid), cpu_seconds(server.pid)
            async with audience(server.port, self.streams, dialect=stage.users) as clients:
                opened = cpu_seconds(server.pid)
                memory = grown_kb(server.pid, empty)
                found = await self.events.deliver(writer, clients, server.pid)
        return {
            OPENING: (opened - closed) / self.streams * 1e6,
            MEMORY: memory / self.streams,
            EVENT: found.cpu,
            P50: found.tally.latency_ms(0.5),
        }

    async def _broadcasts(self, stage: Stage) -> Sample:
        server = stage.server
        async with (
            stage.writer(0) as writer,
            audience(server.port, self.streams, dialect=stage.all) as clients,
        ):
            found = await self.broadcasts.deliver(writer, clients, server.pid, self.streams)
        return {DELIVERY: found.cpu}

    async def _resume(self, stage: Stage) -> Sample:
        server, away = stage.server, self.clients
        async with (
            stage.writer(away) as writer,
            audience(server.port, away, dialect=stage.users) as clients,
        ):
            await writer.ask(to_each(away, 1), Written)  # Nchan's clients have no id before
            await clients.collect(away)
            await clients.leave()
            await writer.ask(to_each(away, self.missed), Written)
            await asyncio.sleep(SETTLE_SECONDS)
            before = cpu_seconds(server.pid)
            seconds = await clients.come_back(server.port, self.missed)
            spent = cpu_seconds(server.pid) - before
            await clients.collect(away * self.missed)
        return {RESUME: spent / away * 1e6, SERVED: seconds}
