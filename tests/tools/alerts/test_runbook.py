"""The runbook covers every alert and every reason that a client can receive."""

from __future__ import annotations

import pytest

from gateway.core.admission import Refusal
from gateway.core.gap import CloseReason, GapReason
from gateway.core.records import UnreadableReason
from gateway.errors import HttpError
from tests.docs.markdown import ROOT, first_column, rows
from tests.tools.alerts.rules import shipped

RUNBOOK = ROOT / "docs" / "runbook.md"


def refusals() -> set[str]:
    """Return every rejection reason of a stream request."""
    return {kind.reason for kind in HttpError.__subclasses__() if kind.reason} | set(Refusal)


@pytest.mark.parametrize(
    ("heading", "reasons"),
    [
        ("gap", set(GapReason)),
        ("end", set(CloseReason)),
        ("refusal", refusals()),
        ("record", set(UnreadableReason)),
    ],
)
def test_the_runbook_has_exactly_the_reasons_of_the_code(heading: str, reasons: set[str]) -> None:
    told = first_column(RUNBOOK, heading)
    assert sorted(told) == sorted(reasons)
    assert all(all(cell for cell in row[1:2] + row[-1:]) for row in rows(RUNBOOK, heading))


def test_each_alert_has_diagnosis_and_action() -> None:
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


def test_every_rejection_reason_has_an_alert() -> None:
    rejects = [rule for rule in shipped() if "gateway_rejects_total" in rule.metrics]
    watched = {value for rule in rejects for label, value in rule.matched if label == "reason"}
    assert watched == refusals()
