"""Options of a run: the server's address and names, and time limits."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Bounds of a run; all but the counts in seconds."""

    event_seconds: float = 5.0
    """Limit for an event, or for the head of a response."""
    quiet_seconds: float = 1.0
    """How long a case waits for unwanted events."""
    heartbeat_seconds: float = 35.0
    """Longest allowed silence of a stream."""
    slow_seconds: float = 3.0
    """How long the slow reader pauses."""
    burst_seconds: float = 10.0
    """Limit for a burst; a slow publisher sends fewer events."""
    burst_events: int = 120
    large_bytes: int = 200_000
    """Size of the largest event."""
    slow_bytes: int = 60_000
    """Size of each event of the slow reader's burst."""
    parallel: int = 4
    """Concurrent cases."""

    @property
    def case_seconds(self) -> float:
        """Time limit of one case."""
        return 40 + 6 * self.event_seconds + 2 * self.burst_seconds + self.slow_seconds


class Options(NamedTuple):
    """Address, user and names of the server; None or empty means not supported."""

    url: str
    token: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    event_type: str = "conformance"
    other_type: str | None = None
    """A type that `filter_query` excludes."""
    filter_query: str | None = None
    id_param: str | None = "Last-Event-ID"
    gap_type: str | None = "stream.gap"
    close_type: str | None = "stream.close"
    expired_id: str | None = None
    drain: str | None = None
    """A shell command that makes the server end its streams."""
    max_age_seconds: float | None = None
    verify: bool = True
    limits: Limits = Limits()
