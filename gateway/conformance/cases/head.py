"""How a stream begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.conformance.case import Case
from gateway.conformance.verdict import fail, not_applicable

if TYPE_CHECKING:
    from gateway.conformance.trial import Trial


async def media_type(trial: Trial) -> str:
    listener = await trial.listener().open()
    text = listener.connection.header("content-type") or ""
    for parameter in text.split(";")[1:]:
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "charset" and value.strip('"').lower() != "utf-8":
            fail(f"Content-Type: {text}")
    return f"Content-Type: {text}"


async def no_cache(trial: Trial) -> str:
    listener = await trial.listener().open()
    text = listener.connection.header("cache-control") or ""
    words = {word.strip().lower() for word in text.split(",")}
    if not words & {"no-cache", "no-store"}:
        fail(f"Cache-Control: {text}" if text else "there is no Cache-Control")
    return f"Cache-Control: {text}"


async def retry_first(trial: Trial) -> str:
    listener = await trial.live()
    if not listener.parser.retry:
        await trial.write(0)
        await trial.wait_for(listener, 1)
    wrong = [odd for odd in listener.parser.oddities if odd.startswith("retry")]
    if wrong:
        fail(wrong[0])
    if not listener.parser.retry:
        not_applicable("there is no retry:, so each client takes its own time")
    milliseconds, events = listener.parser.retry[0]
    if events:
        fail(f"retry: {milliseconds} comes behind {events} events")
    return f"retry: {milliseconds}"


async def first_id(trial: Trial) -> str:
    listener = await trial.listener().open()
    # Other cases' events come too, and an id that came with one of them is too late.
    await listener.wait_for(
        lambda: listener.last_event_id or listener.events, "an id before the first event"
    )
    if not listener.greeted_with_id:
        fail("the first id comes with the first event")
    return listener.last_event_id[:40]


async def keeps_id(trial: Trial) -> str:
    listener = await trial.anchored()
    came_with = listener.last_event_id
    await listener.resume()
    begin = len(listener.blocks)
    await listener.listen(trial.limits.quiet_seconds)
    for block in listener.blocks[begin:]:
        if not block.last_event_id:
            fail(f"a blank line before any id clears {came_with[:40]}, which the client came with")
    return "no blank line comes before an id"


async def live(trial: Trial) -> str:
    listener = await trial.live()
    data = await trial.write(0)
    await trial.wait_for(listener, 1)
    event = trial.mine(listener)[0]
    if event.data != data:
        fail("the data of the event is not what was published")
    return "it comes without another one behind it"


CASES = (
    Case(
        "media-type",
        "A stream is 200 and text/event-stream, in UTF-8 where it says so.",
        "HTML §9.2.3",
        media_type,
    ),
    Case("no-cache", "Nothing between may keep it.", "clients.md#the-request", no_cache),
    Case("retry-first", "`retry:` comes before the first event.", "HTML §9.2.6", retry_first),
    Case(
        "first-id",
        "There is an id before the first event, so a client that drops early loses nothing.",
        "clients.md#the-stream",
        first_id,
    ),
    Case(
        "keeps-id",
        "A stream that was resumed does not begin with a blank line that clears the id.",
        "HTML §9.2.6",
        keeps_id,
    ),
    Case("live", "An event comes at once, and nothing holds it back.", "HTML §9.2.1", live),
)
