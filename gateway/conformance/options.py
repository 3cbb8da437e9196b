"""What the suite is told of a server, and how much time it takes."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Bounds of a run; all but the counts in seconds."""

    event_seconds: float = 5.0
    """How long an event, or the head of an answer, may take."""
    quiet_seconds: float = 1.0
    """How long a case listens for what must not come."""
    heartbeat_seconds: float = 35.0
    """How long a quiet stream may be without a sign of life."""
    slow_seconds: float = 3.0
    """How long the slow reader does not read."""
    burst_seconds: float = 10.0
    """How long a case writes events at most; it makes do with fewer where writing is slow."""
    burst_events: int = 120
    large_bytes: int = 200_000
    """Of the largest event."""
    slow_bytes: int = 60_000
    """Of each event that the slow reader leaves waiting."""
    parallel: int = 4
    """Cases at a time."""

    @property
    def case_seconds(self) -> float:
        """How long one case may take at most."""
        return 40 + 6 * self.event_seconds + 2 * self.burst_seconds + self.slow_seconds


class Options(NamedTuple):
    """The server: where it is, who asks, and what it calls things. None or empty: it has none."""

    url: str
    token: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    event_type: str = "conformance"
    other_type: str | None = None
    """A type that `filter_query` keeps away."""
    filter_query: str | None = None
    id_param: str | None = "Last-Event-ID"
    gap_type: str | None = "stream.gap"
    close_type: str | None = "stream.close"
    expired_id: str | None = None
    drain: str | None = None
    """A shell command that has the server end its streams."""
    max_age_seconds: float | None = None
    verify: bool = True
    limits: Limits = Limits()
