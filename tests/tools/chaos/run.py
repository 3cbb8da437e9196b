"""One chaos run: concurrent faults, a calm phase, then the verdict."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.eventually import DEADLINE, eventually
from tests.tools.chaos.client import ChaosClient
from tests.tools.chaos.ground import PARTITIONS, TOPICS, Ground
from tests.tools.chaos.report import Report
from tests.tools.chaos.schedule import Fault, schedule
from tests.tools.chaos.verdict import Told, Verdict, judge
from tests.writing import SteadyWriter, numbers_by_user

CLIENTS = 300
INTERVAL = 1.0
"""Seconds between two events of a user."""

FOLLOW_SECONDS = DEADLINE
QUIET_SECONDS = DEADLINE
"""Limit for the last event after the last write."""


async def run(seed: int, seconds: float, folder: Path, clients: int = CLIENTS) -> Report:
    """Cause faults for `seconds` and return the results; takes about 20 s longer."""
    faults = schedule(seed, seconds)
    async with Ground(folder) as ground, asyncio.TaskGroup() as group:
        calm = asyncio.Event()
        crowd = [
            ChaosClient(f"user-{number}", ground.workers, random.Random(f"{seed}/{number}"))
            for number in range(clients)
        ]
        visits = [group.create_task(client.run(calm)) for client in crowd]
        async with asyncio.timeout(FOLLOW_SECONDS):
            for client in crowd:
                await client.following.wait()
        writer = SteadyWriter(
            ground.cluster.bootstrap,
            TOPICS.user,
            [client.user for client in crowd],
            interval=INTERVAL,
        )
        async with writer.writing():
            await _inject(ground, faults, seconds)
        calm.set()
        written = await numbers_by_user(ground.cluster.bootstrap, TOPICS.user, PARTITIONS)
        await _wait_for_the_last(crowd, written)
        for visit in visits:
            visit.cancel()
    return _report(ground, crowd, writer, written)


async def _inject(ground: Ground, faults: list[Fault], seconds: float) -> None:
    """Cause the faults of a lane at their times; a late fault delays the following ones."""
    begin = time.monotonic()

    async def lane(*, of_broker: bool) -> None:
        for fault in faults:
            if fault.kind.of_broker == of_broker:
                await asyncio.sleep(begin + fault.at - time.monotonic())
                await ground.inject(fault)

    async with asyncio.TaskGroup() as group:
        group.create_task(lane(of_broker=True))
        group.create_task(lane(of_broker=False))
        group.create_task(asyncio.sleep(seconds))


async def _wait_for_the_last(crowd: list[ChaosClient], written: dict[str, list[int]]) -> None:
    """Return when every client has its last event, or after a timeout: the rest is lost."""
    with suppress(AssertionError):
        await eventually(
            "every client has its last event",
            lambda: all(
                number in client.came
                for client in crowd
                for number in written.get(client.user, [])[-1:]
            ),
            QUIET_SECONDS,
        )


def _report(
    ground: Ground, crowd: list[ChaosClient], writer: SteadyWriter, written: dict[str, list[int]]
) -> Report:
    unkept = sum(
        len(set(numbers) - set(written.get(user, ())))
        for user, numbers in writer.acknowledged.items()
    )
    assert not unkept, f"Kafka lost {unkept} events that it had acknowledged"
    return Report(
        verdict=Verdict.total(judge(written.get(client.user, []), client.had) for client in crowd),
        gaps=Counter(item.reason for client in crowd for item in client.had if type(item) is Told),
        resumes=sum(client.resumes for client in crowd),
        stalls=sum(client.stalls for client in crowd),
        written=sum(map(len, written.values())),
        refused=writer.refused,
        injected=ground.injected,
        delays=[
            delay
            for client in crowd
            for delay in client.delays(writer.acknowledged[client.user], more_than=0.1)
        ],
        tracebacks=ground.tracebacks(),
    )
