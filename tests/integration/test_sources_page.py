"""The examples of docs/sources.md, served: the record of each yields the documented event."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer

from tests.child import free_port
from tests.commands.command import gateway
from tests.conftest import Broker, StartWorker
from tests.docs.markdown import ROOT, blocks
from tests.docs.test_examples import written
from tests.integration.conftest import OpenStream
from tests.records import Topics
from tests.tokens import SECRET, mint

PAGE = [ROOT / "docs/sources.md"]
TOPIC = re.compile(r'topic = "([^"]+)"')


class Example(NamedTuple):
    """A dashboard of sources."""

    topics: list[str]
    file: Path
    record: str
    event: str
    """The type."""
    data: str

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "sources": str(self.file),
            "create_topics": "true",
            "revocations_topic": "",
            "workers_topic": "",
        }


def example(number: int, folder: Path) -> Example:
    toml, record, frame = (
        blocks(language, documents=PAGE)[number].text for language in ("toml", "record", "sse")
    )
    suffix = uuid.uuid4().hex[:8]
    text = TOPIC.sub(rf'topic = "\1-{suffix}"', toml)
    file = folder / "sources.toml"
    file.write_text(text)
    found = re.fullmatch(r"event: (.+)\ndata: (.+)\n", frame)
    assert found is not None
    return Example(TOPIC.findall(text), file, record, found[1], found[2])


async def write(producer: AIOKafkaProducer, topic: str, text: str) -> None:
    record = written(text)
    headers = list(record.headers)
    await producer.send_and_wait(topic, record.value, key=record.key, headers=headers)


@pytest.mark.parametrize("number", range(len(blocks("record", documents=PAGE))))
async def test_an_example_of_the_page_is_served(
    number: int,
    tmp_path: Path,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
) -> None:
    shown = example(number, tmp_path)
    worker = await start_worker(WithoutTopics("", ""), **shown.settings)
    member = await open_stream(worker, "42", token=mint("42", teams=["red", "blue"]))
    stranger = await open_stream(worker, "43", token=mint("43", teams=["green"]))
    await write(producer, shown.topics[0], shown.record)
    await member.wait_for(1)
    await member.reconnect()
    await write(producer, shown.topics[0], shown.record)
    await member.wait_for(2)
    assert [(event.type, event.data) for event in member.events] == [(shown.event, shown.data)] * 2
    assert stranger.events == []


class WithoutTopics(Topics):
    """The sources name the topics, so the settings of topics are absent."""

    @property
    def settings(self) -> dict[str, str]:
        return {}


async def test_check_names_the_missing_part_of_the_newest_records(
    tmp_path: Path, broker: Broker, start_worker: StartWorker, producer: AIOKafkaProducer
) -> None:
    shown = example(0, tmp_path)
    await start_worker(WithoutTopics("", ""), **shown.settings)
    (topic,) = shown.topics
    await write(producer, topic, shown.record)
    await write(producer, topic, "key customer:42\nvalue {}")
    await write(producer, topic, "key 42\nheader kind: paid\nvalue {}")
    settings = {
        **shown.settings,
        "kafka_bootstrap": broker.bootstrap,
        "jwt_secret": SECRET,
        "listen": f"127.0.0.1:{free_port()}",
        "ops_listen": f"127.0.0.1:{free_port()}",
    }
    finished = await gateway("check", settings=settings)
    (row,) = (line for line in finished.out.splitlines() if line.startswith(f"events of {topic}"))
    assert "warning" in row
    assert "1 of the newest 3 records are events" in row
    assert "1 wrong_shape (header `kind` is missing)" in row
    assert "1 key_mismatch (it is not `customer:{user}`)" in row
    assert "an event delivered after" in finished.out
    assert finished.code == 0, finished.out
