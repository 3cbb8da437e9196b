"""The suite against a server that is right, and against servers that are each wrong in one way."""

from __future__ import annotations

import sys

import pytest

from gateway.conformance.case import exit_code
from gateway.conformance.cases import CASES
from gateway.conformance.options import Limits, Options
from gateway.conformance.run import judge
from gateway.conformance.verdict import Verdict
from gateway.errors import ConformanceError
from tests.conformance.server import BUFFERED, TOKEN, Fault, StreamServer

QUICK = Limits(
    event_seconds=1.5,
    quiet_seconds=0.15,
    heartbeat_seconds=1.5,
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
    """Publish an event for another user, of whom this server has none."""


async def test_a_server_that_is_right_fails_in_nothing() -> None:
    async with StreamServer() as server:
        findings = await judge(options_of(server), server.publish, noise=foreign)
    assert [case.name for case, *_ in findings] == [case.name for case in CASES]
    told = {case.name: seen for case, verdict, seen, _ in findings if verdict is not Verdict.PASS}
    assert told == {"expired-told": "it needs --expired-id"}
    assert exit_code(findings) == 0


@pytest.mark.parametrize(
    ("fault", "caught_by", "sound"),
    [
        (Fault.LOSES_THE_SEAM, {"seam"}, {"exact-resume", "order"}),
        (Fault.REPEATS, {"exact-resume", "every-id"}, {"order", "live"}),
        (Fault.IGNORES_THE_ID, {"exact-resume", "every-id", "resume-first-id"}, {"order", "live"}),
        (Fault.BUFFERS, {"live"}, {"media-type"}),
        (Fault.FAILS_ON_MALFORMED_IDS, {"malformed-uuid", "malformed-long"}, {"exact-resume"}),
        (Fault.HAS_NO_IDS, {"first-id", "event-id", "exact-resume"}, {"order", "live"}),
        (Fault.IS_SILENT, {"heartbeat"}, {"exact-resume"}),
        (Fault.INJECTS, {"data-lines"}, {"unicode", "framing"}),
        (Fault.CLEARS_THE_ID, {"keeps-id"}, {"first-id", "exact-resume"}),
        (Fault.LEAVES_WITHOUT_A_WORD, {"goodbye"}, {"live"}),
        (Fault.LETS_EVERYBODY_IN, {"no-token", "bad-token"}, {"live"}),
    ],
    ids=lambda given: given.name.lower() if isinstance(given, Fault) else "",
)
async def test_a_server_that_is_wrong_is_caught_by_the_case_for_it(
    fault: Fault, caught_by: set[str], sound: set[str]
) -> None:
    async with StreamServer(fault) as server:
        if fault is Fault.BUFFERS:  # the first event, which shows that there is one at all, comes
            server.log += [("padding", "0")] * (BUFFERED - 1)
        options = options_of(server)._replace(limits=QUICK._replace(event_seconds=0.8))
        findings = await judge(options, server.publish, only=caught_by | sound)
    assert {case.name for case, verdict, *_ in findings if verdict is Verdict.FAIL} == caught_by
    assert exit_code(findings) == 1


async def test_a_server_whose_events_are_not_seen_cannot_be_judged() -> None:
    async with StreamServer() as server:
        options = options_of(server)._replace(limits=QUICK._replace(event_seconds=0.05))
        with pytest.raises(ConformanceError, match="no case can be run: within"):
            await judge(options, foreign)


async def test_nobody_who_listens_is_said_in_one_line() -> None:
    with pytest.raises(ConformanceError, match=r"cannot connect to 127\.0\.0\.1:1"):
        await judge(Options("http://127.0.0.1:1/", limits=QUICK), foreign)


async def test_a_case_that_there_is_not_is_said() -> None:
    with pytest.raises(ConformanceError, match="there is no case tides"):
        await judge(Options("http://127.0.0.1:1/"), foreign, only={"tides"})
