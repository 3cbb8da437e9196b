"""Delivery to clients that reconnect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.conformance.trial import Trial, together
from gateway.conformance.verdict import fail, faults, not_applicable

if TYPE_CHECKING:
    from gateway.conformance.listener import Listener

DROPS = 4
CLIENTS = 4
"""Clients that reconnect repeatedly while events are published."""

STEPS = (3, 7, 11, 17)
"""Events that each client reads before it drops; different steps drop at different positions."""


async def exact(trial: Trial) -> str:
    listener = await trial.anchored()
    witness = await trial.live()
    for turn in range(1, DROPS + 1):
        listener.drop()
        for number in range(5 * (turn - 1), 5 * turn):
            await trial.write(number)
        await trial.wait_for(witness, 5 * turn)
        await listener.resume()
        await trial.wait_for(listener, 5 * turn - 2)  # the next turn resumes inside this batch
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
            fail("an event without an id")
        listener = await trial.listener().open(event.id)
        first = trial.numbers(witness)[trial.mine(witness).index(event)] + 1
        await trial.expect(listener, range(first, 4))
        listener.drop()
    return "exactly the later events after each of 4 ids"


async def from_first_id(trial: Trial) -> str:
    listener = await trial.live()
    if not listener.blocks:
        await listener.listen(trial.limits.quiet_seconds)
    if not listener.greeted_with_id:
        not_applicable("the server sends no id before the first event")
    listener.drop()
    for number in range(3):
        await trial.write(number)
    await listener.resume()
    await trial.expect(listener, range(3))
    return "3 events published while the client was disconnected"


async def seam(trial: Trial) -> str:
    clients = [await trial.anchored() for _ in range(CLIENTS)]
    writing = asyncio.create_task(trial.burst(pause=0.01))

    async def run(client: Listener, step: int) -> int:
        connections = 0
        while not writing.done() and connections < trial.limits.burst_events:
            await client.resume()
            connections += 1
            goal = len(trial.numbers(client)) + step
            while not (writing.done() or client.ended or len(trial.numbers(client)) >= goal):
                await client.listen(0.05)
        await client.resume()
        return connections + 1

    try:
        runs = zip(clients, STEPS, strict=True)
        connections = sum(await together(*(run(client, step) for client, step in runs)))
        count = await writing
    finally:
        writing.cancel()
        await asyncio.wait([writing])
    await together(*(trial.expect(client, range(count)) for client in clients))
    return f"{count} events while 4 clients reconnected {connections} times"


async def id_in_query(trial: Trial) -> str:
    listener, id_before = await _two(trial)
    await listener.open(by_query=id_before)
    await listener.listen(trial.limits.quiet_seconds)
    seen = trial.numbers(listener)[2:]
    if not seen:
        not_applicable(f"the server ignores the query parameter {trial.options.id_param}")
    if wrong := faults([1], seen):
        fail(wrong)
    return f"{trial.options.id_param}="


async def header_wins(trial: Trial) -> str:
    listener, id_before = await _two(trial)
    await listener.open(by_query=id_before)
    await listener.listen(trial.limits.quiet_seconds)
    if not trial.numbers(listener)[2:]:
        not_applicable(f"the server ignores the query parameter {trial.options.id_param}")
    latest = trial.mine(listener)[1].id
    fresh = await trial.listener().open(latest, by_query=id_before)
    await fresh.listen(trial.limits.quiet_seconds)
    if trial.numbers(fresh):
        fail("the id in the query was used")
    other = await trial.listener().open(id_before, by_query=latest)
    await other.listen(trial.limits.quiet_seconds)
    if wrong := faults([1], trial.numbers(other)):
        fail(f"the id in the header was not used: {wrong}")
    return "the id in the header was used in both orders"


async def _two(trial: Trial) -> tuple[Listener, str]:
    """Return a client that received events 0 and 1, and the id of event 0."""
    listener = await trial.live()
    await trial.write(0)
    await trial.write(1)
    await trial.wait_for(listener, 2)
    first = trial.mine(listener)[0].id
    if not first:
        fail("an event without an id")
    return listener, first


async def filtered(trial: Trial) -> str:
    query, other = trial.options.filter_query, trial.options.other_type
    assert query is not None, "`needs` holds it"
    witness = await trial.live()
    listener = await trial.live(query=query)
    for number in range(3):
        await trial.write(number, event_type=other)
    await trial.write(3)
    await trial.wait_for(witness, 4)
    await trial.wait_for(listener, 1)
    if trial.numbers(listener) != [3]:
        fail(f"the filtered stream has {trial.numbers(listener)}")
    listener.drop()
    await trial.write(4)
    await listener.resume()  # without the filter: the excluded events lie before the id
    await trial.wait_for(listener, 2)
    await listener.listen(trial.limits.quiet_seconds)
    if wrong := faults([3, 4], trial.numbers(listener)):
        fail(wrong)
    return "the id lies behind the excluded events"


async def expired(trial: Trial) -> str:
    listener = await trial.listener().open(trial.options.expired_id)
    await listener.wait_for(lambda: trial.gaps(listener), "a gap event")
    data = trial.gaps(listener)[0].data or ""
    await trial.write(0)
    await trial.expect_live(listener)
    return f"{trial.options.gap_type} {data}"


CHECKS = {
    "exact-resume": exact,
    "every-id": every_id,
    "resume-first-id": from_first_id,
    "seam": seam,
    "id-in-query": id_in_query,
    "header-wins": header_wins,
    "filter-id": filtered,
    "expired-told": expired,
}
