"""Clients that do not read, and servers that stop."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from gateway.conformance.publisher import run_command
from gateway.conformance.trial import SMALL_BUFFER, Trial
from gateway.conformance.verdict import fail, faults
from gateway.errors import ConformanceError

AFTER_DRAIN_SECONDS = 30.0


async def slow_reader(trial: Trial) -> str:
    slow = await trial.live(receive_buffer=SMALL_BUFFER)
    other = await trial.live()
    count, _ = await asyncio.gather(
        trial.burst(padding=trial.limits.slow_bytes), asyncio.sleep(trial.limits.slow_seconds)
    )
    # The other client must not be delayed.
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
    reported = [event.data for event in trial.gaps(slow)]
    if wrong and not reported:
        fail(f"{count} events of {trial.limits.slow_bytes:,} bytes: {wrong}; no gap is reported")
    how = f"the client was disconnected {ends} times and resumed" if ends else "the server waited"
    return f"{count} events of {trial.limits.slow_bytes:,} bytes: {how}" + (
        f"; a gap is reported: {reported[0]}" if reported else ""
    )


async def goodbye(trial: Trial) -> str:
    options = trial.options
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
    closes = [event.data or "" for event in listener.events if event.type == options.close_type]
    if not closes:
        fail("the stream ended without a close event")
    if not listener.connection.complete:
        fail(f"{closes[0]} was sent, but the response was cut off")
    return f"{options.close_type} {closes[0]}"


CHECKS = {
    "slow-reader": slow_reader,
    "goodbye": goodbye,
}
