"""What an event looks like, and that it is the same for everybody."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway.conformance.case import Case, Phase
from gateway.conformance.trial import together
from gateway.conformance.verdict import fail, not_applicable
from gateway.errors import ConformanceError

if TYPE_CHECKING:
    from gateway.conformance.trial import Trial

UNICODE = "Ünïcödé ☃ 日本語 \U0001f600 e\u0301 \u2028\u2029 \ufeff \u200f\u0085"
"""Two to four bytes each, what else breaks lines or turns them round, and a BOM in the middle."""


async def framing(trial: Trial) -> str:
    listener = await trial.live()
    for number in range(3):
        await trial.write(number)
    await trial.wait_for(listener, 3)
    if listener.parser.oddities:
        fail("; ".join(listener.parser.oddities))
    return f"lines end in {' and '.join(sorted(listener.parser.line_ends))}"


async def event_type(trial: Trial) -> str:
    listener = await trial.live()
    await trial.write(0)
    await trial.wait_for(listener, 1)
    seen = trial.mine(listener)[0].type
    if seen != trial.options.event_type:
        fail(f"{trial.options.event_type} came as {seen}")
    return seen


async def event_id(trial: Trial) -> str:
    listener = await trial.live()
    for number in range(3):
        await trial.write(number)
    await trial.wait_for(listener, 3)
    ids = [event.id for event in trial.mine(listener)]
    if None in ids or "" in ids:
        fail("an event has no id")
    if len(set(ids)) < len(ids):
        fail("two events have one id")
    longest = max(ids, key=lambda text: len(text or "")) or ""
    if not (longest.isascii() and longest.isprintable()):
        fail(f"the id {longest[:40]!r} does not fit into a header as it is")
    return f"{len(longest)} characters"


async def data_lines(trial: Trial) -> str:
    tag = json.dumps(trial.tag)
    data = f'{{"conformance": {tag},\n\n"n":\r\n0,\r"x": "id: 1"}}'
    await _arrives(trial, data, data.replace("\r\n", "\n").replace("\r", "\n"))
    return "breaks of each kind stay inside the event"


async def unicode(trial: Trial) -> str:
    data = json.dumps({"conformance": trial.tag, "n": 0, "text": UNICODE}, ensure_ascii=False)
    await _arrives(trial, data, data)
    return f"{len(data.encode())} bytes as they were published"


async def large(trial: Trial) -> str:
    data = json.dumps({"conformance": trial.tag, "n": 0, "text": "x" * trial.limits.large_bytes})
    await _arrives(trial, data, data)
    return f"{len(data):,} bytes"


async def _arrives(trial: Trial, data: str, expected: str) -> None:
    listener = await trial.live()
    try:
        await trial.ground.publish(trial.options.event_type, data)
    except ConformanceError as error:
        not_applicable(f"cannot be published: {error}")

    def came() -> list[str]:
        return [data for event in listener.events if trial.tag in (data := event.data or "")]

    await listener.wait_for(came, "the event")
    seen = came()[0]
    if seen != expected:
        at = next(
            (at for at, (a, b) in enumerate(zip(seen, expected, strict=False)) if a != b),
            min(len(seen), len(expected)),
        )
        fail(f"from character {at} on it is {seen[at : at + 20]!r}, not {expected[at : at + 20]!r}")
    if listener.parser.oddities:
        fail("; ".join(listener.parser.oddities))


async def empty_data(trial: Trial) -> str:
    listener = await trial.live()
    try:
        await trial.ground.publish(trial.options.event_type, "")
    except ConformanceError:
        not_applicable("it cannot be published")
    await trial.write(0)
    await trial.wait_for(listener, 1)
    if "an event without data, which a browser drops" in listener.parser.oddities:
        fail("it comes as an event without data, which a browser drops in silence")
    came = any(event.data == "" for event in listener.events)
    return "it comes as an event with empty data" if came else "it is left out, the next one comes"


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
        fail("they differ in type or data")
    return f"3 streams, {count} events"


async def isolation(trial: Trial) -> str:
    noise = trial.ground.noise
    if noise is None:
        not_applicable("it needs --publish-noise")
    listener = await trial.live()
    try:
        await noise(
            trial.options.event_type, json.dumps({"conformance": f"{trial.tag}-noise", "n": 0})
        )
    except ConformanceError as error:
        fail(f"could not be published: {error}")
    await trial.write(0)
    await trial.expect(listener, range(1))
    if any(f"{trial.tag}-noise" in (event.data or "") for event in listener.events):
        fail("an event of another user came")
    return "an event of another user did not come"


CASES = (
    Case("framing", "There is nothing in it that a browser would pass by.", "HTML §9.2.5", framing),
    Case("event-type", "The type of an event is in `event:`.", "HTML §9.2.6", event_type),
    Case(
        "event-id",
        "Every event has an id of its own that a header can carry.",
        "HTML §9.2.4",
        event_id,
    ),
    Case(
        "data-lines",
        "CR, LF and CR LF in data begin another `data:` line and never a field.",
        "HTML §9.2.6",
        data_lines,
        Phase.ALONE,
    ),
    Case("unicode", "Characters beyond ASCII arrive as they are.", "HTML §9.2.5", unicode),
    Case("large", "A large event arrives whole.", "HTML §9.2.6", large),
    Case(
        "empty-data",
        "Empty data harms no later event.",
        "HTML §9.2.6",
        empty_data,
        Phase.ALONE,
    ),
    Case("order", "Many events come once each, in order.", "README.md#the-guarantee", order),
    Case(
        "same-for-all", "Streams of one user get the same.", "README.md#the-guarantee", same_for_all
    ),
    Case("isolation", "Events of others do not come.", "design.md#event-ids", isolation),
)
