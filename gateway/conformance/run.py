"""A run of the suite: phase by phase, each case with a time limit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.conformance.case import Case, Finding, Need, Phase, load_cases
from gateway.conformance.cases import check_of
from gateway.conformance.trial import Ground, Trial
from gateway.conformance.verdict import Judged, Verdict, not_applicable
from gateway.errors import ConformanceError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gateway.conformance.options import Options
    from gateway.conformance.publisher import Publish


async def judge(
    options: Options,
    publish: Publish,
    *,
    noise: Publish | None = None,
    only: Collection[str] = (),
    run: str = "run",
    done: Callable[[Finding], None] = lambda _: None,
) -> list[Finding]:
    """Return the findings of all cases, or of the cases in `only`, in the order of the table.

    `run` marks the events of this run. Raises `ConformanceError` if no stream opens or a published
    event does not arrive: then no case can be judged.
    """
    cases = load_cases()
    unknown = set(only) - {case.id for case in cases}
    if unknown:
        raise ConformanceError(f"unknown case: {', '.join(sorted(unknown))}")
    cases = tuple(case for case in cases if not only or case.id in only)
    ground = Ground(options, publish, noise, run)
    slots = asyncio.Semaphore(options.limits.parallel)

    async def one(case: Case) -> Finding:
        async with slots:
            finding = await _run(case, ground)
        done(finding)
        return finding

    findings: dict[str, Finding] = {}
    try:
        await _begin(ground)
        for phase in Phase:
            now = [case for case in cases if case.phase is phase]
            batches = [[case] for case in now] if phase is Phase.ALONE else [now]
            for batch in batches:
                for finding in await asyncio.gather(*map(one, batch)):
                    findings[finding.case.id] = finding
    finally:
        await ground.end()
    return [findings[case.id] for case in cases]


async def _begin(ground: Ground) -> None:
    """Check that a stream opens and delivers a published event."""
    async with Trial(ground, "begin") as trial:
        try:
            listener = await trial.live()
            await ground.publish(ground.options.event_type, trial.document(0))
            # The first command may start slowly, and so may the server's first stream of a user.
            await trial.wait_for(listener, 1, seconds=4 * ground.options.limits.event_seconds)
        except Judged as error:
            raise ConformanceError(f"no case can be run: {error.seen}") from None


async def _run(case: Case, ground: Ground) -> Finding:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    limit = ground.options.limits.case_seconds + (
        ground.options.limits.heartbeat_seconds if case.phase is Phase.QUIET else 0
    )
    verdict = Verdict.PASS
    try:
        async with asyncio.timeout(limit), Trial(ground, case.id) as trial:
            _check_need(case.needs, ground)
            seen = await check_of(case)(trial)
    except Judged as judged:
        verdict, seen = judged.verdict, judged.seen
    except TimeoutError:
        verdict, seen = Verdict.FAIL, f"not done within {limit:g} s"
    return Finding(case, verdict, seen, loop.time() - begin)


def _check_need(need: Need | None, ground: Ground) -> None:
    """End the case as not applicable if the option that it needs was not given."""
    options = ground.options
    missing = {
        None: "",
        "token": "" if options.token is not None else "--token",
        "noise": "" if ground.noise is not None else "--publish-noise",
        "filter": "" if options.filter_query and options.other_type else "--filter, --other-type",
        "id-param": "" if options.id_param else "--id-param",
        "expired-id": "" if options.expired_id is not None else "--expired-id",
        "end": "" if options.drain or options.max_age_seconds else "--drain or --max-age",
    }[need]
    if missing:
        not_applicable(f"needs {missing}")
