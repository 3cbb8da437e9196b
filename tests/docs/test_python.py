"""The Python examples of the documents run against a broker and a worker.

A block is the body of an async function. The names that it uses are provided below, by
name; addresses of brokers and gateways lead to those of the test. A block ends when its code does,
or when it has handled an event.
"""

from __future__ import annotations

import ast
import asyncio
import json
import re
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest
import pytest_asyncio

from gateway.demo.broker import EmbeddedBroker
from gateway.publisher import EventPublisher
from tests.conftest import use_worker, worker_settings
from tests.docs.markdown import Block, blocks
from tests.eventually import DEADLINE
from tests.records import Topics
from tests.tokens import SECRET, mint
from tests.worker import Worker

SECONDS = DEADLINE

BROKERS = re.compile(r'\[?"(?:127\.0\.0\.1|kafka(?:-\d)?):9092"(?:, "kafka-\d:9092")*\]?')
GATEWAY = re.compile(r"http://(?:127\.0\.0\.1|localhost):8080|https://events\.example\.com")


class Ground(NamedTuple):
    """The environment of an example."""

    worker: Worker
    bootstrap: str


class Done(Exception):
    """The example reached its handler."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    """A worker with default topic names on a separate broker."""
    async with EmbeddedBroker() as broker:
        topics = Topics("user-events", "broadcast-events", "gateway-revocations")
        settings = worker_settings(
            topics, kafka_bootstrap=broker.bootstrap, create_topics="true", live_delay_ms=0
        )
        worker = Worker(settings, tmp_path_factory.mktemp("worker") / "log")
        try:
            await worker.wait_until_ready()
            yield Ground(worker, broker.bootstrap)
        finally:
            worker.end()


def given(ground: Ground) -> dict[str, Any]:
    """Return the names that a document's code may use."""

    def handle(*_: object) -> NoReturn:
        raise Done

    async def new_token(*_: object) -> str:
        return mint("alice")

    return {
        "url": ground.worker.events_url,
        "token": mint("alice"),
        "new_token": new_token,
        "secret": SECRET,
        "json": json,
        "message": {"user_id": "alice", "event_type": "import.completed", "data": {"rows": 9}},
        "handle": handle,
        "show": handle,
        "fetch_state_again": lambda *_: None,
    }


def body(block: Block, ground: Ground) -> str:
    text = BROKERS.sub(f'"{ground.bootstrap}"', block.text)
    text = GATEWAY.sub(ground.worker.url, text)
    return "async def run():\n" + textwrap.indent(text, "    ", lambda line: bool(line.strip()))


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.where)
@pytest.mark.filterwarnings("default")
async def test_a_python_block_runs(
    block: Block,
    ground: Ground,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_worker(request, ground.worker)
    monkeypatch.chdir(tmp_path)
    names = given(ground)
    code = body(block, ground)
    exec(compile(ast.parse(code), block.where, "exec"), names)
    async with asyncio.TaskGroup() as tasks:
        news = tasks.create_task(publish_until_cancelled(ground))
        try:
            async with asyncio.timeout(SECONDS):
                await names["run"]()
        except Done:
            pass
        except NameError as error:
            raise AssertionError(
                f"{block.where}: {error}; give the name in `given` of {__file__}"
            ) from error
        except TimeoutError:
            raise AssertionError(
                f"{block.where}: runs forever, and calls nothing that `given` of {__file__} gives"
            ) from None
        finally:
            news.cancel()


async def publish_until_cancelled(ground: Ground) -> None:
    """Publish events for streams to handle."""
    async with EventPublisher(ground.bootstrap) as publisher:
        while True:
            await publisher.publish("alice", "import.completed", {"rows": 9})
            await asyncio.sleep(0.1)
