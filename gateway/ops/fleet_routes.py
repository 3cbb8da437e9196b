"""`GET /ops/fleet`: the latest status of every worker that this worker knows.

`problem` is the reason why other workers are not visible, and the remedy; empty where they are.
This worker is always in the list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from gateway import clock
from gateway.ops.streams import answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp.web_routedef import AbstractRouteDef

    from gateway.fleet.members import Fleet


def fleet_routes(fleet: Fleet, problem: Callable[[], str]) -> Iterable[AbstractRouteDef]:
    """Return the routes for the operations listener."""

    async def show(_: web.Request) -> web.Response:
        return answer({"workers": workers(fleet, clock.now().monotonic), "problem": problem()})

    return (web.get("/ops/fleet", show),)


def workers(fleet: Fleet, now: float) -> list[dict[str, Any]]:
    """Return the statuses, each with its age in seconds."""
    return [
        {**msgspec.to_builtins(status), "age_seconds": round(age, 1)}
        for status, age, _ in fleet.members(now)
    ]
