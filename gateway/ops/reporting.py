"""Everything that a worker reports regularly: its status, the fleet, dashboards, throttled log.

Each step is contained on its own: a step that fails is logged and counted, the other steps and
delivery continue. No step opens a file, so reporting works when the process is out of descriptors.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from gateway import clock
from gateway.fleet.members import STATUS_SECONDS, Fleet
from gateway.fleet_link import FleetLink
from gateway.kafka.client.options import connection_options
from gateway.kafka.diagnosis import describe_command
from gateway.ops.dashboard import DashboardFeed
from gateway.ops.latest import Latest
from gateway.ops.reporter import StatusReporter
from gateway.supervise import Part, Supervisor
from gateway.ticker import TICK_SECONDS, TICKS_PER_SECOND, Ticker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from aiohttp.web_routedef import AbstractRouteDef

    from gateway.core.records import Moment, Record, TopicPartition
    from gateway.parts import Parts

STATUS_TICKS = round(STATUS_SECONDS / TICK_SECONDS)


class Reported(Protocol):
    """The worker, as its reports name it."""

    name: str
    is_sibling: bool
    """Whether it is one of several workers of a supervisor."""

    @property
    def ops_url(self) -> str:
        """The URL for operators, once the worker listens."""

    def connections(self) -> int:
        """Return the number of clients: open streams and connections without one."""


class Reporting:
    """Reports this worker to the fleet, and the fleet to dashboards.

    `show_user` returns the name of a user for screens that others may see.
    """

    def __init__(
        self,
        parts: Parts,
        supervisor: Supervisor,
        worker: Reported,
        show_user: Callable[[bytes], str],
    ) -> None:
        settings, name = parts.settings, worker.name
        self._supervisor = supervisor
        self._worker = worker
        self._metrics = parts.metrics
        self._reporter = StatusReporter(name, clock.now(), parts, worker.connections)
        self.fleet = Fleet(name)
        self.link = FleetLink(settings, self.fleet, parts.metrics, sibling=worker.is_sibling)
        self._latest = Latest(show_user)
        parts.hub.arrivals.delivered = self._show_latest
        describe = partial(describe_command, options=connection_options(settings))
        self._board = DashboardFeed(
            name, self.link, self._latest, describe, settings.fleet_name or ""
        )

    def routes(self) -> Iterable[AbstractRouteDef]:
        """Return the routes for the operations listener."""
        return self._board.routes()

    async def run(self, ticker: Ticker) -> None:
        """Report until the task is cancelled; a change of state ends the rest of the ticker."""
        tick = 0
        while True:
            self._tick(tick)
            tick = await ticker.next()

    def loop_late(self, seconds: float) -> None:
        """Record a delay of the event loop."""
        self._metrics.loop_late(seconds)
        self._reporter.loop_late(seconds)

    async def close(self) -> None:
        """Report the end of this worker to the fleet and to dashboards."""
        with self._supervisor.contain(Part.FLEET):
            status = self._reporter.status(clock.now(), self._worker.ops_url, gone=True)
            await self.link.publish_gone(status)
        with self._supervisor.contain(Part.DASHBOARD):
            self._board.end()

    def _tick(self, tick: int) -> None:
        """Do the steps that are due at this tick."""
        contain = self._supervisor.contain
        with contain(Part.STATUS):
            if tick % STATUS_TICKS == 0 or self._reporter.has_changed():
                self.link.publish(self._reporter.status(clock.now(), self._worker.ops_url))
                with contain(Part.DASHBOARD):
                    self._board.sample()
        if tick % TICKS_PER_SECOND == 0:
            with contain(Part.DASHBOARD):
                self._board.tick()
            with contain(Part.NOTICES):
                self._metrics.notices.sweep()

    def _show_latest(
        self, batches: Mapping[TopicPartition, Sequence[Record]], moment: Moment
    ) -> None:
        with self._supervisor.contain(Part.DASHBOARD):
            self._latest.dispatched(batches, moment)
