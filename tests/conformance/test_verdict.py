from __future__ import annotations

import pytest

from gateway.conformance.case import Case, Finding, exit_code
from gateway.conformance.verdict import Judged, Verdict, fail, faults, listed, not_applicable


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        ([0, 1, 2, 3], ""),
        ([0, 1, 3], "lost 2"),
        ([0, 1, 1, 2, 3], "repeated 1"),
        ([0, 2, 1, 3], "out of order 0, 2, 1, 3"),
        ([0, 1, 2, 3, 4], "not asked for 4"),
        ([3, 3, 0], "lost 1, 2; repeated 3; out of order 3, 0"),
        ([], "lost 0, 1, 2, 3"),
    ],
)
def test_each_number_is_wanted_once_and_in_order(seen: list[int], wrong: str) -> None:
    assert faults(range(4), seen) == wrong


def test_long_lists_are_counted() -> None:
    assert listed(range(9)) == "0, 1, 2, 3, 4, 5, … (9)"


async def no_case(trial: object) -> str:
    return ""


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([], 0),
        ([Verdict.PASS, Verdict.NOT_APPLICABLE], 0),
        ([Verdict.PASS, Verdict.FAIL], 1),
    ],
)
def test_only_a_failure_fails(verdicts: list[Verdict], code: int) -> None:
    case = Case("case", "It says so.", "HTML", no_case)
    assert exit_code([Finding(case, verdict, "", 0.0) for verdict in verdicts]) == code


def test_a_case_ends_early_with_what_was_seen() -> None:
    with pytest.raises(Judged, match="503") as failed:
        fail("503")
    assert failed.value.verdict is Verdict.FAIL
    with pytest.raises(Judged, match="none here") as skipped:
        not_applicable("none here")
    assert skipped.value.verdict is Verdict.NOT_APPLICABLE
