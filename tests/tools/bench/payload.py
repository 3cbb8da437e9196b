"""The payload of the bench's events: a number that tells a loss, and a time that tells latency."""

from __future__ import annotations

import time

import msgspec


class Payload(msgspec.Struct):
    """What a client reads of an event.

    `n` counts the events of one user, or those to everybody, from 0. `t` is the monotonic clock in
    ns when the event was handed to the producer; on Linux all processes share that clock.
    """

    n: int
    t: int


def payload(number: int, padding: int) -> bytes:
    """Return the JSON of an event that is written now, with so many bytes of ballast."""
    return b'{"n":%d,"t":%d,"pad":"%b"}' % (number, time.monotonic_ns(), b"x" * padding)
