"""The shipped rules without a running Prometheus: valid, tested by promtool, documented."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.docs.markdown import ROOT, anchors
from tests.programs import require
from tests.tools.alerts.rules import FOLDER, RULES, Rule, hurried, shipped

CASES = Path(__file__).with_name("alerts.test.yml")
RUNBOOK = ROOT / "docs" / "runbook.md"
ALERTS = {rule.name: rule for rule in shipped()}


def promtool(*arguments: str) -> None:
    require("promtool")
    subprocess.run(
        ["promtool", *arguments], check=True, timeout=60, stdin=subprocess.DEVNULL
    )  # promtool's findings appear in the failure


def test_promtool_accepts_the_configuration_with_the_rules() -> None:
    promtool("check", "config", str(FOLDER / "prometheus.yml"))
    (files,) = [yaml.safe_load((FOLDER / "prometheus.yml").read_text())["rule_files"]]
    assert [FOLDER / file for file in files] == [RULES]


def test_each_alert_fires_only_in_its_cases() -> None:
    promtool("test", "rules", str(CASES))


def test_each_alert_has_a_firing_and_a_silent_case() -> None:
    tried: dict[str, set[bool]] = {}
    groups: list[dict[str, Any]] = yaml.safe_load(CASES.read_text())["tests"]
    for group in groups:
        for test in group["promql_expr_test"]:
            assert f'alertname="{group["name"]}"' in test["expr"]
            tried.setdefault(group["name"], set()).add(bool(test["exp_samples"]))
    assert tried == {name: {True, False} for name in ALERTS}


def test_each_alert_has_summary_severity_and_runbook_link() -> None:
    known = anchors(RUNBOOK)
    for rule in ALERTS.values():
        assert rule.labels.keys() == {"severity"}
        assert rule.labels["severity"] in {"critical", "warning"}
        assert rule.annotations.keys() == {"summary", "description", "runbook_url"}
        url, _, anchor = rule.annotations["runbook_url"].partition("#")
        document = url.removeprefix("https://docs.example.com/kafka-sse-gateway/")
        assert ROOT / "docs" / document == RUNBOOK
        assert anchor == rule.name.lower()
        assert anchor in known, f"{document} lacks a section {rule.name}"


def test_each_series_of_each_alert_is_limited_to_the_job_of_its_fleet() -> None:
    for rule in ALERTS.values():
        series = re.findall(r"\b(?:(?:gateway|process)_\w+|up\b)(.{0,14})", rule.expression)
        assert series, rule.name
        assert set(series) == {'{job="gateway"'}, rule.name


def test_only_durations_are_hurried() -> None:
    before, after = RULES.read_text().splitlines(), hurried().splitlines()
    changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    for old, new in changed:
        assert re.sub(r"\b(\d+)s\b", r"\1m", new) == old
    waits = sum(bool(rule.wait) for rule in ALERTS.values())
    windows = sum(len(re.findall(r"\[\d+m\]", rule.expression)) for rule in ALERTS.values())
    assert len(changed) == waits + windows, "one on each line"


def test_every_window_has_the_samples_that_a_rate_needs() -> None:
    """The shipped rules with a scrape each 15 s, and the hurried ones with a scrape each second."""
    for rule in ALERTS.values():
        durations = re.findall(r"\[([^\]]*)\]", rule.expression)
        assert all(re.fullmatch(r"\d+m", text) and int(text[:-1]) >= 5 for text in durations)
        assert re.fullmatch(r"(\d+m)?", rule.wait)


def test_series_and_labels_of_an_expression_are_found() -> None:
    rule = Rule("Any", 'sum(up{job="a"}) > 2 * gateway_x_total{r=~"b|c"}', "", {}, {})
    assert rule.metrics == {"up", "gateway_x_total"}
    assert rule.matched == {("job", "a"), ("r", "b"), ("r", "c")}
