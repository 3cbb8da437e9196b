"""One function for each producer: it writes rows of key and value, and returns their partitions."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from confluent_kafka import Producer

from tests.brokers.kafka import fetch_jars
from tests.programs import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import Message

SOURCES = Path(__file__).parent

RUN_SECONDS = 100.0
"""Go compiles its library at the first run of a machine: 25 s on two cores, later 1 s."""

NOWHERE = -1
"""The partition of a record that was not written."""

Rows = list[tuple[str, str]]


class Write(Protocol):
    """Writes the rows, in order, and returns the partition of each."""

    async def __call__(
        self, bootstrap: str, topic: str, rows: Rows, folder: Path, /
    ) -> list[int]: ...


async def java(bootstrap: str, topic: str, rows: Rows, folder: Path) -> list[int]:
    """Write with the Java client, the one that Kafka brings."""
    require("java", "javac")
    command = ["java", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]
    classes = f"{fetch_jars()}/*"
    source = SOURCES / "java" / "Write.java"
    return await _partitions([*command, "-cp", classes, str(source), bootstrap, topic], rows)


async def kafkajs(bootstrap: str, topic: str, rows: Rows, folder: Path) -> list[int]:
    """Write with KafkaJS, installed into the folder."""
    require("node", "npm", in_ci=False)
    shutil.copytree(SOURCES / "node", folder, dirs_exist_ok=True)
    await _run(["npm", "ci", "--no-audit", "--no-fund"], folder)
    return await _partitions(["node", "write.js", bootstrap, topic], rows, folder)


async def franz_go(bootstrap: str, topic: str, rows: Rows, folder: Path) -> list[int]:
    """Write with franz-go, built into the folder."""
    require("go", in_ci=False)
    program = folder / "write"
    await _run(["go", "build", "-o", str(program), "."], SOURCES / "go")
    return await _partitions([str(program), bootstrap, topic], rows)


async def librdkafka(bootstrap: str, topic: str, rows: Rows, folder: Path) -> list[int]:
    """Write with librdkafka as it is: it partitions by CRC-32."""
    return await _librdkafka(bootstrap, topic, rows, {})


async def librdkafka_murmur2(bootstrap: str, topic: str, rows: Rows, folder: Path) -> list[int]:
    """Write with librdkafka, set to partition as the Java client does."""
    return await _librdkafka(bootstrap, topic, rows, {"partitioner": "murmur2_random"})


async def _librdkafka(bootstrap: str, topic: str, rows: Rows, options: dict[str, str]) -> list[int]:
    def write() -> list[int]:
        partitions = [NOWHERE] * len(rows)
        producer = Producer({"bootstrap.servers": bootstrap, **options})
        for number, (key, value) in enumerate(rows):

            def delivered(error: object, message: Message, number: int = number) -> None:
                if error is None:
                    partitions[number] = message.partition() or 0

            producer.produce(topic, value.encode(), key.encode(), on_delivery=delivered)
        producer.flush(RUN_SECONDS)
        return partitions

    return await asyncio.to_thread(write)


async def _partitions(command: Sequence[str], rows: Rows, folder: Path | None = None) -> list[int]:
    text = "".join(f"{key}\t{value}\n" for key, value in rows)
    return [int(line) for line in (await _run(command, folder, text)).split()]


async def _run(command: Sequence[str], folder: Path | None, text: str = "") -> str:
    """Run a program to its end, and return what it says; it must not fail."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(RUN_SECONDS):
            out, err = await process.communicate(text.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode(errors="replace")
    return out.decode()
