"""Every command that the documents print runs as printed, on one broker and one worker.

Ports are those of the test, and words in capitals are filled in from `FILLED_IN`. A command that
runs until Ctrl-C has to show its first output, and to end on SIGINT with its documented exit code.
The tutorial runs as a whole: `test_tutorial.py`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from gateway.demo.broker import EmbeddedBroker
from tests.brokers.metadata import create_topics
from tests.child import free_port
from tests.client import StreamClient
from tests.docs.markdown import DOCUMENTS, blocks, name_of
from tests.docs.shell import Shell
from tests.integration.poison import user_of
from tests.tokens import SECRET, mint
from tests.worker import Worker

ELSEWHERE = {
    r"make |[A-Z_]+=\S* make |\.venv/bin/": "development tools, this suite among them",
    "python3 -m venv|source |pip |/opt/|apt-get|export ": "installing: tests/test_wheel.py",
    "docker ": "tests/deploy/test_image.py",
    "install |systemctl ": "tests/deploy/test_systemd.py",
    "kubectl |helm ": "tests/deploy/test_helm.py",
    "java ": "tests/writers",
    r"[A-Z_]+=\S*$": "a setting, not a command",
    "gateway conformance .*/sub/alice": "another server: tests/conformance/test_run.py",
}
"""Lines of shell blocks that are not run, by their beginning, with the reason."""

FILLED_IN = {
    "gateway check --token-file FILE": "gateway check --token-file token",
    "gateway demo --sources FILE": "gateway demo --sources sources.toml",
    "gateway id EVENT_ID": 'gateway id "$(cat id)"',
    "gateway id ID": 'gateway id "$(cat id)"',
    "gateway publish --topic TOPIC USER TYPE JSON": (
        "GATEWAY_SOURCES=sources.toml gateway publish --topic user-events bob import.started '{}'"
    ),
    "gateway record TOPIC PARTITION OFFSET": "gateway record user-events 0 0",
    "gateway revoke USER --lift": "gateway revoke carol --lift",
    "gateway serve --workers N": "gateway serve --workers 2",
    "gateway streams --user ID": "gateway streams --user alice",
    "gateway tail --json": "gateway tail alice --json",
    "gateway tail USER --group NAME": (
        "GATEWAY_SOURCES=sources.toml gateway tail alice --group red"
    ),
    "gateway token --explain FILE": "gateway token --explain token",
    "gateway token --explain": "gateway token --explain token",
}
"""Commands in running text that need arguments, with arguments."""

NAMES = {
    f"gateway {name}"
    for name in ("conformance", "id", "plan", "revoke", "streams", "tail", "token")
}
"""Names of commands that need arguments."""

ENDLESS = {
    "curl -N": ("retry:", -2),
    "gateway tail": ("connected to", 130),
    "gateway serve": ('"event": "ready"', 0),
    "gateway demo": ("/demo", 0),
}
"""Commands that run until SIGINT: their first output, and the exit code (minus: the signal)."""

_SPAN = re.compile(r"`((?:gateway [a-z]+|curl|openssl)(?: [^`\n]+)?)`")


def shell_lines() -> Iterator[tuple[str, str]]:
    """Yield each line of the shell blocks without comments, after its document and line."""
    for block in blocks("sh"):
        if block.document == "docs/tutorial.md":
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            command = re.sub(r"\s+# .*$", "", line).strip()
            if command and not re.match("|".join(ELSEWHERE), command):
                yield block.where, command


def inline_lines() -> Iterator[tuple[str, str]]:
    """Yield the commands in running text with their arguments, after their document."""
    for document in DOCUMENTS:
        for line in _SPAN.findall(document.read_text(encoding="utf-8")):
            if "[" not in line and line not in NAMES:
                yield name_of(document), FILLED_IN.get(line, line)


LINES = {line: where for where, line in [*inline_lines(), *shell_lines()]}
"""All lines, each with a place where it is printed."""


class Ground(NamedTuple):
    """A broker, a worker with default names of topics, and a shell with the settings of both."""

    bootstrap: str
    worker: Worker
    shell: Shell


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    folder = tmp_path_factory.mktemp("commands")
    async with EmbeddedBroker() as broker:
        await create_topics(broker.bootstrap, [NewTopic("orders", 4, 1)])
        settings = {
            "GATEWAY_KAFKA_BOOTSTRAP": broker.bootstrap,
            "GATEWAY_JWT_SECRET": SECRET,
            "GATEWAY_CREATE_TOPICS": "true",
            "GATEWAY_DRAIN_SECONDS": "0",
        }
        worker = Worker(settings, folder / "log")
        try:
            await worker.wait_until_ready()
            await prepare(broker.bootstrap, worker, folder)
            settings["GATEWAY_LISTEN"] = f"127.0.0.1:{worker.port}"
            settings["GATEWAY_OPS_LISTEN"] = f"127.0.0.1:{worker.ops_port}"
            settings |= {"GATEWAY_LOG_KEY": "k" * 32, "TOKEN": mint("alice")}
            ports = {8080: worker.port, 8081: worker.ops_port}
            yield Ground(broker.bootstrap, worker, Shell(folder, ports, settings))
        finally:
            worker.end()


async def prepare(bootstrap: str, worker: Worker, folder: Path) -> None:
    """Write the records and files that printed lines name."""
    order = json.dumps({"event_type": "order.paid", "data": {}}).encode()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        key = user_of(3, 4).encode()
        for _ in range(1201):
            await producer.send("orders", order, key=key, partition=3)
        key = user_of(0, 12).encode()
        await producer.send("user-events", order, key=key, partition=0)
        await producer.flush()
    async with StreamClient(worker.events_url, mint("alice")) as client:
        await client.connect()
        await client.wait_for(lambda client: client.last_event_id)
        event_id = client.last_event_id
    group = '[[source]]\ntopic = "orders"\naudience = "group"\ngroups = "groups"\n'
    files = {
        "id": event_id,
        "token": mint("alice"),
        "events.jsonl": '{"user_id": "alice", "event_type": "import.started"}\n',
        "sources.toml": f'[[source]]\ntopic = "user-events"\n\n{group}',
    }
    for name, text in files.items():
        await asyncio.to_thread((folder / name).write_text, text)


async def run(shell: Shell, line: str) -> None:
    for begin, (first, code) in ENDLESS.items():
        if begin not in line.partition(" --publish")[0]:
            continue
        if begin in {"gateway serve", "gateway demo"}:
            ports = free_port(), free_port()
            own = {
                "GATEWAY_LISTEN": f"127.0.0.1:{ports[0]}",
                "GATEWAY_OPS_LISTEN": f"127.0.0.1:{ports[1]}",
            }
            if begin == "gateway demo":
                line += f" --port {ports[0]} --ops-port {ports[1]}"
            shell = shell.with_(**own)
        await shell.interrupt(line, first, code)
        return
    if line.startswith("gateway conformance"):
        line += " --only media-type"  # all cases: tests/conformance/test_gateway.py
    await shell.run(line)


DRAIN = "curl -X POST http://127.0.0.1:8081/ops/drain"


async def test_every_printed_command_runs(ground: Ground) -> None:
    places = asyncio.Semaphore(3)
    failed: list[str] = []

    async def try_(line: str, where: str) -> None:
        async with places:
            try:
                await run(ground.shell, line)
            except AssertionError as error:
                failed.append(f"{where}: {error}")

    await asyncio.gather(*[try_(line, where) for line, where in LINES.items() if line != DRAIN])
    assert not failed, "\n".join(failed)


async def test_commands_in_hints_run_and_show_the_event(ground: Ground) -> None:
    terminal = ground.shell.with_(FORCE_COLOR="1", TERM="dumb")
    async with terminal.started("gateway tail dora") as tail:
        await tail.until("connected to")
        hint = await tail.until(r"another terminal: (gateway publish dora .+?)\s*$")
        out = await terminal.run(hint[1].decode())
        await tail.until(r"import\.started")
    show = re.search(r"show the event: (gateway tail dora --since \S+)", out)
    assert show is not None, out
    await terminal.interrupt(show[1], r"import\.started", 130)


async def test_the_command_of_an_issue_shows_the_record(ground: Ground) -> None:
    """The dashboard names the last record that was skipped."""
    async with (
        StreamClient(ground.worker.events_url, mint("eve")) as client,
        AIOKafkaProducer(bootstrap_servers=ground.bootstrap) as producer,
    ):
        await client.connect()
        await client.wait_for(lambda client: client.last_event_id)
        sent = await producer.send_and_wait("user-events", b"not an event", key=b"eve")
        async with ground.shell.started("curl -sN http://127.0.0.1:8081/ops/events") as dashboard:
            found = await dashboard.until(r"Show the last one: (gateway record [\w-]+ \d+ \d+)")
    assert found[1].decode() == f"gateway record user-events {sent.partition} {sent.offset}"
    assert "not an event" in await ground.shell.run(found[1].decode())


async def test_the_printed_drain_ends_the_worker(ground: Ground) -> None:
    """The last test of this file: it ends the worker of the others."""
    await ground.shell.run(DRAIN)
    assert ground.worker.wait() == 0


def test_every_listed_command_is_printed() -> None:
    text = "".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    for line in {*FILLED_IN, *NAMES}:
        assert f"`{line}`" in text, f"remove {line!r} from {__file__}"
