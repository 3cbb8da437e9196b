"""Runs the queued work of a worker's hub; the hub's options from the settings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway import clock
from gateway.core.edge import HubOptions
from gateway.core.event_id import Version
from gateway.core.limits import Limits
from gateway.core.partitioner import key_hash
from gateway.supervise import Part, Supervisor

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.core.hub import Hub


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


def hub_options(settings: Settings) -> HubOptions:
    """Return the options of a worker's hub."""
    return HubOptions(
        replay=Limits(
            int(settings.replay_max_age_seconds * 1000),
            settings.replay_max_events,
            settings.replay_max_records,
        ),
        key_hash=key_hash(settings.partitioner),
        tail_bytes=settings.tail_bytes,
        retry_ms=settings.retry_ms,
        heartbeat=settings.heartbeat_seconds,
        slow=settings.slow_seconds,
        id_version=Version.ONE if settings.sources is None else Version.TWO,
    )
