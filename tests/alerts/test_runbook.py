"""The runbook: everything that alerts, and every reason that a client can be told, is in it."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from gateway.core.admission import Refusal
from gateway.core.event import UnreadableReason
from gateway.core.frame import CloseReason, GapReason
from gateway.errors import HttpError, Refused
from tests.alerts.rules import shipped
from tests.docs.markdown import ROOT, first_column, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNBOOK = ROOT / "docs" / "operations.md"


def kinds(root: type[HttpError]) -> Iterator[type[HttpError]]:
    """Yield every error with a status of its own, but those of limits, which say which one."""
    for kind in root.__subclasses__():
        if not issubclass(kind, Refused):
            yield kind
            yield from kinds(kind)


def refusals() -> set[str]:
    """Return all that a request may be counted as that opens no stream."""
    by_status = {kind.reason or HTTPStatus(kind.status).name.lower() for kind in kinds(HttpError)}
    return by_status | set(Refusal)


@pytest.mark.parametrize(
    ("heading", "reasons"),
    [
        ("gap", set(GapReason)),
        ("end", set(CloseReason)),
        ("refusal", refusals()),
        ("record", set(UnreadableReason)),
    ],
)
def test_each_reason_has_an_entry_and_no_other_has(heading: str, reasons: set[str]) -> None:
    told = first_column(RUNBOOK, heading)
    assert sorted(told) == sorted(reasons)
    assert all(all(cell for cell in row[1:2] + row[-1:]) for row in rows(RUNBOOK, heading))


def test_each_alert_says_what_to_look_at_and_what_to_do() -> None:
    text = RUNBOOK.read_text()
    names = [rule.name for rule in shipped()]
    assert [line[4:] for line in text.splitlines() if line.startswith("### Gateway")] == names
    for name in names:
        section = text.partition(f"### {name}\n")[2].partition("\n#")[0]
        meaning, look, rest = section.partition("*Look*")
        assert meaning.strip()
        assert look, f"{name}: how to look"
        assert "*Do*" in rest, f"{name}: what to do"


def test_the_reasons_that_rules_name_are_those_of_the_code() -> None:
    known = {*GapReason, *CloseReason, *UnreadableReason, *refusals()}
    for rule in shipped():
        assert {value for label, value in rule.matched if label == "reason"} <= known


def test_no_refusal_is_without_an_alert() -> None:
    rejects = [rule for rule in shipped() if "gateway_rejects_total" in rule.metrics]
    watched = {value for rule in rejects for label, value in rule.matched if label == "reason"}
    assert watched == refusals()
