"""The JavaScript client alone: its parser, its types, and its reaction to refusals."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
from pathlib import Path
from typing import Any

from tests.eventually import eventually
from tests.javascript.node import CLIENT, lay_out, node
from tests.javascript.packages import packages
from tests.javascript.site import Answer, serving
from tests.sse import EventStreamParser

STREAMS = [
    b"\xef\xbb\xbfid: 1\ndata: after a BOM\n\n",
    b"data: one\rdata: two\r\rdata: three\r\n\r\ndata\n\n",
    b"event: a\nid: 7\n\nevent: b\ndata:x\ndata: y\ndata:  z\n\n",
    b": comment\nid: 8\ndata: x\n\nid: 9\0\ndata: keeps the 8\n\nid\ndata: forgets it\n\n",
    b"retry: 20\nretry: 3s\nretry: -1\ndata:\n\nunknown: x\n\ndata: \xe2\x82\xac\xff\n\n",
    b"data: never ended\n",
]
PIECES = [b"data: x", b"data", b":", b"id: 5", b"id:\0", b"event: e", b"retry: 7", b"\r", b"\n"]

OPTIONS = [
    *("--checkJs", "--strict", "--noEmit", "--skipLibCheck", "--target", "es2022"),
    *("--module", "esnext", "--moduleResolution", "bundler", "--lib", "es2022,dom,dom.iterable"),
]

USE = """
import { EventStream, type Gap } from "./client";
const stream = new EventStream("/api/v1/events", { token: async () => "x", share: "alice" });
stream.ongap = ({ data }) => { const gap: Gap = JSON.parse(data); gap.reason satisfies string; };
stream.addEventListener("error", ({ status, wait }) => status + wait);
stream.addEventListener("import.completed", ({ data, lastEventId }) => data + lastEventId);
// @ts-expect-error a token is text
new EventStream("/", { token: () => 7 });
"""

QUERY = """
import { EventStream } from "./client.mjs";
const options = { categories: ["ai", "import"], types: ["ai.*", "a.b"] };
const stream = new EventStream("http://127.0.0.1:9/events?x=1", options);
console.log(stream.url);
stream.close();
"""


async def output(*command: str, cwd: Path, text: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        out, _ = await process.communicate(text.encode())
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, out.decode()
    return out.decode()


def cuts(stream: bytes) -> list[list[bytes]]:
    """Return the stream whole, in single bytes, and cut at each place."""
    places = range(1, len(stream))
    halves = [[stream[:place], stream[place:]] for place in places]
    return [[stream], [bytes([byte]) for byte in stream], *halves]


async def test_parser_follows_the_standard_for_any_chunking(tmp_path: Path) -> None:
    draw = random.Random(7)
    mixed = [b"".join(draw.choices(PIECES, k=30)) for _ in range(200)]
    cases = [
        *(pieces for stream in STREAMS for pieces in cuts(stream)),
        *([each] for each in mixed),
    ]
    await lay_out(tmp_path / "program")
    lines = [json.dumps([base64.b64encode(piece).decode() for piece in case]) for case in cases]
    said = await output("node", "parse.mjs", cwd=tmp_path / "program", text="\n".join(lines))
    for case, line in zip(cases, said.splitlines(), strict=True):
        parser = EventStreamParser()
        expected = [
            [each.type, each.data, each.last_event_id] for each in parser.feed(b"".join(case))
        ]
        found = json.loads(line)
        assert found["retry"] == parser.retry, case
        blocks = [[each["type"], each["data"], each["id"]] for each in found["blocks"]]
        assert [block for block in blocks if block[1] is not None] == expected, case
        ids = [block[2] for block in blocks]
        assert (ids or [""])[-1] == parser.last_event_id, case


async def test_categories_and_types_are_in_the_query(tmp_path: Path) -> None:
    (tmp_path / "client.mjs").write_text(CLIENT.read_text())
    (tmp_path / "query.mjs").write_text(QUERY)
    assert await output("node", "query.mjs", cwd=tmp_path) == (
        "http://127.0.0.1:9/events?x=1&categories=ai%2Cimport&types=ai.*%2Ca.b\n"
    )


async def test_its_types_are_true(tmp_path: Path) -> None:
    compiler = await packages() / "typescript" / "bin" / "tsc"
    (tmp_path / "use.ts").write_text(USE)
    (tmp_path / "client.d.ts").write_text(CLIENT.with_name("client.d.ts").read_text())
    (tmp_path / "script.js").write_text(CLIENT.read_text())
    await output("node", str(compiler), *OPTIONS, "--allowJs", "script.js", "use.ts", cwd=tmp_path)


async def test_types_declare_every_option_of_the_script() -> None:
    script, types = CLIENT.read_text(), CLIENT.with_name("client.d.ts").read_text()
    for option in re.findall(r"options\.(\w+)", script):
        assert f"  {option}?:" in types


class Case:
    """What a server answers, and how the client takes it."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)

    async def run(self, folder: Path, until: int) -> tuple[list[Any], list[Any]]:
        """Wait for that many errors and openings; return the requests and the observations."""
        async with serving() as site:
            site.answers = self.answers
            tokens = {"first": "old", "second": "new", "until": 0}
            settings = {"url": f"{site.url}/events", "types": [], "tokens": tokens}
            async with node("gateway", settings, folder) as client:
                await eventually(
                    "the client has seen what was answered", lambda: len(client.lines) >= until
                )
                return site.requests, client.lines


ENDED = Answer(text="retry: 10\n\n", ends=True)


async def test_refusals_that_no_second_try_can_change_are_final(tmp_path: Path) -> None:
    html = Answer(headers={"Content-Type": "text/html"})
    for number, answer in enumerate([Answer(400), Answer(403), Answer(404), Answer(405), html]):
        requests, seen = await Case(answer).run(tmp_path / str(number), 1)
        assert len(requests) == 1
        assert seen[0]["error"]["final"]


async def test_a_token_that_is_refused_is_renewed_once(tmp_path: Path) -> None:
    requests, seen = await Case(Answer(401), Answer()).run(tmp_path / "good", 2)
    assert len(requests) == 2
    assert (seen[0]["error"]["status"], seen[0]["error"]["final"]) == (401, False)
    assert seen[1]["open"]

    requests, seen = await Case(Answer(401)).run(tmp_path / "bad", 2)
    assert len(requests) == 2
    assert seen[1]["error"]["final"]


async def test_it_follows_to_its_shard_with_its_token(tmp_path: Path) -> None:
    elsewhere = Answer(307, headers={"Location": "/events?shard=3"})
    requests, seen = await Case(elsewhere, Answer()).run(tmp_path / "moved", 1)
    assert seen[0]["open"]
    assert [headers["authorization"] for _, headers in requests] == ["Bearer new"] * 2


async def test_client_reconnects_after_retry_and_backs_off_after_failures(
    tmp_path: Path,
) -> None:
    busy = Answer(503, headers={"Retry-After": "1"})
    requests, seen = await Case(ENDED, busy, Answer()).run(tmp_path / "busy", 4)
    (_, (second, _), (third, headers)) = requests
    assert third - second >= 1
    assert [each.get("open") for each in seen] == [True, None, None, True]
    assert headers["authorization"] == "Bearer new"

    requests, seen = await Case(ENDED, *[Answer(500)] * 3, Answer()).run(tmp_path / "broken", 6)
    waits = [each["error"]["wait"] for each in seen if each.get("error")]
    for number, wait in enumerate(waits):
        assert 0 <= wait <= 200 * 2 ** (number + 1)
    assert len(set(waits)) == 4
