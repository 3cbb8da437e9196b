"""A run: the cases of each phase side by side, each with an end to its time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.conformance.case import Case, Finding, Phase
from gateway.conformance.cases import CASES
from gateway.conformance.trial import Ground, Trial
from gateway.conformance.verdict import Judged, Verdict
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
    """Return what came of the cases, all or those named in `only`, in the order of the table.

    `run` tells this run's events from those of others. Raises `ConformanceError` where an event
    that was published is not to be seen at all: then nothing can be said of the server.
    """
    unknown = set(only) - {case.name for case in CASES}
    if unknown:
        raise ConformanceError(f"there is no case {', '.join(sorted(unknown))}")
    cases = [case for case in CASES if not only or case.name in only]
    ground = Ground(options, publish, noise, run)
    places = asyncio.Semaphore(options.limits.parallel)

    async def one(case: Case) -> Finding:
        async with places:
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
                    findings[finding.case.name] = finding
    finally:
        await ground.end()
    return [findings[case.name] for case in cases]


async def _begin(ground: Ground) -> None:
    """See that there is a stream, and that what is published comes out of it."""
    async with Trial(ground, "begin") as trial:
        try:
            listener = await trial.live()
            await ground.publish(ground.options.event_type, trial.document(0))
            # The first command may take long to start, and a server to follow its first user.
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
        async with asyncio.timeout(limit), Trial(ground, case.name) as trial:
            seen = await case.run(trial)
    except Judged as judged:
        verdict, seen = judged.verdict, judged.seen
    except TimeoutError:
        verdict, seen = Verdict.FAIL, f"not done within {limit:g} s"
    return Finding(case, verdict, seen, loop.time() - begin)
