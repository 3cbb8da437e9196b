"""The shipped rules, parsed, and with seconds instead of minutes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

FOLDER = Path(__file__).parents[3] / "deploy" / "prometheus"
RULES = FOLDER / "alerts.yml"

_DURATION = re.compile(r"(?<=\[)(\d+)m(?=\])|(?<=for: )(\d+)m$", re.MULTILINE)
_METRIC = re.compile(r"\b(?:gateway_|process_)\w+|\bup\b")
_MATCHER = re.compile(r'(\w+)(?:=|!=|=~|!~)"([^"]*)"')


class Rule(NamedTuple):
    """An alert of the rules file."""

    name: str
    expression: str
    wait: str
    """The duration `for`; empty without one."""
    labels: dict[str, str]
    annotations: dict[str, str]

    @property
    def metrics(self) -> set[str]:
        """The names of all series in the expression."""
        return set(_METRIC.findall(self.expression))

    @property
    def matched(self) -> set[tuple[str, str]]:
        """Each label and value in the expression."""
        return {
            (label, value)
            for label, values in _MATCHER.findall(self.expression)
            for value in values.split("|")
        }


def shipped() -> list[Rule]:
    """Return the alerts in file order."""
    groups: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
    return [
        Rule(
            rule["alert"],
            rule["expr"],
            rule.get("for", ""),
            rule["labels"],
            rule["annotations"],
        )
        for group in groups
        for rule in group["rules"]
    ]


def hurried() -> str:
    """Return the shipped file with seconds instead of minutes.

    An alert then fires and resolves within seconds by the same expression, from a sample each
    second instead of each 15 s. Thresholds are unchanged.
    """
    return _DURATION.sub(lambda found: f"{found[1] or found[2]}s", RULES.read_text())
