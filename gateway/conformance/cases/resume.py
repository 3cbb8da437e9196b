"""What a client gets that comes back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.conformance.case import Case
from gateway.conformance.trial import together
from gateway.conformance.verdict import fail, faults, not_applicable

if TYPE_CHECKING:
    from gateway.conformance.listener import Listener
    from gateway.conformance.trial import Trial

DROPS = 4
RIDERS = 4
"""Clients that come back again and again while events are written."""

STEPS = (3, 7, 11, 17)
"""How many events each of them reads before it drops: each falls into other places."""


async def exact(trial: Trial) -> str:
    listener = await trial.anchored()
    witness = await trial.live()
    for turn in range(1, DROPS + 1):
        listener.drop()
        for number in range(5 * (turn - 1), 5 * turn):
            await trial.write(number)
        await trial.wait_for(witness, 5 * turn)
        await listener.resume()
        await trial.wait_for(listener, 5 * turn - 2)  # so that the next turn resumes within
    await listener.resume()
    await trial.expect(listener, range(5 * DROPS))
    return f"{5 * DROPS} events over {DROPS + 2} connections, each once and in order"


async def every_id(trial: Trial) -> str:
    witness = await trial.live()
    for number in range(4):
        await trial.write(number)
    await trial.wait_for(witness, 4)
    for event in trial.mine(witness):
        if not event.id:
            fail("an event has no id")
        listener = await trial.listener().open(event.id)
        behind = trial.numbers(witness)[trial.mine(witness).index(event)] + 1
        await trial.expect(listener, range(behind, 4))
        listener.drop()
    return "behind each of 4 ids just the later ones"


async def from_first_id(trial: Trial) -> str:
    listener = await trial.live()
    if not listener.blocks:
        await listener.listen(trial.limits.quiet_seconds)
    if not listener.greeted_with_id:
        not_applicable("there is no id before the first event")
    listener.drop()
    for number in range(3):
        await trial.write(number)
    await listener.resume()
    await trial.expect(listener, range(3))
    return "3 events that were written while it was away"


async def seam(trial: Trial) -> str:
    riders = [await trial.anchored() for _ in range(RIDERS)]
    writing = asyncio.create_task(trial.burst(pause=0.01))

    async def ride(rider: Listener, step: int) -> int:
        connections = 0
        while not writing.done() and connections < trial.limits.burst_events:
            await rider.resume()
            connections += 1
            goal = len(trial.numbers(rider)) + step
            while not (writing.done() or rider.ended or len(trial.numbers(rider)) >= goal):
                await rider.listen(0.05)
        await rider.resume()
        return connections + 1

    try:
        rides = zip(riders, STEPS, strict=True)
        connections = sum(await together(*(ride(rider, step) for rider, step in rides)))
        count = await writing
    finally:
        writing.cancel()
        await asyncio.wait([writing])
    await together(*(trial.expect(rider, range(count)) for rider in riders))
    return f"{count} events while 4 clients came back {connections} times"


async def id_in_query(trial: Trial) -> str:
    listener, id_before = await _two(trial)
    await listener.open(by_query=id_before)
    await listener.listen(trial.limits.quiet_seconds)
    seen = trial.numbers(listener)[2:]
    if not seen:
        not_applicable(f"an id in the query, {trial.options.id_param}, is not looked at")
    if wrong := faults([1], seen):
        fail(wrong)
    return f"{trial.options.id_param}="


async def header_wins(trial: Trial) -> str:
    listener, id_before = await _two(trial)
    await listener.open(by_query=id_before)
    await listener.listen(trial.limits.quiet_seconds)
    if not trial.numbers(listener)[2:]:
        not_applicable(f"an id in the query, {trial.options.id_param}, is not looked at")
    latest = trial.mine(listener)[1].id
    fresh = await trial.listener().open(latest, by_query=id_before)
    await fresh.listen(trial.limits.quiet_seconds)
    if trial.numbers(fresh):
        fail("the id of the query was taken")
    other = await trial.listener().open(id_before, by_query=latest)
    await other.listen(trial.limits.quiet_seconds)
    if wrong := faults([1], trial.numbers(other)):
        fail(f"the header's id was not taken: {wrong}")
    return "an EventSource keeps its URL, and the header is newer"


async def _two(trial: Trial) -> tuple[Listener, str]:
    """Return a client that has events 0 and 1, and the id of 0."""
    if trial.options.id_param is None:
        not_applicable("it needs --id-param")
    listener = await trial.live()
    await trial.write(0)
    await trial.write(1)
    await trial.wait_for(listener, 2)
    first = trial.mine(listener)[0].id
    if not first:
        fail("an event has no id")
    return listener, first


async def filtered(trial: Trial) -> str:
    query, other = trial.options.filter_query, trial.options.other_type
    if query is None or other is None:
        not_applicable("it needs --filter and --other-type")
    witness = await trial.live()
    listener = await trial.live(query=query)
    for number in range(3):
        await trial.write(number, event_type=other)
    await trial.write(3)
    await trial.wait_for(witness, 4)
    await trial.wait_for(listener, 1)
    if trial.numbers(listener) != [3]:
        fail(f"the filter let through {trial.numbers(listener)}")
    listener.drop()
    await trial.write(4)
    await listener.resume()  # without the filter: what it kept away is in the past
    await trial.wait_for(listener, 2)
    await listener.listen(trial.limits.quiet_seconds)
    if wrong := faults([3, 4], trial.numbers(listener)):
        fail(wrong)
    return "the id is behind what the filter kept away"


async def expired(trial: Trial) -> str:
    old = trial.options.expired_id
    if old is None:
        not_applicable("it needs --expired-id")
    listener = await trial.listener().open(old)
    await listener.wait_for(lambda: trial.gaps(listener), "a gap told")
    data = trial.gaps(listener)[0].data or ""
    await trial.write(0)
    await trial.expect_live(listener)
    return f"{trial.options.gap_type} {data}"


CASES = (
    Case(
        "exact-resume",
        "A client that drops again and again gets every event once, in order.",
        "HTML §9.2.4",
        exact,
    ),
    Case(
        "every-id", "Behind each event's id there are just the later ones.", "HTML §9.2.4", every_id
    ),
    Case(
        "resume-first-id",
        "The id before the first event brings everything that came after it.",
        "clients.md#the-stream",
        from_first_id,
    ),
    Case(
        "seam",
        "Between what is sent again and what is live, nothing is lost or doubled.",
        "README.md#the-guarantee",
        seam,
    ),
    Case("id-in-query", "The id may stand in the query.", "clients.md#the-request", id_in_query),
    Case(
        "header-wins",
        "The header's id wins over the query's.",
        "clients.md#the-request",
        header_wins,
    ),
    Case(
        "filter-id",
        "What a filter keeps away is behind the id of the next event.",
        "clients.md#the-request",
        filtered,
    ),
    Case(
        "expired-told",
        "An id that is too old is told, not passed over.",
        "clients.md#when-events-are-missing",
        expired,
    ),
)
