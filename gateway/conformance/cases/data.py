"""Cases that are judged by their data alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway.conformance.verdict import fail, not_applicable
from gateway.errors import ConformanceError

if TYPE_CHECKING:
    from gateway.conformance.case import EventData, Exchange, Reconnect
    from gateway.conformance.trial import Trial


async def exchange(trial: Trial, wanted: Exchange) -> str:
    """Send a request and compare status and header with the accepted answers."""
    connection = await trial.listener().ask(
        wanted.last_event_id, method=wanted.method, token=wanted.token
    )
    status = connection.status
    accepted = [each for each in wanted.answers if each.first <= status <= each.last]
    if not accepted:
        fail(f"{status}")
    header = accepted[0].header
    if header is None:
        return f"{status}"
    value = connection.header(header.lower())
    if value is None:
        fail(f"{status} without {header}")
    return f"{status}, {header}: {value}"


async def reconnect(trial: Trial, wanted: Reconnect) -> str:
    """Connect with a malformed id; the stream must open and deliver the next event."""
    witness = await trial.live()
    await trial.write(0)
    await trial.wait_for(witness, 1)
    listener = trial.listener()
    if wanted.where == "header":
        connection = await listener.ask(wanted.id)
    else:
        connection = await listener.ask(by_query=wanted.id.decode())
    if connection.status != 200:
        fail(f"{connection.status}, at which an EventSource gives up for good")
    await trial.write(1)
    await trial.expect_live(listener)
    if trial.gaps(listener):
        return "a gap is reported"
    if 0 in trial.numbers(listener):
        return "the stream starts at the oldest event; no gap is reported"
    return "the stream is live; no gap is reported"


async def event(trial: Trial, wanted: EventData) -> str:
    """Publish data and compare it with the received data."""
    tag = json.dumps(trial.tag)
    return await arrives(
        trial, wanted.data.replace("{TAG}", tag), wanted.arrives.replace("{TAG}", tag)
    )


async def arrives(trial: Trial, data: str, expected: str) -> str:
    """Publish data with the trial's tag and compare the event that has this tag."""
    listener = await trial.live()
    try:
        await trial.ground.publish(trial.options.event_type, data)
    except ConformanceError as error:
        not_applicable(f"cannot be published: {error}")

    def received() -> list[str]:
        return [data for event in listener.events if trial.tag in (data := event.data or "")]

    await listener.wait_for(received, "the event")
    seen = received()[0]
    if seen != expected:
        at = next(
            (at for at, (a, b) in enumerate(zip(seen, expected, strict=False)) if a != b),
            min(len(seen), len(expected)),
        )
        fail(
            f"from character {at} on: {seen[at : at + 20]!r} instead of {expected[at : at + 20]!r}"
        )
    if listener.parser.oddities:
        fail("; ".join(listener.parser.oddities))
    return f"{len(expected.encode()):,} bytes"
