from __future__ import annotations

from collections import Counter

import pytest

from tests.tools.chaos.client import Delay
from tests.tools.chaos.ground import Injected
from tests.tools.chaos.report import Report
from tests.tools.chaos.schedule import Fault, Kind
from tests.tools.chaos.verdict import Verdict


def injected(kind: Kind, began: float, ended: float) -> Injected:
    return Injected(Fault(began, kind, 1, ended - began), began, ended)


OF_BROKER = injected(Kind.BROKER_FROZEN, 10, 30)
OF_WORKER = injected(Kind.WORKER_KILLED, 12, 18)
OF_ALL_BROKERS = injected(Kind.BROKERS_KILLED, 11, 40)


@pytest.mark.parametrize(
    ("faults", "cut", "kind"),
    [
        ([OF_BROKER, OF_WORKER], False, Kind.BROKER_FROZEN),
        ([OF_BROKER, OF_WORKER], True, Kind.WORKER_KILLED),
        ([OF_BROKER], True, Kind.BROKER_FROZEN),
        ([OF_ALL_BROKERS, OF_WORKER], True, Kind.BROKERS_KILLED),
    ],
)
def test_an_interruption_is_attributed_to_one_fault(
    faults: list[Injected], cut: bool, kind: Kind
) -> None:
    report = Report(
        verdict=Verdict(),
        gaps=Counter(),
        resumes=0,
        stalls=0,
        written=0,
        refused=0,
        injected=faults,
        delays=[Delay(since=13, seconds=25, cut=cut)],
        tracebacks=0,
    )
    assert {kind: seconds for kind, seconds in report.longest().items() if seconds} == {kind: 25}
