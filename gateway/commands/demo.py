"""`gateway demo`: run a broker, a worker and generated activity."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.console import to_stdout
from gateway.demo.options import USERS, DemoOptions

_DEFAULTS = DemoOptions()

Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of the page and the streams.")]
OpsPort = Annotated[int, typer.Option(min=0, max=65535, help="Port of health and metrics.")]
KafkaPort = Annotated[
    int, typer.Option(min=0, max=65535, help="Port of the embedded broker; 0: any.")
]
Bootstrap = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="Existing Kafka to use instead; topics begin with demo-."
    ),
]
Users = Annotated[int, typer.Option(min=1, max=len(USERS), help="Number of simulated users.")]
SourcesFile = Annotated[
    Path | None,
    typer.Option("--sources", metavar="FILE", help="TOML file of sources to try with samples."),
]
Pace = Annotated[float, typer.Option(min=0.1, max=100, help="Activity factor; 2 doubles it.")]


def demo(
    port: Port = _DEFAULTS.port,
    ops_port: OpsPort = _DEFAULTS.ops_port,
    kafka_port: KafkaPort = _DEFAULTS.kafka_port,
    bootstrap: Bootstrap = None,
    users: Users = _DEFAULTS.users,
    pace: Pace = _DEFAULTS.pace,
    sources: SourcesFile = None,
) -> None:
    """Start a broker, a worker and simulated activity, and print their URLs."""
    from gateway.demo.run import run_demo  # slow: imports a whole worker

    options = DemoOptions(port, ops_port, kafka_port, bootstrap, users, pace, sources)
    asyncio.run(run_demo(options, to_stdout()))
