"""What a case is, and what came of it."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from gateway.conformance.trial import Trial

SHOWN = 6
"""Numbers that a text lists before it only counts."""


class Verdict(StrEnum):
    """What is said of a server in a case."""

    PASS = "pass"  # noqa: S105 - a verdict, no secret
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"


class Phase(Enum):
    """When a case runs; each phase begins when the one before has ended."""

    BUSY = 1
    """Beside others: the stream carries their events, too."""
    ALONE = 2
    """One after the other: what a server makes of it may spoil other cases' streams."""
    QUIET = 3
    """After them, when nobody writes until the streams have beaten."""
    LAST = 4
    """It may end the server."""


class Case(NamedTuple):
    """One thing that is looked at. `run` returns what was seen, or raises `Judged`."""

    name: str
    says: str
    source: str
    run: Callable[[Trial], Awaitable[str]]
    phase: Phase = Phase.BUSY


class Finding(NamedTuple):
    """What came of a case."""

    case: Case
    verdict: Verdict
    seen: str
    seconds: float


class Judged(Exception):
    """A case has come to its end early."""

    def __init__(self, verdict: Verdict, seen: str) -> None:
        super().__init__(seen)
        self.verdict = verdict
        self.seen = seen


def fail(seen: str) -> NoReturn:
    """End the case: the server does not do what it says."""
    raise Judged(Verdict.FAIL, seen)


def not_applicable(seen: str) -> NoReturn:
    """End the case: there is nothing here that it could be about."""
    raise Judged(Verdict.NOT_APPLICABLE, seen)


def faults(expected: Sequence[int], seen: Sequence[int]) -> str:
    """Return what is wrong with what was seen, empty where it is each number once and in order."""
    wanted = set(expected)
    found = set(seen)
    first = [number for at, number in enumerate(seen) if number not in seen[:at]]
    parts = [
        ("lost", sorted(wanted - found)),
        ("repeated", sorted({number for number in seen if seen.count(number) > 1})),
        ("not asked for", sorted(found - wanted)),
    ]
    if first != sorted(first):
        parts.append(("out of order", first))
    return "; ".join(f"{what} {listed(numbers)}" for what, numbers in parts if numbers)


def listed(numbers: Sequence[int]) -> str:
    """Return the first of the numbers, and how many there are where it is not all of them."""
    text = ", ".join(map(str, numbers[:SHOWN]))
    return text if len(numbers) <= SHOWN else f"{text}, … ({len(numbers)})"


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 0 where nothing failed, else 1."""
    return int(any(finding.verdict is Verdict.FAIL for finding in findings))
