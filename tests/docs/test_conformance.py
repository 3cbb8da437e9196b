"""The conformance page lists every case with its requirement and an existing source."""

from __future__ import annotations

import pytest

from gateway.conformance.case import Case, load_cases
from gateway.conformance.cases import CHECKS, check_of
from tests.docs.markdown import ROOT, anchors

PAGE = ROOT / "docs/conformance.md"


CASES = load_cases()


def id_of(case: Case) -> str:
    return case.id


def test_ids_are_unique() -> None:
    assert len({case.id for case in CASES}) == len(CASES)


def test_each_case_is_judged_by_its_data_or_by_one_function() -> None:
    by_data = {case.id for case in CASES if case.exchange or case.reconnect or case.event}
    assert not by_data & set(CHECKS)
    assert by_data | set(CHECKS) == {case.id for case in CASES}
    assert all(check_of(case) for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=id_of)
def test_the_page_has_the_requirement_and_source_of_each_case(case: Case) -> None:
    source = case.source
    if ".md" in source:
        file, _, anchor = source.partition("#")
        path = ROOT / file if file == "README.md" else ROOT / "docs" / file
        assert anchor in anchors(path), source
        link = f"../{source}" if file == "README.md" else source
        source = f"[{file.removesuffix('.md')}]({link})"
    assert f"| `{case.id}` | {case.requirement} | {source} |" in PAGE.read_text()
