"""Reconnect delays: the `retry:` of each stream, so that clients do not return all at once.

event              | the clients return                | `retry:` in ms
-------------------+-----------------------------------+--------------------------------------
a crash            | together, after the delay that    | `retry_ms` ± `JITTER` of it, a value
                   | they were told when they opened   | for each stream
a drain            | as the drain ends their streams   | short: the drain spreads them already
a drain, too short | too many in a second              | longer, up to twice `retry_ms`
for its streams    |                                   |
"""

from __future__ import annotations

JITTER = 0.5
"""Part of `retry_ms` by which a delay differs at most: clients return over a time of `retry_ms`."""

SHORT_MS = (100, 400)
"""Range of the delay at a drain."""

DRAIN_RATE = 500
"""Clients that a drain sends to other workers in a second; each costs some 0.25 ms of CPU there."""

_GOLDEN = 0.6180339887498949
"""Multiples of the golden ratio, modulo 1, divide an interval evenly, however many there are."""


def usual_delay(retry_ms: int, number: int) -> int:
    """Return the delay (ms) for the stream with this number; the first stream gets `retry_ms`.

    Any run of consecutive numbers is spread evenly over the range.
    """
    part = (number * _GOLDEN + 0.5) % 1 - 0.5
    return round(retry_ms * (1 + 2 * JITTER * part))


def drain_delay(retry_ms: int, streams: int, seconds: float, draw: float) -> int:
    """Return the delay (ms) for a stream of a drain that ends `streams` over `seconds`.

    `draw` is a random number from 0 to 1. Never longer than twice `retry_ms`.
    """
    low, high = SHORT_MS
    high += max(0, round(1000 * (streams / DRAIN_RATE - seconds)))
    return min(round(low + draw * (high - low)), 2 * retry_ms)
