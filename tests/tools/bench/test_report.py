"""Output of a run: tables, Markdown, a chart, and a verdict."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from tests.tools.bench.__main__ import measure_rounds
from tests.tools.bench.chart import draw
from tests.tools.bench.figures import GATEWAY, NCHAN, SOCKETS, Quantity, Sample, beside, figures
from tests.tools.bench.ground import Ground
from tests.tools.bench.markdown import lines
from tests.tools.bench.report import Report, Result
from tests.tools.bench.rows import Goal
from tests.tools.bench.tally import Tally

CPU = Quantity("CPU for one event", "µs")


class Lossy:
    """A row whose second round loses an event."""

    title = "events that get lost"

    def __init__(self) -> None:
        self._rounds = 0

    async def measure(self, ground: Ground) -> Sample:
        self._rounds += 1
        Tally(events=2 - self._rounds // 2).verify(2)
        return {CPU: 1.0}


@pytest.fixture
def report() -> Report:
    samples = [beside(CPU, {GATEWAY: own, SOCKETS: 5.0, NCHAN: 8.0}) for own in (12.0, 6.0, 9.0)]
    report = Report.begin(3)
    targets = {CPU.over(SOCKETS): 1.2, CPU.over(NCHAN): 1.5}
    report.rows["good"] = Result("a row", figures(samples, targets))
    return report


def test_rounds_make_figures_and_ratios_with_targets(report: Report) -> None:
    own, _, _, over_sockets, over_nchan = report.rows["good"].figures
    assert (own.median, own.min, own.max, own.rounds) == (9, 6, 12, [12, 6, 9])
    assert over_sockets.whose == "gateway / bare sockets"
    assert over_sockets.median == pytest.approx(1.8)
    assert over_sockets.of_target == pytest.approx(1.5)
    assert over_nchan.of_target == pytest.approx(0.75)


async def test_one_lost_event_voids_the_row(tmp_path: Path, report: Report) -> None:
    assert not report.is_void
    goal = Goal(Lossy(), {})
    report.rows["bad"] = await measure_rounds(goal, 3, Ground("", tmp_path), lambda: None)
    assert report.rows["bad"].figures == []
    assert report.rows["bad"].void == "1 events of 2 arrived"
    assert report.is_void


def test_a_written_report_can_be_read(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path / "build" / "bench.json")
    assert Report.read(tmp_path / "build" / "bench.json") == report


def test_a_void_row_stays_visible_everywhere(report: Report) -> None:
    report.rows["bad"] = Result("a bad row", void="1 events of 2 arrived")
    console = Console(record=True, quiet=False, width=80)
    for table in report.tables():
        console.print(table)
    for text in (console.export_text(), "".join(lines(report))):
        assert "9.00" in text
        assert "void: 1 events of 2 arrived" in text


def test_a_missed_target_is_bold(report: Report) -> None:
    assert "| **≤ 1.2 (150%)** |" in "".join(lines(report))
    assert "| ≤ 1.5 (75%) |" in "".join(lines(report))


def test_the_chart_has_a_bar_for_each_server_but_not_for_ratios(report: Report) -> None:
    chart = ET.fromstring(draw(report))
    bars = chart.findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 3
    assert [bar.get("class") for bar in bars] == ["bar gateway", "bar", "bar"]
    assert bars[0].get("width") == max((str(bar.get("width")) for bar in bars), key=int)


def test_a_figure_covers_the_rounds_that_have_its_quantity() -> None:
    lost, cpu = Quantity("lost", ""), Quantity("CPU", "µs", "Pushpin")
    found = figures([{lost: 1.0}, {lost: 0.0, cpu: 5.0}], {})
    assert [(each.name, each.rounds) for each in found] == [("lost", [1.0, 0.0]), ("CPU", [5.0])]
