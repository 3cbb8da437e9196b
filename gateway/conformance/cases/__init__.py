"""Execution of cases: three kinds by their data in `cases.yaml`, the others by a function each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.conformance.cases import data, events, head, heartbeat, pressure, resume

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.conformance.case import Case
    from gateway.conformance.trial import Trial

    Check = Callable[[Trial], Awaitable[str]]

CHECKS: dict[str, Check] = {
    **head.CHECKS,
    **events.CHECKS,
    **resume.CHECKS,
    **pressure.CHECKS,
    **heartbeat.CHECKS,
}
"""The function of each case that is not judged by data alone, by case id."""


def check_of(case: Case) -> Check:
    """Return the check of a case.

    It returns the observation of a pass, or raises `Judged`. Raises `KeyError` if the case has
    neither data nor a function.
    """
    if case.exchange is not None:
        return partial(data.exchange, wanted=case.exchange)
    if case.reconnect is not None:
        return partial(data.reconnect, wanted=case.reconnect)
    if case.event is not None:
        return partial(data.event, wanted=case.event)
    return CHECKS[case.id]
