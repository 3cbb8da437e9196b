"""The rules that are shipped: what they say, and the same ones with seconds for minutes."""

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
    """An alert as Prometheus has it."""

    name: str
    expression: str
    wait: str
    """For how long the expression has to hold: `for`, empty where it need not wait."""
    labels: dict[str, str]
    annotations: dict[str, str]

    @property
    def metrics(self) -> set[str]:
        """The names of all series that the expression asks for."""
        return set(_METRIC.findall(self.expression))

    @property
    def matched(self) -> set[tuple[str, str]]:
        """Each label and value that the expression names."""
        return {
            (label, value)
            for label, values in _MATCHER.findall(self.expression)
            for value in values.split("|")
        }


def shipped() -> list[Rule]:
    """Return the alerts, in the order they stand."""
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
    """Return the file with seconds for minutes, and everything else as it is shipped.

    So an alert fires and goes within seconds, by the same expression, from one sample a second
    instead of one in 15. Thresholds stay: what is slow at two seconds is so here too.
    """
    return _DURATION.sub(lambda found: f"{found[1] or found[2]}s", RULES.read_text())
