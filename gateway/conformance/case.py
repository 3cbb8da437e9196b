"""The cases of the suite, and their findings."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from gateway.conformance.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gateway.conformance.trial import Trial


class Phase(Enum):
    """The order of cases; each phase starts after the previous one."""

    BUSY = 1
    """In parallel: the stream carries events of other cases too."""
    ALONE = 2
    """One after the other: a server's reaction may disturb other streams."""
    QUIET = 3
    """After these, without events until the streams have sent a heartbeat."""
    LAST = 4
    """The case may stop the server."""


class Case(NamedTuple):
    """One requirement. `run` returns the observation of a pass, or raises `Judged`."""

    name: str
    says: str
    source: str
    run: Callable[[Trial], Awaitable[str]]
    phase: Phase = Phase.BUSY


class Finding(NamedTuple):
    """The result of one case."""

    case: Case
    verdict: Verdict
    seen: str
    seconds: float


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 1 if a case failed, else 0."""
    return int(any(finding.verdict is Verdict.FAIL for finding in findings))
