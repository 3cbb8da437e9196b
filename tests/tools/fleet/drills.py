"""Two drills: a rolling replacement of workers, and a killed worker."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import NamedTuple

from tests.tools.bench.process import cpu_seconds
from tests.tools.fleet.ground import fleet
from tests.tools.fleet.visitor import Sightings
from tests.worker import Worker

BACK_SECONDS = 60.0
"""Limit until every stream is served again."""

CPU_SAMPLE_SECONDS = 0.5


class Report(NamedTuple):
    """The result of a drill."""

    visitors: int
    written: int
    seen: Sightings
    tracebacks: int
    facts: dict[str, str]
    """Values of this drill only."""

    @property
    def lost(self) -> int:
        """Missing events, also at the end."""
        came = self.seen.events - self.seen.repeated
        return max(self.seen.lost, self.written - came)

    @property
    def is_clean(self) -> bool:
        """Whether every event arrived once and in order, and no client stopped reconnecting."""
        seen = self.seen
        return not (self.lost or seen.repeated or seen.gaps or seen.given_up or self.tracebacks)

    def rows(self) -> dict[str, str]:
        """Return all values."""
        seen = self.seen
        return {
            "streams": str(self.visitors),
            "events written": str(self.written),
            "lost": str(self.lost),
            "repeated": str(seen.repeated),
            "gaps": str(seen.gaps),
            "clients that stopped at an error response": str(seen.given_up),
            "longest interruption of a stream": f"{seen.longest_interruption:.1f} s",
            "longest delay of an event": f"{seen.longest_delay:.1f} s",
            "`stream.close` events": str(seen.goodbyes),
            **self.facts,
        }


async def rolling_deploy(folder: Path, visitors: int, rate: float, drain_seconds: float) -> Report:
    """Replace two workers one after the other while events flow."""
    async with fleet(folder, 2, visitors, drain_seconds=drain_seconds) as running:
        before = await running.crowd.sightings()
        begin = int(time.monotonic())
        async with running.writing(rate):
            for place in range(2):
                worker = running.workers[place]
                worker.signal(signal.SIGTERM)
                assert await asyncio.to_thread(worker.wait, drain_seconds + 30) == 0
                await running.renew(place)
                await running.until_all_follow(visitors, BACK_SECONDS)
        seen = await running.until_all_came()
        facts = {
            "drain of each worker": f"{drain_seconds:g} s",
            "peak of new connections in a second": str(_peak(seen, begin)),
            "requests redirected to their shard": str(seen.redirects - before.redirects),
        }
        return Report(visitors, running.written, seen, running.tracebacks(), facts)


async def storm(folder: Path, visitors: int, rate: float) -> Report:
    """Kill one worker of three while events flow."""
    async with fleet(folder, 3, visitors) as running:
        victim, *others = running.workers
        hit = int(await victim.metric("gateway_streams_open"))
        done = asyncio.Event()
        async with running.writing(rate):
            await asyncio.sleep(2)  # events must be in flight and in the tails
            scans = await _scans(others)
            begin = time.monotonic()
            victim.kill()
            sampling = asyncio.create_task(_peak_cpu(others, done))
            await running.until_all_follow(visitors - hit, BACK_SECONDS)
            await running.until_all_follow(visitors, BACK_SECONDS)
            back = time.monotonic() - begin
            done.set()
        seen = await running.until_all_came()
        made = [after - before for after, before in zip(await _scans(others), scans, strict=True)]
        facts = {
            "streams of the worker that was killed": str(hit),
            "until all were served again": f"{back:.1f} s",
            "peak CPU of a surviving worker": f"{await sampling:.0f} % of a core",
            "peak of new connections in a second": str(_peak(seen, int(begin))),
            "scans of Kafka to serve them": f"{made[0]:.0f}",
            "records that the scans read": f"{made[1]:.0f}",
        }
        return Report(visitors, running.written, seen, running.tracebacks(), facts)


def _peak(seen: Sightings, begin: int) -> int:
    return max((n for second, n in seen.connections.items() if second >= begin), default=0)


async def _scans(workers: list[Worker]) -> list[float]:
    """Return the number of scans and of their records."""
    names = ("gateway_replay_seconds_count", "gateway_replay_records_scanned_total")
    return [sum([await worker.metric(name) for worker in workers]) for name in names]


async def _peak_cpu(workers: list[Worker], done: asyncio.Event) -> float:
    """Return the peak CPU of any worker until the task is done, in percent of a core."""
    peak = 0.0
    while not done.is_set():
        began = time.monotonic()
        used = [cpu_seconds(worker.pid) for worker in workers]
        await asyncio.sleep(CPU_SAMPLE_SECONDS)
        took = time.monotonic() - began
        for worker, before in zip(workers, used, strict=True):
            peak = max(peak, 100 * (cpu_seconds(worker.pid) - before) / took)
    return peak
