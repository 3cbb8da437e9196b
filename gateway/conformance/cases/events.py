"""The form of events, and their equality on all streams."""

from __future__ import annotations

import json

from gateway.conformance.cases.data import arrives
from gateway.conformance.trial import Trial, together
from gateway.conformance.verdict import fail, not_applicable
from gateway.errors import ConformanceError


async def framing(trial: Trial) -> str:
    listener = await trial.live()
    for number in range(3):
        await trial.write(number)
    await trial.wait_for(listener, 3)
    if listener.parser.oddities:
        fail("; ".join(listener.parser.oddities))
    return f"line ends: {', '.join(sorted(listener.parser.line_ends))}"


async def event_type(trial: Trial) -> str:
    listener = await trial.live()
    await trial.write(0)
    await trial.wait_for(listener, 1)
    seen = trial.mine(listener)[0].type
    if seen != trial.options.event_type:
        fail(f"{trial.options.event_type} arrived as {seen}")
    return seen


async def event_id(trial: Trial) -> str:
    listener = await trial.live()
    for number in range(3):
        await trial.write(number)
    await trial.wait_for(listener, 3)
    ids = [event.id for event in trial.mine(listener)]
    if None in ids or "" in ids:
        fail("an event without an id")
    if len(set(ids)) < len(ids):
        fail("two events with the same id")
    longest = max(ids, key=lambda text: len(text or "")) or ""
    if not (longest.isascii() and longest.isprintable()):
        fail(f"the id {longest[:40]!r} does not fit into a header")
    return f"{len(longest)} characters"


async def large(trial: Trial) -> str:
    data = json.dumps({"conformance": trial.tag, "n": 0, "text": "x" * trial.limits.large_bytes})
    return await arrives(trial, data, data)


async def empty_data(trial: Trial) -> str:
    listener = await trial.live()
    try:
        await trial.ground.publish(trial.options.event_type, "")
    except ConformanceError:
        not_applicable("the event cannot be published")
    await trial.write(0)
    await trial.wait_for(listener, 1)
    if "an event without data, which a browser drops" in listener.parser.oddities:
        fail("sent as an event without data, which a browser drops silently")
    sent = any(event.data == "" for event in listener.events)
    return "sent as an event with empty data" if sent else "skipped; the next event arrives"


async def order(trial: Trial) -> str:
    listener = await trial.live()
    count = await trial.burst()
    await trial.expect(listener, range(count))
    return f"{count} events"


async def same_for_all(trial: Trial) -> str:
    listeners = [await trial.live() for _ in range(3)]
    count = await trial.burst(20)
    await together(*(trial.expect(listener, range(count)) for listener in listeners))
    seen = [[(event.type, event.data) for event in trial.mine(each)] for each in listeners]
    if seen[0] != seen[1] or seen[1] != seen[2]:
        fail("the streams differ in type or data")
    return f"3 streams, {count} events"


async def isolation(trial: Trial) -> str:
    noise = trial.ground.noise
    assert noise is not None, "`needs` holds it"
    listener = await trial.live()
    try:
        await noise(
            trial.options.event_type, json.dumps({"conformance": f"{trial.tag}-noise", "n": 0})
        )
    except ConformanceError as error:
        fail(f"cannot be published: {error}")
    await trial.write(0)
    await trial.expect(listener, range(1))
    if any(f"{trial.tag}-noise" in (event.data or "") for event in listener.events):
        fail("an event of another user was delivered")
    return "an event of another user was not delivered"


CHECKS = {
    "framing": framing,
    "event-type": event_type,
    "event-id": event_id,
    "large": large,
    "empty-data": empty_data,
    "order": order,
    "same-for-all": same_for_all,
    "isolation": isolation,
}
