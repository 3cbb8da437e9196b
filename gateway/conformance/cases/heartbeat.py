"""What a stream says while there is nothing to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.conformance.case import Case, Phase
from gateway.conformance.trial import HIDDEN
from gateway.conformance.verdict import fail, not_applicable

if TYPE_CHECKING:
    from gateway.conformance.trial import Trial


async def in_time(trial: Trial) -> str:
    quiet = await trial.ground.quiet()
    if quiet.seconds is None:
        fail(f"nothing came within {trial.limits.heartbeat_seconds:g} s")
    return f"after {quiet.seconds:.1f} s: {quiet.sign}"


async def with_id(trial: Trial) -> str:
    quiet = await trial.ground.quiet()
    if quiet.seconds is None:
        not_applicable("there is no heartbeat")
    if not quiet.id:
        fail("the heartbeat has no id, so a quiet client's place grows old")
    return quiet.id[:40]


async def resume(trial: Trial) -> str:
    quiet = await trial.ground.quiet()
    if not quiet.id:
        not_applicable("no heartbeat has an id")
    for number in range(3):
        await trial.write(number)
    listener = await trial.listener().open(quiet.id)
    await trial.expect(listener, range(3))
    return "3 events that were written behind it"


async def filter_advances(trial: Trial) -> str:
    if trial.options.filter_query is None or trial.options.other_type is None:
        not_applicable("it needs --filter and --other-type")
    quiet = await trial.ground.quiet()
    if not quiet.filtered_after or quiet.filtered_after == quiet.filtered_before:
        fail(f"the id did not move past {HIDDEN} events that the filter kept away")
    listener = await trial.listener().open(quiet.filtered_after)
    await listener.listen(trial.limits.quiet_seconds)
    if any(quiet.hidden in (event.data or "") for event in listener.events):
        fail("what the filter had kept away came behind that id")
    return f"past {HIDDEN} events that the filter kept away"


CASES = (
    Case(
        "heartbeat",
        "A quiet stream gives a sign of life in time.",
        "HTML §9.2.7",
        in_time,
        Phase.QUIET,
    ),
    Case(
        "heartbeat-id",
        "The sign of life has the current id.",
        "clients.md#the-stream",
        with_id,
        Phase.QUIET,
    ),
    Case(
        "resume-heartbeat",
        "A heartbeat's id brings everything that came after it.",
        "clients.md#the-stream",
        resume,
        Phase.QUIET,
    ),
    Case(
        "filter-advances",
        "Events that a filter keeps away advance the id of a quiet stream.",
        "clients.md#the-request",
        filter_advances,
        Phase.QUIET,
    ),
)
