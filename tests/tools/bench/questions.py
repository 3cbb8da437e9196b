"""What a helper with clients is asked, and what it answers."""

from __future__ import annotations

import msgspec


class Count(msgspec.Struct, tag=True):
    """What has come since the last count? Answered with a `Tally`."""


class Leave(msgspec.Struct, tag=True):
    """Drop all streams. Answered with their number."""


class Return(msgspec.Struct, tag=True):
    """Come back with the last ids, all at once, for what was missed: so many events each.

    Answered with `Served`, at the latest after `seconds`.
    """

    port: int
    missed: int
    seconds: float


class Served(msgspec.Struct):
    """How long it took until everybody had what was missed."""

    seconds: float
