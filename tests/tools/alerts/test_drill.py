"""A selection of faults: their alerts fire and resolve in Prometheus.

The faults run concurrently, because most of the time is waiting; `make alerts` runs each alone.
"""

from __future__ import annotations

import asyncio
from itertools import chain
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from gateway.demo.broker import EmbeddedBroker
from tests.programs import require
from tests.tools.alerts.client_faults import bad_tokens, made_up_ids
from tests.tools.alerts.drill import Outcome, Watch, fire, table
from tests.tools.alerts.faults import FAULTS, Fault, killed_worker, poison
from tests.tools.alerts.ground import Ground, ground
from tests.tools.alerts.rules import shipped

SHORT = (killed_worker, poison, bad_tokens, made_up_ids)


async def exported(ground: Ground) -> set[str]:
    """Return the names of all series of a worker, including the ones that Prometheus adds."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{ground.keyed.ops_url}/metrics") as response,
    ):
        families = text_string_to_metric_families(await response.text())
        return {"up", *(sample.name for family in families for sample in family.samples)}


async def test_faults_fire_exactly_their_alerts_until_they_end(
    tmp_path: Path,
) -> None:
    require("prometheus")
    faults = [fault for fault in FAULTS if fault.inject in SHORT]
    async with EmbeddedBroker() as broker, ground(tmp_path, broker.bootstrap) as made:
        names = await exported(made)
        for rule in shipped():
            assert rule.metrics
            assert rule.metrics <= names, f"{rule.name} uses series that no worker exports"
        await Watch(made).until(lambda firing: not firing)

        outcomes = await together(made, faults)

        assert len(outcomes) == len(SHORT)
        assert all(outcome.is_good for outcome in outcomes), outcomes
        expected = {outcome.alert for outcome in outcomes}
        assert set(chain.from_iterable(o.beside for o in outcomes)) <= expected
        assert set((await made.prometheus.health()).values()) == {"ok"}


async def together(made: Ground, faults: list[Fault]) -> list[Outcome]:
    """Cause all faults concurrently; return the result of each."""
    found = await asyncio.gather(*(fire(made, fault) for fault in faults))
    return [*chain.from_iterable(found)]


def test_the_faults_cover_exactly_the_alerts() -> None:
    assert {alert for fault in FAULTS for alert in fault.alerts} == {
        rule.name for rule in shipped()
    }


def outcome(fired: float | None = 1, gone: float | None = 1, said: str = "It is.") -> Outcome:
    return Outcome("GatewayAny", "any", fired, gone, (said,), ())


def test_an_alert_must_fire_resolve_and_have_complete_annotations() -> None:
    assert outcome().is_good
    assert not outcome(fired=None).is_good
    assert not outcome(gone=None).is_good
    assert not outcome(said="<no value> streams").is_good
    assert not outcome(said="").is_good
    assert table([outcome(fired=None)]).row_count == 1
