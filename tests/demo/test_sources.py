"""`gateway demo --sources FILE`: sample events of each source, on the embedded broker."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from random import Random

import aiohttp
import pytest

from gateway.core.registry import Registry
from gateway.demo.options import DemoOptions, demo_settings
from gateway.demo.sources import activity, registry_of, samples
from gateway.errors import SettingsError
from gateway.sources import parse_sources
from tests.child import Child, free_port
from tests.client import StreamClient
from tests.eventually import eventually

SOURCES = """
[[source]]
topic = "orders"
key = "customer:{user}"
type = "order.{header:kind}"
category = "orders"

[[source]]
topic = "tickets"
audience = "group"
groups = "org.teams"
type = "ticket.{field:state}"

[[source]]
topic = "news"
audience = "all"
type = "news"
data = "field:body"
"""


def test_the_samples_have_the_types_of_the_sources() -> None:
    found = samples(parse_sources(SOURCES), Registry.built_in())
    assert [(sample.type, sample.category) for sample in found] == [
        ("order.created", "orders"),
        ("order.updated", "orders"),
        ("order.closed", "orders"),
        ("ticket.created", None),
        ("ticket.updated", None),
        ("ticket.closed", None),
        ("news", None),
    ]
    assert registry_of(found).categories == ("orders",)
    steps = activity(found, ["alice"], Random(1))
    names = {(step.type.split(".")[0], step.user) for step, _ in zip(steps, range(30))}  # noqa: B905
    assert names == {("order", "alice"), ("ticket", "red"), ("ticket", "blue"), ("news", None)}


def test_sources_that_the_demo_cannot_show_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match="lacks a Schema Registry for topic a: remove its format"
    ):
        samples(parse_sources('[[source]]\ntopic = "a"\nformat = "avro"'), Registry.built_in())
    file = tmp_path / "sources.toml"
    with pytest.raises(SettingsError, match="--sources cannot be combined with --bootstrap"):
        demo_settings(DemoOptions(sources=file, bootstrap="kafka:9092"), "kafka:9092")
    with pytest.raises(SettingsError, match="cannot be read"):
        demo_settings(DemoOptions(sources=file), "127.0.0.1:9092")


async def test_the_demo_serves_a_file_of_sources(tmp_path: Path) -> None:
    (tmp_path / "sources.toml").write_text(SOURCES)
    port = free_port()
    words = ["--port", str(port), "--ops-port", str(free_port()), "--users", "2", "--pace", "5"]
    command = [sys.executable, "-m", "gateway", "demo", *words]
    running = Child([*command, "--sources", str(tmp_path / "sources.toml")], tmp_path / "output")
    url = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as http:

            async def token() -> bool:
                try:
                    async with http.get(f"{url}/demo/token?user=alice") as response:
                        tokens.append((await response.json())["token"])
                except aiohttp.ClientError:
                    assert running.exit_code is None, running.log()
                    return False
                return True

            tokens: list[str] = []
            await eventually("the demo serves its page", token)

            async def ready() -> bool:
                async with http.get(
                    f"{url}/api/v1/events", headers={"Authorization": f"Bearer {tokens[-1]}"}
                ) as response:
                    return response.status == 200

            await eventually("the demo serves streams", ready)
        async with StreamClient(f"{url}/api/v1/events", tokens[-1]) as client:
            await client.connect()
            await client.wait_for(
                lambda client: (
                    {event.type.split(".")[0] for event in client.events}
                    >= {"order", "ticket", "news"}
                )
            )
            assert all('"sample":' in event.data for event in client.events)
        running.signal(signal.SIGINT)
        assert running.wait() == 0, running.log()
    finally:
        running.end()
