"""The runbook: everything that alerts, and every reason that a client can be told, is in it."""

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
    """Return all that a request may be counted as that opens no stream."""
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
