"""`gateway demo`: everything at once, to look at."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from gateway.commands.console import to_stdout
from gateway.demo.options import USERS, DemoOptions

_DEFAULTS = DemoOptions()

Port = Annotated[int, typer.Option(min=0, max=65535, help="Where the page and the streams are.")]
OpsPort = Annotated[int, typer.Option(min=0, max=65535, help="Where health and metrics are.")]
KafkaPort = Annotated[int, typer.Option(min=0, max=65535, help="Of the embedded broker; 0: any.")]
Bootstrap = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="A Kafka that runs already; topics begin with demo-."),
]
Users = Annotated[int, typer.Option(min=1, max=len(USERS), help="How many people there are.")]
Pace = Annotated[float, typer.Option(min=0.1, max=100, help="2 is twice as much activity.")]


def demo(
    port: Port = _DEFAULTS.port,
    ops_port: OpsPort = _DEFAULTS.ops_port,
    kafka_port: KafkaPort = _DEFAULTS.kafka_port,
    bootstrap: Bootstrap = None,
    users: Users = _DEFAULTS.users,
    pace: Pace = _DEFAULTS.pace,
) -> None:
    """Start a broker, a worker and some lifelike activity, and show where to look."""
    from gateway.demo.run import run_demo  # a whole worker, which other commands need not load

    options = DemoOptions(port, ops_port, kafka_port, bootstrap, users, pace)
    asyncio.run(run_demo(options, to_stdout()))
