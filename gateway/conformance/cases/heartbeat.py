"""Heartbeats of quiet streams."""

from __future__ import annotations

from gateway.conformance.trial import HIDDEN, Trial
from gateway.conformance.verdict import fail, not_applicable


async def in_time(trial: Trial) -> str:
    quiet = await trial.ground.quiet()
    if quiet.seconds is None:
        fail(f"silent for {trial.limits.heartbeat_seconds:g} s")
    return f"after {quiet.seconds:.1f} s: {quiet.sign}"


async def with_id(trial: Trial) -> str:
    quiet = await trial.ground.quiet()
    if quiet.seconds is None:
        not_applicable("the server sends no heartbeat")
    if not quiet.id:
        fail("the heartbeat carries no id, so the position of a quiet client ages")
    return quiet.id[:40]


async def resume(trial: Trial) -> str:
    quiet = await trial.ground.quiet()
    if not quiet.id:
        not_applicable("the heartbeat carries no id")
    for number in range(3):
        await trial.write(number)
    listener = await trial.listener().open(quiet.id)
    await trial.expect(listener, range(3))
    return "3 events published after it"


async def filter_advances(trial: Trial) -> str:
    quiet = await trial.ground.quiet()
    if not quiet.filtered_after or quiet.filtered_after == quiet.filtered_before:
        fail(f"the id did not move past {HIDDEN} excluded events")
    listener = await trial.listener().open(quiet.filtered_after)
    await listener.listen(trial.limits.quiet_seconds)
    if any(quiet.hidden in (event.data or "") for event in listener.events):
        fail("excluded events were delivered after that id")
    return f"past {HIDDEN} excluded events"


CHECKS = {
    "heartbeat": in_time,
    "heartbeat-id": with_id,
    "resume-heartbeat": resume,
    "filter-advances": filter_advances,
}
