"""docs/metrics.md lists every metric of a worker, by the name that Prometheus stores."""

from __future__ import annotations

from gateway.app import Worker
from tests.api.described import settings
from tests.docs.markdown import ROOT, rows

PAGE = ROOT / "docs/metrics.md"
SUFFIX = {"counter": "_total", "info": "_info"}


def test_the_table_has_exactly_the_metrics_with_their_types() -> None:
    metrics = Worker(settings())._metrics  # noqa: SLF001 - what is registered, without a scrape
    exported = {
        (family.name + SUFFIX.get(family.type, ""), family.type)
        for family in metrics.registry.collect()
    }
    listed = {(name.strip("`"), kind) for name, kind, _, meaning in rows(PAGE, "metric") if meaning}
    assert listed == exported
