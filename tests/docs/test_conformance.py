"""The page on conformance has every case, as the command says it, and its sources are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.conformance.cases import CASES
from tests.docs.markdown import ROOT, anchors

if TYPE_CHECKING:
    from gateway.conformance.case import Case

PAGE = ROOT / "docs/conformance.md"


def name_of(case: Case) -> str:
    return case.name


def test_names_are_each_given_once() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_the_page_says_of_a_case_what_the_command_says(case: Case) -> None:
    source = case.source
    if ".md" in source:
        file, _, anchor = source.partition("#")
        path = ROOT / file if file == "README.md" else ROOT / "docs" / file
        assert anchor in anchors(path), source
        link = f"../{source}" if file == "README.md" else source
        source = f"[{file.removesuffix('.md')}]({link})"
    assert f"| `{case.name}` | {case.says} | {source} |" in PAGE.read_text()
