"""The demo: a worker with sample activity in one process, and a broker as its child.

All parts are contexts on one exit stack, so Ctrl-C, SIGTERM and a failed start leave no process
behind.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack, suppress
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from gateway import log
from gateway.app import Worker
from gateway.core.registry import Registry
from gateway.demo.activity import ANNOUNCEMENT, Activity, Step
from gateway.demo.broker import EmbeddedBroker
from gateway.demo.numbering import NumberedPublisher
from gateway.demo.options import USERS, DemoOptions, check_ports, demo_settings
from gateway.demo.routes import DemoRoutes
from gateway.demo.screen import Screen
from gateway.demo.sources import SourcesPublisher, activity, registry_of, samples, team_of
from gateway.errors import PublishError
from gateway.event_types import load_registry
from gateway.publisher import EventPublisher
from gateway.tokens import mint

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping, Sequence

    from rich.console import Console

    from gateway.config import Settings

MAX_LATE_SECONDS = 1.0
"""Maximum delay to catch up; after a longer one, like a suspend, the schedule restarts."""

TOKEN_SECONDS = 43_200
"""Lifetime of the printed token: a working day, so the demo needs no restart."""


async def run_demo(options: DemoOptions, console: Console) -> None:
    """Run the demo until SIGINT or SIGTERM; a second signal ends it immediately.

    Raises `SettingsError` if a port is in use, and `GatewayError` if the embedded broker does not
    start.
    """
    demo = asyncio.create_task(_play(options, console))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, demo.cancel)
    await asyncio.wait([demo])
    if not demo.cancelled():
        demo.result()


async def _play(options: DemoOptions, console: Console) -> None:
    check_ports(options)
    users = USERS[: options.users]
    async with AsyncExitStack() as stack:
        bootstrap = options.bootstrap
        if bootstrap is None:
            broker = await stack.enter_async_context(EmbeddedBroker(options.kafka_port))
            bootstrap = broker.bootstrap
        settings = demo_settings(options, bootstrap)
        log.configure(settings.log_format, settings.log_level)
        plan = _plan(settings, users)
        numbered = NumberedPublisher(plan.publisher, plan.registry, plan.teams)
        teams = {user: [plan.teams[user]] if plan.teams else [] for user in users}
        routes = DemoRoutes(settings, plan.registry, numbered, teams, plan.types).routes()
        worker = await stack.enter_async_context(Worker(settings, routes=routes))
        token = mint(settings, users[0], None, TOKEN_SECONDS, time.time(), teams[users[0]])
        screen = Screen(console, settings.kafka_bootstrap[0], worker.url, worker.ops_url, token)

        async def show() -> None:
            # The worker creates the topics, which the publisher needs.
            await _first(worker.readiness.first(), screen.starting())
            await stack.enter_async_context(plan.publisher)
            screen.welcome()
            await _first(_act(plan.activity, numbered, options.pace), screen.count(numbered))

        await _first(show(), worker.ended())


class _Plan(NamedTuple):
    """What the demo writes, and to which users it belongs."""

    publisher: EventPublisher | SourcesPublisher
    registry: Registry
    activity: Iterable[Step]
    types: Sequence[str]
    """Types outside of the registry."""
    teams: Mapping[str, str]


def _plan(settings: Settings, users: Sequence[str]) -> _Plan:
    """Return the sample activity of the demo's own topics, or of the configured sources."""
    rng = Random()  # noqa: S311 - not used for secrets
    if settings.sources is None:
        publisher = EventPublisher.from_settings(settings)
        return _Plan(publisher, Registry.built_in(), Activity(users, rng), (ANNOUNCEMENT,), {})
    found = samples(settings.event_sources, load_registry(settings))
    return _Plan(
        SourcesPublisher(settings, found, users),
        registry_of(found),
        activity(found, users, rng),
        [sample.type for sample in found if sample.category is None],
        {user: team_of(users, user) for user in users},
    )


async def _first(*coroutines: Coroutine[None, None, None]) -> None:
    """Return or raise with the first result; cancel the others."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _act(activity: Iterable[Step], publisher: NumberedPublisher, pace: float) -> None:
    """Publish each step at its time; skip a step that Kafka does not accept."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    for step in activity:
        due = max(due + step.delay / pace, loop.time() - MAX_LATE_SECONDS)
        await asyncio.sleep(due - loop.time())
        with suppress(PublishError):
            await publisher.publish(step.user, step.type, step.data)
