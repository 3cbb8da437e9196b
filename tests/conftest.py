"""Fixtures that need a broker: one of each kind a session, fresh topics and workers for each test.

A test that asks for `broker`, or for anything that is made from it, runs twice: on the embedded
broker and on a real Apache Kafka. Both are processes, started once.
"""

from __future__ import annotations

import logging
import os
import signal
import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import aiohttp
import pytest
import pytest_asyncio
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic
from hypothesis import HealthCheck, settings

from gateway.demo.broker import EmbeddedBroker
from tests.brokers import kafka, metadata
from tests.brokers.cluster import Cluster
from tests.demo.webdriver import Browser, find_browser
from tests.eventually import DEADLINE
from tests.programs import require
from tests.records import RecordWriter, Topics, WithSettings
from tests.skipped import pytest_terminal_summary as pytest_terminal_summary
from tests.tokens import SECRET
from tests.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Generator, Iterator

    from tests.shared import Shared

PARTITIONS = 4

Logs = list[tuple[Worker, int]]
"""Workers that a test used, and where in its log the test began."""

_WORKERS = pytest.StashKey[Logs]()


class Broker(NamedTuple):
    """A running broker, for tests that ask which one."""

    kind: str
    bootstrap: str


class MakeTopics(Protocol):
    """Makes topics with unique names: a pair, and the others that are given partitions."""

    def __call__(
        self, partitions: int = PARTITIONS, *, revocations: int = 0, workers: int = 0
    ) -> Awaitable[Topics]: ...


class StartWorker(Protocol):
    """Starts a worker with settings given without their prefix, in lower case."""

    def __call__(
        self,
        topics: WithSettings,
        *,
        ready: bool = True,
        arguments: Any = (),
        **settings: object,
    ) -> Awaitable[Worker]: ...


def pytest_configure(config: pytest.Config) -> None:
    """Set time limits, remove the settings of the shell, and let child processes receive SIGINT.

    A shell in which the README was followed has `GATEWAY_…` variables. Examples have no deadline,
    and may be made slowly. A test may take as long as ten waits that fail, unless `--timeout` says
    otherwise. A shell starts a background job with SIGINT ignored; its children inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        del os.environ[name]
    if config.option.timeout is None:
        config.option.timeout = 10 * DEADLINE
    settings.register_profile(
        "patient",
        parent=settings(),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("patient")


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=["embedded", "kafka"])
async def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Broker]:
    if request.param == "embedded":
        async with EmbeddedBroker() as embedded:
            yield Broker("embedded", embedded.bootstrap)
        return
    require_kafka()
    # Topics that are compacted are looked at ten times a second, instead of every 15 s.
    cleaner = {"log.cleaner.backoff.ms": 100}
    async with kafka.KafkaNode(tmp_path_factory.mktemp("kafka"), properties=cleaner) as node:
        yield Broker("kafka", node.bootstrap)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    require_kafka()
    async with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def require_kafka() -> None:
    """Skip the test if a real Kafka cannot be run; fail it where Kafka is required."""
    if missing := kafka.missing_programs():
        reason = f"Apache Kafka cannot be run: {' and '.join(missing)} not installed"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Undo what `log.configure` changes in this process, also for tests that do not call it.

    A logger that structlog caches would keep the level and the file of the test that used it first.
    """
    configure = structlog.configure

    def configure_without_cache(**options: Any) -> None:
        configure(**{**options, "cache_logger_on_first_use": False})

    root, aiokafka = logging.getLogger(), logging.getLogger("aiokafka")
    handlers, levels = root.handlers, (root.level, aiokafka.level)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(structlog, "configure", configure_without_cache)
        yield
    root.handlers = handlers
    root.setLevel(levels[0])
    aiokafka.setLevel(levels[1])
    if structlog.is_configured():
        structlog.reset_defaults()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium; without Chromium the test is skipped, or fails with `CI` set."""
    require("chromium", "chromedriver")
    programs = find_browser()
    assert programs is not None
    async with Browser(*programs) as opened:
        yield opened


@pytest.fixture
def topics(broker: Broker) -> MakeTopics:
    async def make(
        partitions: int = PARTITIONS, *, revocations: int = 0, workers: int = 0
    ) -> Topics:
        return await make_topics(broker, partitions, revocations, workers)

    return make


async def make_topics(
    broker: Broker, partitions: int = PARTITIONS, revocations: int = 0, workers: int = 0
) -> Topics:
    """Create topics that no other test uses, with so many partitions each; 0: none."""
    name = uuid.uuid4().hex[:8]
    made = Topics(f"user-events-{name}", f"broadcast-events-{name}")
    wanted = [NewTopic(made.user, partitions, 1), NewTopic(made.broadcast, 1, 1)]
    if revocations:
        made = made._replace(revocations=f"gateway-revocations-{name}")
        wanted.append(compacted(made.revocations, revocations))
    if workers:
        made = made._replace(workers=f"gateway-workers-{name}")
        wanted.append(compacted(made.workers, workers))
    await metadata.create_topics(broker.bootstrap, wanted)
    return made


def compacted(name: str, partitions: int = 1) -> NewTopic:
    """Return a topic that keeps the last record of each key."""
    return NewTopic(name, partitions, 1, topic_configs={"cleanup.policy": "compact"})


@pytest.fixture
async def producer(broker: Broker) -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap, max_request_size=4 << 20
    ) as started:
        yield started


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE)) as session:
        yield session


@pytest.fixture
async def start_worker(
    broker: Broker, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[StartWorker]:
    with ExitStack() as workers:

        async def start(
            topics: WithSettings,
            *,
            ready: bool = True,
            arguments: Any = (),
            **settings: object,
        ) -> Worker:
            worker = Worker(
                worker_settings(topics, **{"kafka_bootstrap": broker.bootstrap, **settings}),
                tmp_path_factory.mktemp("worker") / "log",
                arguments=arguments,
            )
            workers.callback(worker.end)
            use_worker(request, worker)
            if ready:
                await worker.wait_until_ready()
            return worker

        yield start


@pytest.fixture
def worker(shared: Shared, request: pytest.FixtureRequest) -> Worker:
    """The worker that a folder's tests share, by its fixture `shared`."""
    use_worker(request, shared.worker)
    return shared.worker


@pytest.fixture
def write(shared: Shared, producer: AIOKafkaProducer) -> RecordWriter:
    """Writes into the topics of the shared worker."""
    return RecordWriter(producer, shared.topics)


def worker_settings(topics: WithSettings, **settings: object) -> dict[str, str]:
    """Return the environment of a worker; a drain takes no time unless a test asks for it."""
    published = {"jwt_jwks_url", "oidc_issuers"} & settings.keys()
    key = {} if published else {"GATEWAY_JWT_SECRET": SECRET}
    return {
        **topics.settings,
        **key,
        "GATEWAY_DRAIN_SECONDS": "0",
        **{f"GATEWAY_{name.upper()}": str(value) for name, value in settings.items()},
    }


def use_worker(request: pytest.FixtureRequest, worker: Worker) -> None:
    """Show what the worker logs from now on where the test fails."""
    request.node.stash.setdefault(_WORKERS, []).append((worker, worker.log_size()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for worker, begin in item.stash.get(_WORKERS, []):
            report.sections.append((f"log of worker {worker.pid}", worker.log(begin)))
    return report
