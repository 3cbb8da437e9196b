"""The parts of one worker that its listeners, reports and gauges share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gateway.core.event_id import Version
from gateway.core.hub import Hub
from gateway.core.limits import Limits
from gateway.ops.traced import TracedHub
from gateway.supervise import Part, Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import Settings
    from gateway.core.feed import PartitionFeed
    from gateway.core.interpreter import Interpreter
    from gateway.core.observer import Observer
    from gateway.core.registry import Registry
    from gateway.kafka.session import KafkaSession
    from gateway.metrics import Metrics
    from gateway.ops.spans import Spans
    from gateway.readiness import Readiness


@dataclass(frozen=True, slots=True)
class Parts:
    """One object instead of seven arguments; every part lives as long as the worker."""

    settings: Settings
    registry: Registry
    hub: Hub
    metrics: Metrics
    readiness: Readiness
    kafka: KafkaSession
    spans: Spans | None
    """None without tracing."""


def make_hub(
    settings: Settings,
    interpreter: Interpreter,
    observer: Observer,
    supervisor: Supervisor,
    spans: Spans | None,
    *,
    wake: Callable[[PartitionFeed], None],
    busy: Callable[[], None],
) -> Hub:
    """Return the hub of a worker, traced with `spans`; `wake` and `busy` are those of `Hub`."""
    made = Hub if spans is None else partial(TracedHub, spans, supervisor)
    return made(
        interpreter=interpreter,
        limits=Limits(
            int(settings.replay_max_age_seconds * 1000),
            settings.replay_max_events,
            settings.replay_max_records,
        ),
        tail_bytes=settings.tail_bytes,
        retry_ms=settings.retry_ms,
        heartbeat=settings.heartbeat_seconds,
        slow=settings.slow_seconds,
        observer=observer,
        wake=wake,
        busy=busy,
        contain=partial(supervisor.contain, Part.STREAM),
        id_version=Version.ONE if settings.sources is None else Version.TWO,
    )
