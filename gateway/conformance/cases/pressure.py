"""Clients that do not read, and servers that go."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.conformance.case import Case, Phase
from gateway.conformance.publisher import run_command
from gateway.conformance.trial import SMALL_BUFFER
from gateway.conformance.verdict import fail, faults, not_applicable
from gateway.errors import ConformanceError

if TYPE_CHECKING:
    from gateway.conformance.trial import Trial

AFTER_DRAIN_SECONDS = 30.0


async def slow_reader(trial: Trial) -> str:
    slow = await trial.live(receive_buffer=SMALL_BUFFER)
    other = await trial.live()
    count, _ = await asyncio.gather(
        trial.burst(padding=trial.limits.slow_bytes), asyncio.sleep(trial.limits.slow_seconds)
    )
    # Another client is not held up by it.
    patience = 2 * trial.limits.event_seconds
    await trial.wait_for(other, count, seconds=patience)
    ends = 0
    while len(set(trial.numbers(slow))) < count:
        seen = len(slow.events)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while not slow.ended and len(set(trial.numbers(slow))) < count:
                    await slow.read()
        if len(slow.events) == seen and ends:
            break
        if slow.ended:
            ends += 1
            await slow.resume()
    await slow.listen(trial.limits.quiet_seconds)
    wrong = faults(range(count), trial.numbers(slow))
    told = [event.data for event in trial.gaps(slow)]
    if wrong and not told:
        fail(f"{count} events of {trial.limits.slow_bytes:,} bytes: {wrong}, and nothing is told")
    how = f"was cut off {ends} times, and came back" if ends else "was waited for"
    return f"{count} events of {trial.limits.slow_bytes:,} bytes: it {how}" + (
        f"; a gap is told, {told[0]}" if told else ""
    )


async def goodbye(trial: Trial) -> str:
    options = trial.options
    if options.drain is None and options.max_age_seconds is None:
        not_applicable("it needs --drain or --max-age")
    listener = await trial.live()
    patience = AFTER_DRAIN_SECONDS
    if options.drain is not None:
        try:
            await run_command(options.drain)
        except ConformanceError as error:
            fail(f"the command of --drain failed: {error}")
    else:
        patience += options.max_age_seconds or 0
    await listener.listen(patience)
    if not listener.ended:
        fail(f"the stream is still open after {patience:g} s")
    told = [event.data or "" for event in listener.events if event.type == options.close_type]
    if not told:
        fail("the stream ended without a word")
    if not listener.connection.complete:
        fail(f"{told[0]} was told, but the response was cut off")
    return f"{options.close_type} {told[0]}"


CASES = (
    Case(
        "slow-reader",
        "Who does not read for a while gets everything afterwards, or is told; others do not wait.",
        "clients.md#when-the-server-ends-a-stream",
        slow_reader,
    ),
)

LAST_CASES = (
    Case(
        "goodbye",
        "Before a server ends a stream on purpose it says so.",
        "clients.md#when-the-server-ends-a-stream",
        goodbye,
        Phase.LAST,
    ),
)
