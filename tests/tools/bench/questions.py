"""Questions to a helper with clients, and its answers."""

from __future__ import annotations

import msgspec


class Count(msgspec.Struct, tag=True):
    """Count the events since the last count; the answer is a `Tally`."""


class Leave(msgspec.Struct, tag=True):
    """Drop all streams; the answer is their number."""


class Return(msgspec.Struct, tag=True):
    """Resume all clients with their last ids, evenly over `spread` seconds; 0: at once.

    Each receives `missed` events. The answer is `Served`, after `seconds` at the latest.
    """

    port: int
    missed: int
    seconds: float
    spread: float = 0.0


class Served(msgspec.Struct):
    """Seconds until all clients had their missed events."""

    seconds: float
