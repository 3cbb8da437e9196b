"""Pinned packages, packages that a worker needs, and their licences."""

from __future__ import annotations

import re
from importlib.metadata import distribution, metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]

CONSTRAINTS = ROOT / "constraints.txt"

PROJECT = "kafka-sse-gateway"


def pinned() -> dict[str, str]:
    """Return the version of each package that is pinned, by its normalised name."""
    pins = (line.split("==") for line in CONSTRAINTS.read_text().splitlines())
    return {canonicalize_name(name): version for name, version in pins}


def runtime() -> set[str]:
    """Return the packages that a worker needs on this platform, without the project itself."""
    seen: set[tuple[str, str]] = set()
    to_read = [(PROJECT, "")]
    while to_read:
        name, extra = to_read.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for text in distribution(name).requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                needed = canonicalize_name(requirement.name)
                to_read += [(needed, wanted) for wanted in {"", *requirement.extras}]
    return {name for name, _ in seen} - {PROJECT}


def licences(name: str) -> set[str]:
    """Return the licences that an installed package declares, in its own words."""
    facts = metadata(name)
    expression = " OR ".join(
        value
        for field in ("License-Expression", "License")
        for value in facts.get_all(field) or []
        if value
    )
    if expression:
        return {part for part in re.split(r"\s+(?:AND|OR)\s+|[()]", expression) if part}
    classifiers = facts.get_all("Classifier") or []
    return {line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License")}
