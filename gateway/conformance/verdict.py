"""Verdicts of a case, and the exception that ends it early."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOWN = 6
"""Numbers that a text lists before it gives the total."""


class Verdict(StrEnum):
    """The result of a case."""

    PASS = "pass"  # noqa: S105 - a verdict, not a secret
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"


class Judged(Exception):
    """Ends a case with a verdict and an observation."""

    def __init__(self, verdict: Verdict, seen: str) -> None:
        super().__init__(seen)
        self.verdict = verdict
        self.seen = seen


def fail(seen: str) -> NoReturn:
    """End the case: the server violates it."""
    raise Judged(Verdict.FAIL, seen)


def not_applicable(seen: str) -> NoReturn:
    """End the case: it does not apply to this server or run."""
    raise Judged(Verdict.NOT_APPLICABLE, seen)


def faults(expected: Sequence[int], seen: Sequence[int]) -> str:
    """Return the faults of a sequence; empty if each number occurs once and in order."""
    wanted = set(expected)
    found = set(seen)
    first = [number for at, number in enumerate(seen) if number not in seen[:at]]
    parts = [
        ("lost", sorted(wanted - found)),
        ("repeated", sorted({number for number in seen if seen.count(number) > 1})),
        ("not expected", sorted(found - wanted)),
    ]
    if first != sorted(first):
        parts.append(("out of order", first))
    return "; ".join(f"{fault} {listed(numbers)}" for fault, numbers in parts if numbers)


def listed(numbers: Sequence[int]) -> str:
    """Return the first numbers as text, with the total if some are left out."""
    text = ", ".join(map(str, numbers[:SHOWN]))
    return text if len(numbers) <= SHOWN else f"{text}, … ({len(numbers)})"
