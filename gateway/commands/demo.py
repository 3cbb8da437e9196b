"""`gateway demo`: run a broker, a worker and generated activity."""

from __future__ import annotations

import asyncio

from gateway.commands.console import to_stdout
from gateway.commands.fields import with_fields
from gateway.demo.options import DemoOptions  # noqa: TC001 - read by with_fields


@with_fields
def demo(*, options: DemoOptions) -> None:
    """Start a broker, a worker and simulated activity, and print their URLs."""
    from gateway.demo.run import run_demo  # slow: imports a whole worker

    asyncio.run(run_demo(options, to_stdout()))
