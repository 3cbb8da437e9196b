"""Print the last run as Markdown: `python -m tests.tools.bench.markdown`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tests.tools.bench.report import OUTPUT, Report, words

HEAD = """\
| row | figure | median | min | max | target |
| --- | --- | ---: | ---: | ---: | ---: |
"""


def lines(report: Report) -> Iterator[str]:
    """Yield the lines of the table; missed targets are bold."""
    yield f"{report.at:%Y-%m-%d}, {report.circumstances}.\n\n"
    yield HEAD
    for name, result in report.rows.items():
        title = f"**{name}**: {result.title}"
        if result.void is not None:
            yield f"| {title} | void: {result.void} | | | | |\n"
        for figure in result.figures:
            *cells, target = words(figure)
            if figure.of_target is not None and figure.of_target > 1:
                target = f"**{target}**"
            cells[0] = cells[0].replace("  ", "beside it: ")
            yield f"| {' | '.join([title, *cells, target])} |\n"
            title = ""


if __name__ == "__main__":
    sys.stdout.writelines(lines(Report.read(OUTPUT)))
