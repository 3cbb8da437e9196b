"""The parts of one worker that its listeners, reports and gauges share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.core.hub import Hub
    from gateway.core.registry import Registry
    from gateway.kafka.session import KafkaSession
    from gateway.metrics import Metrics
    from gateway.readiness import Readiness


@dataclass(frozen=True, slots=True)
class Parts:
    """One object instead of six arguments; every part lives as long as the worker."""

    settings: Settings
    registry: Registry
    hub: Hub
    metrics: Metrics
    readiness: Readiness
    kafka: KafkaSession
