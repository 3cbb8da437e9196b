"""The threat model names existing tests, or states that a threat is not tested."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.docs.markdown import ROOT, rows

SECURITY = ROOT / "SECURITY.md"

THREATS = rows(SECURITY, "tries to")

ELSEWHERE = ("not defended", "the load balancer", "Kafka's ACLs")
"""Start of the last column for threats without a test."""

_NAME = re.compile(r"`(?P<path>tests/[\w/]+\.py)::(?P<test>test_\w+)`")


@pytest.mark.parametrize("row", THREATS, ids=lambda row: row[0])
def test_a_threat_names_existing_tests_or_states_that_it_is_untested(row: list[str]) -> None:
    _, _, holders = row
    if holders.startswith(ELSEWHERE):
        assert "tests/" not in holders
        return
    assert _NAME.sub("", holders).strip() == "", "names of tests, and nothing else"
    for name in _NAME.finditer(holders):
        assert name["test"] in _tests(name["path"]), name[0]


@cache
def _tests(path: str) -> set[str]:
    module = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {
        node.name
        for node in module.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
