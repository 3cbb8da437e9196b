from __future__ import annotations

import pytest

from tests.tools.chaos.verdict import Told, Verdict, judge

GAP = Told("limit")

CASES: dict[str, tuple[list[int], list[int | Told], Verdict]] = {
    "everything in order": ([0, 1, 2], [0, 1, 2], Verdict(delivered=3)),
    "one is missing": ([0, 1, 2], [0, 2], Verdict(delivered=2, lost=1)),
    "the last ones are missing": ([0, 1, 2], [0], Verdict(delivered=1, lost=2)),
    "nothing came": ([0, 1], [], Verdict(lost=2)),
    "in a reported gap": ([0, 1, 2, 3], [0, GAP, 3], Verdict(delivered=2)),
    "a gap at the end": ([0, 1, 2], [0, GAP], Verdict(delivered=1)),
    "a gap excuses nothing later": (
        [0, 1, 2, 3],
        [0, GAP, 1, 3],
        Verdict(delivered=3, lost=1),
    ),
    "one is repeated": ([0, 1], [0, 1, 1], Verdict(delivered=3, repeated=1)),
    "two are swapped": ([0, 1, 2], [0, 2, 1], Verdict(delivered=3, misplaced=1)),
    "the log's order counts": ([0, 2, 1], [0, 2, 1], Verdict(delivered=3)),
    "one that is not in the log": ([0, 1], [0, 7, 1], Verdict(delivered=3, misplaced=1)),
}


@pytest.mark.parametrize(("written", "had", "verdict"), CASES.values(), ids=CASES.keys())
def test_every_event_is_accounted_for(
    written: list[int], had: list[int | Told], verdict: Verdict
) -> None:
    assert judge(written, had) == verdict
