"""Draws the dashboard: two workers, some users, and a minute of lifelike events.

    python -m tests.ops.picture [FOLDER] [SECONDS]

`dashboard.png` is what is in docs/images; beside it are the whole page, the dark one and a phone's.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from gateway.core.registry import Registry
from gateway.demo.broker import EmbeddedBroker
from tests.brokers.metadata import create_topics
from tests.client import StreamClient
from tests.conftest import compacted, worker_settings
from tests.demo.webdriver import Browser, find_browser
from tests.records import RecordWriter, Topics
from tests.tokens import mint
from tests.worker import Worker

PARTITIONS = 48
USERS = [f"user-{number}" for number in range(90)]
TOPICS = Topics("user-events", "broadcast-events", "", "gateway-workers")


async def publish(write: RecordWriter, random_: random.Random) -> None:
    """Write some events a second, of all types, in waves."""
    types = list(Registry.built_in().types)
    while True:
        for _ in range(random_.choice([1, 3, 8, 20])):
            user, event_type = random_.choice(USERS), random_.choice(types)
            await write.event(user, event_type, b'{"note": "%d"}' % random_.randrange(10**9))
        await asyncio.sleep(random_.choice([0.1, 0.2, 0.4]))


async def shoot(browser: Browser, url: str, folder: Path) -> None:
    await browser.open(f"{url}/ops")
    print(await browser.complaints())
    await browser.wait_for("return document.querySelectorAll('#sample tbody tr').length > 20", 30)
    save(folder / "dashboard.png", await browser.screenshot())
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    await browser.run(f"document.querySelector('#user').value = '{USERS[0]}'")
    await browser.click("#user-form button")
    await browser.wait_for("return document.querySelector('#user-streams .end')")
    await browser.emulate("Emulation.setEmulatedMedia", features=dark)
    await whole(browser, 1440, 2400, folder / "dark.png")
    await browser.emulate("Emulation.setEmulatedMedia", features=[])
    await whole(browser, 1440, 2400, folder / "whole.png")
    await whole(browser, 390, 4200, folder / "phone.png")


async def whole(browser: Browser, width: int, height: int, path: Path) -> None:
    await browser.emulate(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=height,
        deviceScaleFactor=1,
        mobile=width < 500,
    )
    await browser.run("scrollTo(0, 0)")
    save(path, await browser.screenshot())


def save(path: Path, picture: bytes) -> None:
    path.write_bytes(picture)


async def main(folder: Path, seconds: float) -> None:
    programs = find_browser()
    assert programs is not None, "chromium and chromedriver are needed"
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker())
        await create_topics(
            broker.bootstrap,
            [
                NewTopic(TOPICS.user, PARTITIONS, 1),
                NewTopic(TOPICS.broadcast, 1, 1),
                compacted(TOPICS.workers),
            ],
        )
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers = []
        for name in ("one", "two"):
            settings = worker_settings(TOPICS, kafka_bootstrap=broker.bootstrap)
            worker = Worker(settings, logs / name)
            stack.callback(worker.end)
            await worker.wait_until_ready()
            workers.append(worker)
        for number, user in enumerate(USERS):
            client = StreamClient(workers[number % 3 // 2].events_url, mint(user))
            await stack.enter_async_context(client)
            await client.connect()
        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
        await stack.enter_async_context(producer)
        write = RecordWriter(producer, TOPICS)
        task = asyncio.create_task(publish(write, random.Random(7)))
        stack.callback(task.cancel)
        for user in USERS[:5]:
            stranger = StreamClient(workers[0].events_url, mint(user)[:-2])
            confused = StreamClient(workers[1].events_url, mint(user))
            for client, header in ((stranger, {}), (confused, {"Last-Event-ID": "x"})):
                await stack.enter_async_context(client)
                await client.connect(headers=header)
        await write.record(USERS[7].encode(), b"this is no JSON")
        await asyncio.sleep(seconds)
        browser = Browser(*programs, width=1440, height=1040)
        await stack.enter_async_context(browser)
        await shoot(browser, workers[0].ops_url, folder)
        for line in await browser.complaints():
            print(line)


if __name__ == "__main__":
    arguments = [*sys.argv[1:], "build", "60"]
    target = Path(arguments[0])
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(target, float(arguments[1])))
