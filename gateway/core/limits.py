"""Replay limits and the extent of a partition.

The limits apply whether memory or Kafka serves the replay.
"""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Limits of one replay."""

    max_age_ms: int
    """Older records are not replayed."""
    max_events: int
    max_records: int


class Extent(NamedTuple):
    """Start and end of a partition, as the broker reports them."""

    start: int
    """The log start offset: the first one not deleted."""
    end: int
    """The last stable offset: one after the last readable record."""
    cutoff: int
    """The offset of the first record within the maximum age; `end` if all records are older."""
    oldest: int
    """The minimum timestamp of a replayed record: Unix ms."""
