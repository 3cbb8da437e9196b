"""The suite against a server that is right, and against servers that are each wrong in one way."""

from __future__ import annotations

import sys

from gateway.conformance.cases import CASES
from gateway.conformance.options import Limits, Options
from gateway.conformance.run import judge
from gateway.conformance.verdict import Verdict, exit_code
from tests.conformance.server import TOKEN, StreamServer

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
