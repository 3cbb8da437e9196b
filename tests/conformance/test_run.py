"""The suite against a conforming server and against servers with one fault each."""

from __future__ import annotations

import sys

import pytest

from gateway.conformance.case import exit_code, load_cases
from gateway.conformance.options import Limits, Options
from gateway.conformance.run import judge
from gateway.conformance.verdict import Verdict
from gateway.errors import ConformanceError
from tests.conformance.server import BUFFERED, TOKEN, Fault, StreamServer
from tests.eventually import DEADLINE

QUICK = Limits(
    event_seconds=DEADLINE / 2,
    quiet_seconds=0.15,
    heartbeat_seconds=DEADLINE / 2,
    slow_seconds=0.3,
    burst_events=60,
    parallel=8,
)


def options_of(server: StreamServer) -> Options:
    command = f"import urllib.request as u; u.urlopen('{server.drain_url}', b'')"
    return Options(
        server.url,
        TOKEN,
        event_type="shown",
        other_type="hidden",
        filter_query="only=shown",
        drain=f'{sys.executable} -c "{command}"',
        limits=QUICK,
    )


async def foreign(event_type: str, data: str) -> None:
    """Publish an event for another user; this server has one user only."""


async def test_a_conforming_server_passes_every_case() -> None:
    async with StreamServer() as server:
        findings = await judge(options_of(server), server.publish, noise=foreign)
    assert [case.id for case, *_ in findings] == [case.id for case in load_cases()]
    seen_of = {case.id: seen for case, verdict, seen, _ in findings if verdict is not Verdict.PASS}
    assert seen_of == {"expired-told": "needs --expired-id"}
    assert exit_code(findings) == 0


@pytest.mark.parametrize(
    ("fault", "caught_by", "sound"),
    [
        (Fault.LOSES_EVENTS_AT_THE_SEAM, {"seam"}, {"exact-resume", "order"}),
        (Fault.REPEATS, {"exact-resume", "every-id"}, {"order", "live"}),
        (Fault.IGNORES_THE_ID, {"exact-resume", "every-id", "resume-first-id"}, {"order", "live"}),
        (Fault.BUFFERS, {"live"}, {"media-type"}),
        (Fault.FAILS_ON_MALFORMED_IDS, {"malformed-uuid", "malformed-long"}, {"exact-resume"}),
        (Fault.HAS_NO_IDS, {"first-id", "event-id", "exact-resume"}, {"order", "live"}),
        (Fault.IS_SILENT, {"heartbeat"}, {"exact-resume"}),
        (Fault.INJECTS, {"data-lines"}, {"unicode", "framing"}),
        (Fault.CLEARS_THE_ID, {"keeps-id"}, {"first-id", "exact-resume"}),
        (Fault.SENDS_NO_CLOSE_EVENT, {"goodbye"}, {"live"}),
        (Fault.ACCEPTS_ANY_TOKEN, {"no-token", "bad-token"}, {"live"}),
    ],
    ids=lambda given: given.name.lower() if isinstance(given, Fault) else "",
)
async def test_each_fault_fails_the_case_for_it(
    fault: Fault, caught_by: set[str], sound: set[str]
) -> None:
    async with StreamServer(fault) as server:
        if fault is Fault.BUFFERS:  # the start check needs one delivered event
            server.log += [("padding", "0")] * (BUFFERED - 1)
        # The time until a fault shows; too little for a busy machine would fail the sound cases.
        limits = QUICK._replace(event_seconds=3.0, heartbeat_seconds=3.0)
        options = options_of(server)._replace(limits=limits)
        findings = await judge(options, server.publish, only=caught_by | sound)
    assert {case.id for case, verdict, *_ in findings if verdict is Verdict.FAIL} == caught_by
    assert exit_code(findings) == 1


async def test_a_server_that_delivers_no_events_cannot_be_judged() -> None:
    async with StreamServer() as server:
        options = options_of(server)._replace(limits=QUICK._replace(event_seconds=0.05))
        with pytest.raises(ConformanceError, match="no case can be run: event 1 of"):
            await judge(options, foreign)


async def test_an_unreachable_server_is_reported_in_one_line() -> None:
    with pytest.raises(ConformanceError, match=r"cannot connect to 127\.0\.0\.1:1"):
        await judge(Options("http://127.0.0.1:1/", limits=QUICK), foreign)


async def test_an_unknown_case_is_reported() -> None:
    with pytest.raises(ConformanceError, match="unknown case: tides"):
        await judge(Options("http://127.0.0.1:1/"), foreign, only={"tides"})
