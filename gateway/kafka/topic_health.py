"""Readiness of a worker as its topics and its schema registry determine it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from gateway.kafka.topics import creation_command, topic_specs
from gateway.readiness import NotReadyReason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config import Settings
    from gateway.kafka.diagnosis import Diagnosis
    from gateway.readiness import Readiness

_log = structlog.stdlib.get_logger(__name__)


class TopicHealth:
    """Sets and clears not-ready reasons, and logs each change.

    `options` are those of `connection_options`, for the commands in the reasons.
    """

    def __init__(
        self, settings: Settings, options: Mapping[str, Any], readiness: Readiness
    ) -> None:
        self._settings = settings
        self._options = options
        self._readiness = readiness
        self.absent: set[str] = set()
        """Topics that are missing or may not be read."""

    def report(self, missing: list[str], refused: Mapping[str, Diagnosis]) -> None:
        """Report missing and unreadable topics, with the commands that fix them."""
        self.absent = absent = {*missing, *refused}
        missing = [name for name in missing if name not in refused]
        details = [str(diagnosis) for diagnosis in refused.values()]
        if missing:
            commands = " && ".join(
                creation_command(spec, self._options)
                for spec in topic_specs(self._settings)
                if spec.name in missing
            )
            noun = "topic" if len(missing) == 1 else "topics"
            details.append(f"{noun} {', '.join(missing)} missing; create with: {commands}")
        if details and self.serves(absent):
            detail = f"other topics are served; {'; '.join(details)}"
            self._degrade(NotReadyReason.TOPICS, detail)
        elif details:
            self.doubt(NotReadyReason.TOPICS, "; ".join(details))
        else:
            self.settle(NotReadyReason.TOPICS)

    def report_registry(self, problem: str) -> None:
        """Report whether the schema registry answers: `problem` is empty then."""
        if problem:
            detail = (
                f"the schema registry {self._settings.schema_registry_url} is away: {problem};"
                " records whose schemas are not in memory become a gap schema"
            )
            self._degrade(NotReadyReason.SCHEMAS, detail)
        else:
            self._readiness.clear(NotReadyReason.SCHEMAS)

    def serves(self, absent: set[str]) -> bool:
        """Return whether the worker serves streams without these topics.

        Of several sources some may be absent. Revocations have to be known, and a deployment
        without a file of sources has one user topic, without which nothing is served.
        """
        settings = self._settings
        if settings.sources is None:
            return not absent
        topics = {source.topic for source in settings.event_sources}
        return absent <= topics and absent != topics

    def settle(self, *doubts: NotReadyReason) -> None:
        """Clear reasons; log that the worker is ready if none is left."""
        if self._readiness.clear(*doubts):
            _log.info("ready")

    def doubt(self, doubt: NotReadyReason, detail: str) -> None:
        """Set the worker not ready for a reason."""
        if self._readiness.set_reason(doubt, detail):
            _log.warning("not ready", reason=str(doubt), detail=detail)

    def _degrade(self, doubt: NotReadyReason, detail: str) -> None:
        if self._readiness.degrade(doubt, detail):
            _log.warning("degraded", reason=str(doubt), detail=detail)
