"""The beginning of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
        fail(f"Cache-Control: {text}" if text else "Cache-Control is missing")
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
        not_applicable("the server sends no retry:")
    milliseconds, events = listener.parser.retry[0]
    if events:
        fail(f"retry: {milliseconds} follows {events} events")
    return f"retry: {milliseconds}"


async def first_id(trial: Trial) -> str:
    listener = await trial.listener().open()
    # An id that arrives with an event, also of another case, is too late.
    await listener.wait_for(
        lambda: listener.last_event_id or listener.events, "an id before the first event"
    )
    if not listener.greeted_with_id:
        fail("the first id arrives with the first event")
    return listener.last_event_id[:40]


async def keeps_id(trial: Trial) -> str:
    listener = await trial.anchored()
    sent = listener.last_event_id
    await listener.resume()
    begin = len(listener.blocks)
    await listener.listen(trial.limits.quiet_seconds)
    for block in listener.blocks[begin:]:
        if not block.last_event_id:
            fail(f"a blank line before any id clears the id that the client sent, {sent[:40]}")
    return "no blank line precedes the first id"


async def live(trial: Trial) -> str:
    listener = await trial.live()
    data = await trial.write(0)
    await trial.wait_for(listener, 1)
    event = trial.mine(listener)[0]
    if event.data != data:
        fail("the data differs from the published data")
    return "delivered without a second event"


CHECKS = {
    "media-type": media_type,
    "no-cache": no_cache,
    "retry-first": retry_first,
    "first-id": first_id,
    "keeps-id": keeps_id,
    "live": live,
}
