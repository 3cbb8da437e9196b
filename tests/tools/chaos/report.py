"""The result of a run: two tables, and whether it passed."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from rich.table import Table

from tests.tools.chaos.client import Delay
from tests.tools.chaos.ground import Injected
from tests.tools.chaos.schedule import Kind
from tests.tools.chaos.verdict import Verdict

AFTERMATH_SECONDS = 5.0
"""How long after its end a fault explains an interruption."""

WORST = 5
"""Interruptions that are printed with the faults around them."""


class Report(NamedTuple):
    """All figures of a run."""

    verdict: Verdict
    gaps: Counter[str]
    """Gap events that clients received, by reason."""
    resumes: int
    stalls: int
    written: int
    refused: int
    """Writes without a timely acknowledgement; some are in the log."""
    injected: list[Injected]
    delays: list[Delay]
    tracebacks: int

    @property
    def is_clean(self) -> bool:
        """Whether every event arrived once and in order, or lies in a reported gap."""
        return self.verdict.is_clean and not self.tracebacks

    def longest(self) -> dict[Kind, float]:
        """Return the longest interruption for each kind of fault, in seconds.

        It is the time from the acknowledgement of an event, or from the reconnect after a
        deliberate disconnect, until the client received the event.
        """
        longest = dict.fromkeys(Kind, 0.0)
        for delay in self.delays:
            around = self._around(delay)
            # Without a broker no event is delivered. Otherwise brokers and workers fail
            # concurrently, and only worker faults break a stream.
            likely = (
                [begun for begun in around if begun.fault.kind is Kind.BROKERS_KILLED]
                or [begun for begun in around if begun.fault.kind.of_broker != delay.cut]
                or around
            )
            if likely:
                kind = max(likely, key=lambda begun: begun.began).fault.kind
                longest[kind] = max(longest[kind], delay.seconds)
        return longest

    def worst(self) -> list[str]:
        """Return a line for each of the longest interruptions, with the faults around it."""
        begin = min([begun.began - begun.fault.at for begun in self.injected], default=0.0)
        lines = []
        for delay in sorted(self.delays, key=lambda delay: -delay.seconds)[:WORST]:
            around = ", ".join(
                f"{begun.fault.kind} {begun.fault.target} from {begun.began - begin:.1f}"
                f" to {begun.ended - begin:.1f} s"
                for begun in self._around(delay)
            )
            since = delay.since - begin
            lines.append(f"{delay.seconds:.1f} s from {since:.1f} s: {around or 'no fault'}")
        return lines

    def _around(self, delay: Delay) -> list[Injected]:
        return [
            begun
            for begun in self.injected
            if begun.began <= delay.since + delay.seconds
            and delay.since <= begun.ended + AFTERMATH_SECONDS
        ]

    def tables(self) -> tuple[Table, Table]:
        """Return the results as tables: totals, and the effect of each kind of fault."""
        counts = Table("what", "how many", title="chaos")
        gaps = ", ".join(f"{reason} {count}" for reason, count in self.gaps.items()) or "none"
        for name, value in (
            ("events written", self.written),
            ("writes not acknowledged", self.refused),
            ("deliveries", self.verdict.delivered),
            ("resumes", self.resumes),
            ("stalls", self.stalls),
            ("gaps", gaps),
            ("lost", self.verdict.lost),
            ("repeated", self.verdict.repeated),
            ("out of order", self.verdict.misplaced),
            ("tracebacks", self.tracebacks),
        ):
            counts.add_row(name, str(value))
        faults = Table("fault", "injected", "longest interruption", title="faults")
        injected = Counter(begun.fault.kind for begun in self.injected)
        for kind, seconds in self.longest().items():
            faults.add_row(kind, str(injected[kind]), f"{seconds:.1f} s")
        return counts, faults
