"""The reporting loop: everything a worker reports regularly, apart from delivery.

Each step is contained on its own: a step that fails is logged and counted, the other steps and
delivery continue. No step opens a file, so reporting works when the process is out of descriptors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.fleet.members import STATUS_SECONDS
from gateway.supervise import Part, Supervisor
from gateway.ticker import TICK_SECONDS, TICKS_PER_SECOND, Ticker

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.fleet.status import Status
    from gateway.fleet_link import FleetLink
    from gateway.ops.dashboard import DashboardFeed
    from gateway.throttled_log import ThrottledLog

STATUS_TICKS = round(STATUS_SECONDS / TICK_SECONDS)


class Reporting:
    """Reports this worker's status to the fleet and to dashboards.

    `status` returns the current status, or None where none is due; its argument says whether the
    period is over.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        link: FleetLink,
        board: DashboardFeed,
        notices: ThrottledLog,
        status: Callable[[bool], Status | None],
    ) -> None:
        self._supervisor = supervisor
        self._link = link
        self._board = board
        self._notices = notices
        self._status = status

    async def run(self, ticker: Ticker) -> None:
        """Report until the task is cancelled; a change of state ends the rest of the ticker."""
        tick = 0
        while True:
            self.tick(tick)
            tick = await ticker.next()

    def tick(self, tick: int) -> None:
        """Do the steps that are due at this tick."""
        contain = self._supervisor.contain
        with contain(Part.STATUS):
            status = self._status(tick % STATUS_TICKS == 0)
            if status is not None:
                self._link.publish(status)
                with contain(Part.DASHBOARD):
                    self._board.sample()
        if tick % TICKS_PER_SECOND == 0:
            with contain(Part.DASHBOARD):
                self._board.tick()
            with contain(Part.NOTICES):
                self._notices.sweep()
