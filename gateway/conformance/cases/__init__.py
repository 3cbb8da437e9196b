"""All cases, in the order of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.conformance.cases import answers, events, head, heartbeat, malformed, pressure, resume

if TYPE_CHECKING:
    from gateway.conformance.case import Case

CASES: tuple[Case, ...] = (
    *head.CASES,
    *events.CASES,
    *resume.CASES,
    *malformed.CASES,
    *pressure.CASES,
    *answers.CASES,
    *heartbeat.CASES,
    *pressure.LAST_CASES,
)
