from __future__ import annotations

import pytest

from gateway.conformance.case import Case, Finding, Phase, exit_code
from gateway.conformance.verdict import Judged, Verdict, fail, faults, listed, not_applicable


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        ([0, 1, 2, 3], ""),
        ([0, 1, 3], "lost 2"),
        ([0, 1, 1, 2, 3], "repeated 1"),
        ([0, 2, 1, 3], "out of order 0, 2, 1, 3"),
        ([0, 1, 2, 3, 4], "not expected 4"),
        ([3, 3, 0], "lost 1, 2; repeated 3; out of order 3, 0"),
        ([], "lost 0, 1, 2, 3"),
    ],
)
def test_faults_lists_lost_repeated_and_unordered_numbers(seen: list[int], wrong: str) -> None:
    assert faults(range(4), seen) == wrong


def test_long_lists_are_counted() -> None:
    assert listed(range(9)) == "0, 1, 2, 3, 4, 5, … (9)"


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([], 0),
        ([Verdict.PASS, Verdict.NOT_APPLICABLE], 0),
        ([Verdict.PASS, Verdict.FAIL], 1),
    ],
)
def test_exit_code_is_1_only_after_a_failed_case(verdicts: list[Verdict], code: int) -> None:
    case = Case("case", "A requirement.", "HTML", Phase.PARALLEL, "Steps.")
    assert exit_code([Finding(case, verdict, "", 0.0) for verdict in verdicts]) == code


def test_fail_and_not_applicable_end_a_case_with_the_observation() -> None:
    with pytest.raises(Judged, match="503") as failed:
        fail("503")
    assert failed.value.verdict is Verdict.FAIL
    with pytest.raises(Judged, match="none here") as skipped:
        not_applicable("none here")
    assert skipped.value.verdict is Verdict.NOT_APPLICABLE
