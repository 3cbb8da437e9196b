from __future__ import annotations

import json
import sys

import pytest

from tests.commands.command import gateway
from tests.conformance.server import TOKEN, Fault, StreamServer

POST = """\
import os, sys, urllib.parse, urllib.request
query = urllib.parse.urlencode({"type": os.environ["EVENT_TYPE"]})
urllib.request.urlopen(sys.argv[1] + "?" + query, sys.stdin.buffer.read())
"""


@pytest.mark.parametrize(
    ("fault", "verdict", "code"), [(None, "pass", 0), (Fault.HAS_NO_IDS, "fail", 1)]
)
async def test_table_lists_the_observations_and_the_exit_code_the_verdict(
    fault: Fault | None, verdict: str, code: int
) -> None:
    async with StreamServer(fault) as server:
        finished = await gateway(
            *("conformance", server.url, "--token", TOKEN, "--type", "my.type"),
            *("--publish", f"{sys.executable} -c '{POST}' {server.publish_url}"),
            *("--only", "event-id", "--only", "live", "--only", "isolation", "--parallel", "2"),
        )
    lines = [line.split(maxsplit=2) for line in finished.out.splitlines()]
    assert [line[:2] for line in lines[1:4]] == [
        ["live", "pass"],
        ["event-id", verdict],
        ["isolation", "not"],
    ]
    assert "needs --publish-noise" in finished.out
    assert finished.out.splitlines()[-1].startswith("3 cases")
    assert finished.code == code


async def test_json_has_the_text_and_the_source_of_each_case() -> None:
    async with StreamServer() as server:
        finished = await gateway(
            *("conformance", server.url, "--token", TOKEN, "--only", "media-type", "--json"),
            *("--publish", f"{sys.executable} -c '{POST}' {server.publish_url}"),
        )
    (case,) = json.loads(finished.out)["cases"]
    assert case.pop("seconds") >= 0
    assert case == {
        "case": "media-type",
        "says": "A stream is `200` with `text/event-stream`; a charset, if given, is UTF-8.",
        "source": "HTML §9.2.3",
        "verdict": "pass",
        "seen": "Content-Type: text/event-stream",
    }


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ([], 2, "--publish CMD"),
        (["--publish", "true", "--header", "nonsense"], 2, "write a header as NAME: VALUE"),
        (["--publish", "true", "--only", "tides"], 2, "--only: unknown case tides"),
        (["--publish", "true"], 1, "error: no case can be run: cannot connect to 127.0.0.1:1"),
    ],
)
async def test_failure_to_run_is_reported_without_a_traceback(
    words: list[str], code: int, text: str
) -> None:
    finished = await gateway("conformance", "http://127.0.0.1:1/", *words)
    assert finished.code == code
    assert text in finished.err
    assert "Traceback" not in finished.err


async def test_a_command_that_publishes_nothing_stops_the_run() -> None:
    async with StreamServer() as server:
        finished = await gateway(
            *("conformance", server.url, "--token", TOKEN, "--publish", "exit 3"),
        )
    assert (finished.code, finished.out) == (1, "")
    assert finished.err == "error: exit code 3 of exit 3: no output\n"
