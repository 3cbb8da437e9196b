"""One function for each producer: it writes rows, and returns the partition of each record."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from tests.brokers.kafka import fetch_jars
from tests.eventually import DEADLINE
from tests.programs import require
from tests.writers.fetched import SOURCES, connect_jars, node_modules

RUN_SECONDS = 4 * DEADLINE
"""Go compiles its library at the first run of a machine: 25 s on two cores, later 1 s."""

JAVA = ("java", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error")


class Row(NamedTuple):
    """A record to write."""

    key: str
    value: str
    headers: tuple[tuple[str, str], ...] = ()


class Write(Protocol):
    """Writes the rows, in order, and returns the partition of each."""

    async def __call__(
        self, bootstrap: str, topic: str, rows: Sequence[Row], folder: Path, /
    ) -> list[int]: ...


async def java(bootstrap: str, topic: str, rows: Sequence[Row], folder: Path) -> list[int]:
    """Write with the Java client, the one that Kafka brings."""
    require("java", "javac")
    source = SOURCES / "java" / "Write.java"
    return await _partitions(
        [*JAVA, "-cp", f"{fetch_jars()}/*", str(source), bootstrap, topic], rows
    )


async def kafka_python(bootstrap: str, topic: str, rows: Sequence[Row], folder: Path) -> list[int]:
    """Write with kafka-python."""
    source = SOURCES / "python" / "kafka_python.py"
    return await _partitions([sys.executable, str(source), bootstrap, topic], rows)


async def kafkajs(bootstrap: str, topic: str, rows: Sequence[Row], folder: Path) -> list[int]:
    """Write with KafkaJS."""
    return await _node(["kafkajs.js", bootstrap, topic], rows, folder)


async def platformatic(bootstrap: str, topic: str, rows: Sequence[Row], folder: Path) -> list[int]:
    """Write with @platformatic/kafka, set to partition as the Java client does."""
    return await _node(["platformatic.mjs", bootstrap, topic], rows, folder)


async def platformatic_as_it_is(
    bootstrap: str, topic: str, rows: Sequence[Row], folder: Path
) -> list[int]:
    """Write with @platformatic/kafka, whose partitioner differs from all others."""
    return await _node(["platformatic.mjs", bootstrap, topic, "default"], rows, folder)


async def cloud_events_of_javascript(
    bootstrap: str, topic: str, rows: Sequence[Row], folder: Path
) -> list[int]:
    """Write CloudEvents with their JavaScript SDK; each row has headers `type` and `mode`."""
    return await _node(["cloudevents.js", bootstrap, topic], rows, folder)


async def franz_go(bootstrap: str, topic: str, rows: Sequence[Row], folder: Path) -> list[int]:
    """Write with franz-go, built into the folder."""
    require("go", in_ci=False)
    program = folder / "write"
    await _run(["go", "build", "-o", str(program), "."], SOURCES / "go")
    return await _partitions([str(program), bootstrap, topic], rows)


async def outbox(
    bootstrap: str, rows: Sequence[Row], configurations: Sequence[Mapping[str, str]], folder: Path
) -> list[int]:
    """Write rows of an outbox table as Kafka Connect does, once with each configuration.

    A row's header is its event type. The topic is that of the configuration.
    """
    require("java", "javac", "mvn")
    files = []
    for number, configuration in enumerate(configurations):
        file = folder / f"connector-{number}.json"
        file.write_text(json.dumps(configuration))
        files.append(str(file))
    source = SOURCES / "connect" / "Outbox.java"
    classes = f"{await asyncio.to_thread(connect_jars)}/*"
    lines = "".join(f"{row.key}\t{row.headers[0][1]}\t{row.value}\n" for row in rows)
    said = await _run([*JAVA, "-cp", classes, str(source), bootstrap, *files], None, lines)
    return [int(line) for line in said.split()]


async def _node(command: Sequence[str], rows: Sequence[Row], folder: Path) -> list[int]:
    require("node", "npm", in_ci=False)
    shutil.copytree(SOURCES / "node", folder, dirs_exist_ok=True)
    modules = folder / "node_modules"
    if not modules.exists():
        modules.symlink_to(await asyncio.to_thread(node_modules))
    return await _partitions(["node", *command], rows, folder)


async def _partitions(
    command: Sequence[str], rows: Sequence[Row], folder: Path | None = None
) -> list[int]:
    fields = [
        [row.key, row.value, *(part for header in row.headers for part in header)] for row in rows
    ]
    text = "".join("\t".join(line) + "\n" for line in fields)
    return [int(line) for line in (await _run(command, folder, text)).split()]


async def _run(command: Sequence[str], folder: Path | None, text: str = "") -> str:
    """Run a program to its end and return its output; the program must not fail."""
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
