"""Draws the dashboard: two workers, some users, and a minute of lifelike events.

    python -m tests.ops.picture [FOLDER] [SECONDS] [PARTITIONS] [USERS]

`dashboard.png` is the file in docs/images; the others are the whole page and a phone's, also dark.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections.abc import Sequence
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

PARTITIONS = "48"
USERS = "90"
TOPICS = Topics("user-events", "broadcast-events", "", "gateway-workers")


async def publish(write: RecordWriter, users: Sequence[str], random_: random.Random) -> None:
    """Write some events a second, of all types, in waves."""
    types = list(Registry.built_in().types)
    while True:
        for _ in range(random_.choice([1, 3, 8, 20])):
            user, event_type = random_.choice(users), random_.choice(types)
            await write.event(user, event_type, b'{"note": "%d"}' % random_.randrange(10**9))
        await asyncio.sleep(random_.choice([0.1, 0.2, 0.4]))


async def shoot(browser: Browser, url: str, folder: Path) -> None:
    await browser.open(f"{url}/ops")
    print(await browser.complaints())
    await browser.wait_for("return document.querySelectorAll('#sample tbody tr').length > 20")
    save(folder / "dashboard.png", await browser.screenshot())
    await browser.run("document.querySelector('#user').value = 'user-0'")
    await browser.click("#user-form button")
    await browser.wait_for("return document.querySelector('#user-streams .end')")
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await browser.emulate("Emulation.setEmulatedMedia", features=features)
        await whole(browser, 1440, 2400, folder / f"whole-{scheme}.png")
        await whole(browser, 390, 4200, folder / f"phone-{scheme}.png")


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


async def main(folder: Path, seconds: float, partitions: int, users: Sequence[str]) -> None:
    programs = find_browser()
    assert programs is not None, "chromium and chromedriver are needed"
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker())
        await create_topics(
            broker.bootstrap,
            [
                NewTopic(TOPICS.user, partitions, 1),
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
        for number, user in enumerate(users):
            client = StreamClient(workers[number % 3 // 2].events_url, mint(user))
            await stack.enter_async_context(client)
            await client.connect()
        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
        await stack.enter_async_context(producer)
        write = RecordWriter(producer, TOPICS)
        task = asyncio.create_task(publish(write, users, random.Random(7)))
        stack.callback(task.cancel)
        for user in users[:5]:
            stranger = StreamClient(workers[0].events_url, mint(user)[:-2])
            confused = StreamClient(workers[1].events_url, mint(user))
            for client, header in ((stranger, {}), (confused, {"Last-Event-ID": "x"})):
                await stack.enter_async_context(client)
                await client.connect(headers=header)
        await write.record(users[7].encode(), b"not JSON")
        await asyncio.sleep(seconds)
        browser = Browser(*programs, width=1440, height=1040)
        await stack.enter_async_context(browser)
        await shoot(browser, workers[0].ops_url, folder)
        for line in await browser.complaints():
            print(line)


if __name__ == "__main__":
    given = sys.argv[1:]
    folder, seconds, partitions, count = given + ["build", "60", PARTITIONS, USERS][len(given) :]
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    names = [f"user-{number}" for number in range(int(count))]
    asyncio.run(main(target, float(seconds), int(partitions), names))
