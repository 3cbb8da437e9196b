"""Builds the hub of a worker, and runs its queued work."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from gateway import clock
from gateway.core.event_id import Version
from gateway.core.hub import Hub
from gateway.core.limits import Limits
from gateway.ops.traced import TracedHub
from gateway.supervise import Part, Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import Settings
    from gateway.core.feed import PartitionFeed
    from gateway.core.interpreter import Interpreter
    from gateway.core.observer import Observer
    from gateway.ops.spans import Spans


class Pump:
    """Runs the hub's work step by step, and yields to the event loop between steps."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._contain = supervisor.contain
        self._more = asyncio.Event()

    def wake(self) -> None:
        """Run the hub's work: the hub calls this when it has some."""
        self._more.set()

    async def run(self, hub: Hub) -> None:
        """Run for as long as the task lives."""
        while True:
            await self._more.wait()
            self._more.clear()
            more = True
            while more:
                more = False  # after an exception the next tick resumes the remaining work
                with self._contain(Part.STREAM):
                    more = hub.step(clock.now())
                await asyncio.sleep(0)


def make_hub(
    settings: Settings,
    interpreter: Interpreter,
    observer: Observer,
    supervisor: Supervisor,
    spans: Spans | None,
    *,
    wake: Callable[[PartitionFeed], None],
    busy: Callable[[], None],
) -> Hub:
    """Return the hub of a worker, traced with `spans`; `wake` and `busy` are those of `Hub`."""
    made = Hub if spans is None else partial(TracedHub, spans, supervisor)
    return made(
        interpreter=interpreter,
        limits=Limits(
            int(settings.replay_max_age_seconds * 1000),
            settings.replay_max_events,
            settings.replay_max_records,
        ),
        tail_bytes=settings.tail_bytes,
        retry_ms=settings.retry_ms,
        heartbeat=settings.heartbeat_seconds,
        slow=settings.slow_seconds,
        observer=observer,
        wake=wake,
        busy=busy,
        contain=partial(supervisor.contain, Part.STREAM),
        id_version=Version.ONE if settings.sources is None else Version.TWO,
    )
