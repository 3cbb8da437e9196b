"""Simulation of a reconnect storm at one worker after the crash of another one.

All streams of the crashed worker end at once. Their clients wait for the time in `retry:`, then
connect to the other workers. A worker opens streams one by one with the share of its core that its
usual load leaves free. The kernel queues connections; TCP repeats an attempt that finds the queue
full after 1 s, then 2, then 4.

The simulation is deterministic: arrivals are spread evenly.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

STEP_SECONDS = 0.02

BACKLOG = 4096
"""Connections that the kernel queues (`gateway.http.transport.listen`)."""

PATIENCE_SECONDS = 1.0
"""Maximum wait for the first bytes in an acceptable storm."""

MAX_SPREAD_SECONDS = 3600.0


class Storm(NamedTuple):
    """The outcome of a storm."""

    per_second: int
    """The highest number of arrivals within a second."""
    longest_wait: float
    """Seconds from a client's first attempt to its stream."""
    refused: int
    """Attempts that found the kernel's queue full."""
    over_after: float
    """Seconds from the crash until all clients are served."""
    peak_cpu: float
    """Share of one core in the busiest second."""


def simulate(
    newcomers: int, busy: float, open_seconds: float, retry: float, spread: float
) -> Storm:
    """Return the outcome at a worker that spends `busy` of its core on its own streams.

    `newcomers` arrive from `retry` seconds after the crash on, over `spread` seconds. Each costs
    `open_seconds` of CPU.
    """
    assert 0 <= busy < 1, "a worker without free CPU never serves them"
    queue: deque[tuple[int, int]] = deque()
    """Step of the first attempt, and number of clients."""
    again: dict[int, list[tuple[int, int, int]]] = {}
    """Clients that found the queue full, by step of the next attempt: first step, number, tries."""
    second = round(1 / STEP_SECONDS)
    first = round(retry / STEP_SECONDS)
    steps = max(1, round(spread / STEP_SECONDS))
    room = (1 - busy) * STEP_SECONDS / open_seconds
    step, served, queued, refused, longest, credit = first, 0, 0, 0, 0, 0.0
    came: deque[int] = deque(maxlen=second)
    opened: deque[int] = deque(maxlen=second)
    most_came = most_opened = 0
    while served < newcomers:
        passed = step - first
        fresh = _by(newcomers, passed + 1, steps) - _by(newcomers, passed, steps)
        arriving = [*again.pop(step, []), (step, fresh, 0)]
        for since, number, tries in arriving:
            taken = min(number, BACKLOG - queued)
            if taken:
                queue.append((since, taken))
                queued += taken
            if number > taken:
                refused += number - taken
                later = step + second * 2**tries
                again.setdefault(later, []).append((since, number - taken, tries + 1))
        credit = min(credit + room, max(room, 1.0) + room)
        now = 0
        while queue and credit >= 1:
            since, number = queue[0]
            taken = min(number, int(credit))
            credit -= taken
            now += taken
            longest = max(longest, step - since)
            if taken == number:
                queue.popleft()
            else:
                queue[0] = (since, number - taken)
        queued -= now
        served += now
        came.append(fresh)
        opened.append(now)
        most_came = max(most_came, sum(came))
        most_opened = max(most_opened, sum(opened))
        step += 1
    return Storm(
        most_came,
        round(longest * STEP_SECONDS, 2),
        refused,
        round(step * STEP_SECONDS, 2),
        min(1.0, busy + most_opened * open_seconds),
    )


def needed_spread(newcomers: int, busy: float, open_seconds: float, retry: float) -> float:
    """Return the whole seconds of spread at which the storm is acceptable.

    All clients are served within `PATIENCE_SECONDS`, and no attempt finds the kernel's queue full.
    """
    # In less time a worker cannot open all streams.
    spread = max(0.0, newcomers * open_seconds / (1 - busy) - PATIENCE_SECONDS - 1) // 1
    while spread < MAX_SPREAD_SECONDS:
        storm = simulate(newcomers, busy, open_seconds, retry, spread)
        if storm.refused == 0 and storm.longest_wait <= PATIENCE_SECONDS:
            break
        spread += 1.0
    return spread


def _by(newcomers: int, passed: int, steps: int) -> int:
    """Return the number of arrivals after `passed` of `steps` steps."""
    return newcomers * min(passed, steps) // steps
