"""What bounds a replay: how much it may cost, and how far the log reaches.

The limits hold for a client whether memory or Kafka serves it.
"""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """What one replay may cost."""

    max_age_ms: int
    """Older records are not replayed."""
    max_events: int
    max_records: int


class Extent(NamedTuple):
    """Where a log starts and ends, as the broker has just said."""

    start: int
    """The first offset that is left."""
    end: int
    """The offset after the last record that can be read: the last stable offset."""
    cutoff: int
    """The offset of the first record young enough to be replayed; `end` where there is none."""
    oldest: int
    """How old it may be: Unix ms."""
