"""A chart of the last run for the documentation: the gateway's figures compared with others.

SVG with one panel for each compared figure and one bar for each server. The colors follow the
light or dark scheme of the reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import groupby

from tests.tools.bench.figures import GATEWAY, Figure
from tests.tools.bench.report import Report, short

COSTS = {"µs", "s", "KB"}
"""Units of drawn figures; bars show the ratios, and latencies are in the table."""

WIDTH = 760
LABEL = 110
"""Width of the labels."""
VALUE = 110
"""Width of the values."""
BAR = 18
STEP = 26
HEADING = 46
GAP = 18

STYLE = """\
text { font: 14px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.row { fill: #57606a }
.bar { fill: #afb8c1 }
.gateway { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .row { fill: #8b949e }
  .bar { fill: #484f58 }
  .gateway { fill: #58a6ff }
}"""


def draw(report: Report) -> str:
    """Return the chart as SVG."""
    height = GAP
    parts: list[str] = []
    for title, figures in _panels(report):
        parts += _panel(title, figures, height)
        height += HEADING + STEP * len(figures) + GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
            ' aria-label="Cost of the gateway compared with others; shorter is better">',
            f"<style>{STYLE}</style>",
            *parts,
            "</svg>\n",
        ]
    )


def _panels(report: Report) -> Iterator[tuple[str, list[Figure]]]:
    """Yield each compared figure with a title."""
    for result in report.rows.values():
        for _, group in groupby(result.figures, key=lambda figure: (figure.name, figure.unit)):
            figures = list(group)
            if len(figures) > 1 and figures[0].unit in COSTS:
                yield result.title, figures


def _panel(title: str, figures: list[Figure], top: int) -> Iterator[str]:
    most = max(figure.median for figure in figures) or 1
    name, unit = figures[0].name, figures[0].unit
    yield _text(0, top + 14, f"{name}, {unit}", "title")
    yield _text(0, top + 33, title, "row")
    for number, figure in enumerate(figures):
        y = top + HEADING + STEP * number
        length = max(1, round((WIDTH - LABEL - VALUE) * figure.median / most))
        kind = "bar gateway" if figure.whose == GATEWAY else "bar"
        yield _text(0, y + 14, figure.whose, "name")
        yield f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{length}" height="{BAR}" rx="3"/>'
        yield _text(LABEL + length + 8, y + 14, short(figure.median), "value")


def _text(x: int, y: int, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'
