"""Payload of the bench's events: a number to detect losses, and a time for the latency."""

from __future__ import annotations

import time

import msgspec


class Payload(msgspec.Struct):
    """The fields of an event that a client reads.

    `n` counts the events of one user, or the broadcasts, from 0. `t` is the monotonic clock in
    ns when the event was handed to the producer; on Linux all processes share that clock.
    """

    n: int
    t: int


def payload(number: int, padding: int) -> bytes:
    """Return the JSON of an event written now, with padding."""
    return b'{"n":%d,"t":%d,"pad":"%b"}' % (number, time.monotonic_ns(), b"x" * padding)
