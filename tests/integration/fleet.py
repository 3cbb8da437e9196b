"""The status of a fleet, as its workers report it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiohttp

from tests.eventually import eventually
from tests.worker import Worker


async def fleet_of(worker: Worker, http: aiohttp.ClientSession) -> dict[str, Any]:
    async with http.get(f"{worker.ops_url}/ops/fleet") as response:
        assert response.status == 200
        return dict(await response.json())


async def own_status(worker: Worker, http: aiohttp.ClientSession) -> dict[str, Any]:
    async def find() -> list[dict[str, Any]]:
        workers = (await fleet_of(worker, http))["workers"]
        return [status for status in workers if status["ops_url"] == worker.ops_url]

    [own] = await eventually("the worker has a status", find)
    return dict(own)


async def until(
    worker: Worker, http: aiohttp.ClientSession, what: str, wanted: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Return the fleet, by the workers' names, once it is as wanted."""
    seen: dict[str, Any] = {}

    async def so() -> bool:
        seen.clear()
        seen.update({each["worker"]: each for each in (await fleet_of(worker, http))["workers"]})
        return wanted(seen)

    try:
        await eventually(what, so)
    except AssertionError as error:
        raise AssertionError(f"{error}; shown: {states_of(seen)}") from None
    return seen


def has_sent(status: dict[str, Any], count: int) -> bool:
    """Return whether a status counts those events and no lag; the lag is measured now and then."""
    return bool(status["events"]["live"] == count and status["lag"] == 0)


def states_of(fleet: dict[str, Any]) -> list[str]:
    """Return the states of the workers of a fleet."""
    return [each["state"] for each in fleet.values()]
