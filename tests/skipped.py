"""The last part of a test run: every reason for a skipped test, and how to get what is missing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import pytest

from tests.programs import packages


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the list below the results; write nothing if no test was skipped."""
    skipped = terminalreporter.stats.get("skipped", ())
    lines = summary(reason_of(report.longrepr) for report in skipped)
    if lines:
        terminalreporter.section(f"{len(skipped)} tests skipped")
        for line in lines:
            terminalreporter.write_line(line)


def reason_of(skip: object) -> str:
    """Return the reason in the report of a skipped test, which is (path, line, reason)."""
    reason = str(skip[2] if isinstance(skip, tuple) else skip)
    return reason.removeprefix("Skipped: ")


def summary(reasons: Iterable[str]) -> list[str]:
    """Return one line for each reason, the most frequent first, and last a command to install."""
    counts = Counter(reasons)
    known = packages()
    needed = {
        known[word]
        for reason in counts
        if "not installed" in reason
        for word in re.findall(r"[\w-]+", reason)
        if word in known
    }
    lines = [f"{count:5}  {reason}" for reason, count in counts.most_common()]
    if system := sorted(needed - {"make-tools"}):
        lines.append(f"install with: apt-get install {' '.join(system)}")
    if "make-tools" in needed:
        lines.append("build with: make tools")
    return lines
