"""The JavaScript client against servers, storages and callbacks that are broken or hostile."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import gateway
from tests.javascript.node import CLIENT, lay_out
from tests.javascript.site import Answer, serving
from tests.javascript.test_client import output

EVENTS = "retry: 10\n\nid: 1\nevent: x\ndata: one\n\nid: 2\nevent: x\ndata: two\n\n"

RUN = """
import { EventStream, Parser, VERSION } from "./client.mjs";
const url = process.argv[2];
const said = { events: [], errors: [], open: 0 };
const follow = (options) => {
  const stream = new EventStream(url, options);
  stream.onopen = () => (said.open += 1);
  stream.onerror = ({ status, detail, wait }) => said.errors.push({ status, detail, wait });
  stream.addEventListener("x", (event) =>
    said.events.push([event.data, event.lastEventId, stream.lastEventId]));
  return stream;
};
const rest = (ms) => new Promise((done) => setTimeout(done, ms));
const until = async (condition) => { while (!condition()) await rest(5); };
%s
console.log(JSON.stringify(said));
process.exit();
"""


SEEN = "await until(() => said.errors.length);"


async def run(folder: Path, program: str, *answers: Answer) -> tuple[dict[str, Any], int]:
    """Run a program with `follow`, `rest`, `until`; return its output and its requests."""
    await lay_out(folder / "program")
    (folder / "program" / "hostile.mjs").write_text(RUN % program)
    async with serving() as site:
        site.answers = list(answers) or [Answer(text=EVENTS)]
        text = await output("node", "hostile.mjs", f"{site.url}/events", cwd=folder / "program")
        return json.loads(text), len(site.requests)


STORAGES = {
    "throws": "{ getItem() { throw new Error('no'); }, setItem() { throw new Error('full'); } }",
    "is forbidden": "() => { throw new Error('SecurityError'); }",
    "has text": "{ getItem: () => 'spoilt {', setItem() {} }",
    "has null": "{ getItem: () => 'null', setItem() {} }",
    "has numbers": '{ getItem: () => \'{"id":7,"group":1,"n":"x"}\', setItem() {} }',
    "has line ends": "{ getItem: () => JSON.stringify({id: 'a\\r\\nb'}), setItem() {} }",
}


@pytest.mark.parametrize("storage", STORAGES.values(), ids=STORAGES)
async def test_a_storage_that_fails_costs_no_event(tmp_path: Path, storage: str) -> None:
    program = f"follow({{ storage: {storage} }}); await until(() => said.events.length >= 2);"
    said, _ = await run(tmp_path, program)
    assert said["events"] == [["one", "1", ""], ["two", "2", "1"]]
    assert said["errors"] == []


async def test_an_id_is_kept_after_its_event_was_dispatched(tmp_path: Path) -> None:
    said, _ = await run(
        tmp_path,
        """
        const kept = [];
        const setItem = (_, text) => kept.push(JSON.parse(text).id);
        const storage = { getItem: () => null, setItem };
        const stream = follow({ storage });
        stream.addEventListener("x", () => said.events.push([...kept]));
        await until(() => kept.length >= 3);
        said.last = stream.lastEventId;
        """,
    )
    assert said["events"][1] == [""]
    assert said["events"][3] == ["", "1"]
    assert said["last"] == "2"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(503, headers={"Retry-After": "3000000"}),
        Answer(429, headers={"Retry-After": "9" * 400}),
        Answer(503, headers={"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}),
        Answer(text="retry: 2147483648\n\nevent: stream.close\ndata: {}\n\n", ends=True),
        Answer(text=f"retry: {'9' * 400}\n\nevent: stream.close\ndata: {{}}\n\n", ends=True),
    ],
)
async def test_a_long_wait_is_waited_for(tmp_path: Path, answer: Answer) -> None:
    # The server's wait is not random; the client's own is the longest possible.
    program = f"Math.random = () => 1; follow(); {SEEN} await rest(500);"
    said, requests = await run(tmp_path, program, answer)
    assert (requests, len(said["errors"])) == (1, 1)
    assert said["errors"][0]["wait"] > 25_000


async def test_wait_longer_than_the_maximum_timer_is_split(tmp_path: Path) -> None:
    said, requests = await run(
        tmp_path,
        """
        const real = setTimeout;
        const armed = [];
        globalThis.setTimeout = (act, ms) => {
          armed.push(ms);
          return real(act, ms > 9e4 ? 20 : ms);
        };
        follow();
        const long = () => armed.filter((ms) => ms > 9e4);
        await until(() => long().length > 2);
        said.armed = long();
        """,
        Answer(503, headers={"Retry-After": "3000000"}),
    )
    assert requests == 1
    assert len(said["armed"]) > 2
    assert max(said["armed"]) == 2**31 - 1


REFUSALS = {
    "no body": Answer(204),
    "another type": Answer(headers={"Content-Type": "text/html"}),
    "a type that begins like it": Answer(headers={"Content-Type": "text/event-stream-ish"}),
}


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
async def test_response_other_than_a_stream_is_final(tmp_path: Path, answer: Answer) -> None:
    said, requests = await run(
        tmp_path, f"const s = follow(); {SEEN} await rest(300); said.state = s.readyState;", answer
    )
    assert (requests, said["state"], said["open"]) == (1, 2, 0)


async def test_the_content_type_is_compared_without_case(tmp_path: Path) -> None:
    answer = Answer(text=EVENTS, headers={"Content-Type": "Text/Event-Stream ; charset=utf-8"})
    said, _ = await run(tmp_path, "follow(); await until(() => said.events.length);", answer)
    assert said["open"] == 1


async def test_token_callbacks_that_fail_are_tried_again(tmp_path: Path) -> None:
    said, requests = await run(
        tmp_path,
        r"""
        const ways = [
          () => { throw new Error("no token"); },
          () => Promise.reject(new Error("offline")),
          () => new Promise(() => {}),
          () => "secret\nvalue",
          () => "good",
        ];
        follow({ token: () => ways.shift()(), silence: 3000 });
        await until(() => said.events.length >= 2);
        """,
    )
    assert requests == 1
    details = [error["detail"] for error in said["errors"]]
    assert len(details) == 4
    assert details[2] == "the server does not answer"
    assert not any("secret" in detail for detail in details)


async def test_a_listener_that_throws_costs_no_event(tmp_path: Path) -> None:
    said, _ = await run(
        tmp_path,
        """
        process.on("uncaughtException", () => (said.thrown = (said.thrown ?? 0) + 1));
        const stream = follow();
        for (const type of ["open", "x"]) {
          stream.addEventListener(type, () => { throw new Error("a fault of the page"); });
        }
        await until(() => said.events.length >= 2 && said.thrown >= 3);
        """,
    )
    assert [event[0] for event in said["events"]] == ["one", "two"]


async def test_an_id_that_no_header_takes_as_it_is_comes_back_as_utf_8(tmp_path: Path) -> None:
    text = "retry: 10\nid: é€\nevent: x\ndata: 1\n\n"
    await lay_out(tmp_path / "program")
    program = "follow(); await until(() => said.events.length >= 2);"
    (tmp_path / "program" / "hostile.mjs").write_text(RUN % program)
    async with serving() as site:
        site.answers = [Answer(text=text, ends=True)]
        await output("node", "hostile.mjs", f"{site.url}/events", cwd=tmp_path / "program")
        sent = site.requests[1][1]["last-event-id"]
    assert sent.encode("utf-8", "surrogateescape").decode() == "é€"


async def test_a_line_in_many_pieces_costs_its_length_once_and_has_a_limit(tmp_path: Path) -> None:
    said, _ = await run(
        tmp_path,
        """
        const parser = new Parser();
        const piece = "x".repeat(1024);
        parser.feed("data: ");
        for (let i = 0; i < 8192; i++) parser.feed(piece);
        said.length = parser.feed("\\n\\n")[0].data.length;
        try { for (;;) parser.feed(piece); } catch (error) { said.limit = error.name; }
        """,
    )
    assert said["length"] == 8192 * 1024
    assert said["limit"] == "RangeError"


async def test_endless_event_raises_an_error_with_the_limit(tmp_path: Path) -> None:
    answer = Answer(text="data: " + "x" * (17 << 20))
    said, _ = await run(tmp_path, "follow(); await until(() => said.errors.length);", answer)
    assert "an event has more than" in said["errors"][0]["detail"]


async def test_planned_token_renewal_is_not_an_error(tmp_path: Path) -> None:
    goodbye = 'event: stream.close\ndata: {"reason":"token_expired"}\n\n'
    said, requests = await run(
        tmp_path,
        """
        const lived = Date.now;
        let number = 0;
        const stream = follow({ token: () => `token-${++number}` });
        stream.onclose = () => { Date.now = () => lived() + 5000; };
        await until(() => said.open >= 2);
        said.tokens = number;
        """,
        Answer(text=f"retry: 10\n\n{goodbye}", ends=True),
        Answer(text=EVENTS),
    )
    assert (requests, said["tokens"]) == (2, 2)
    assert said["errors"] == []


async def test_back_online_it_connects_at_once_where_the_server_has_set_no_wait(
    tmp_path: Path,
) -> None:
    program = """
        const listeners = {};
        globalThis.addEventListener = (type, act) => { (listeners[type] ??= []).push(act); };
        const fetched = globalThis.fetch;
        let calls = 0;
        globalThis.fetch = async (...all) => {
          if (++calls > %d) return fetched(...all);
          throw new TypeError("offline");
        };
        const stream = follow({ lastEventId: "0" });
        Math.random = () => 1;
        await until(() => said.errors.length >= 1);
        const before = Date.now();
        for (const act of listeners.online) act();
        await until(() => said.open || Date.now() - before > %d);
    """
    said, _ = await run(tmp_path / "lost", program % (1, 2900))  # its own wait is at least 3 s
    assert said["open"] == 1
    said, requests = await run(
        tmp_path / "busy", program % (0, 1000), Answer(503, headers={"Retry-After": "5"})
    )
    assert (said["open"], requests) == (0, 1)


LOCKS = {
    "refused": "{ request: () => Promise.reject(new DOMException('no', 'SecurityError')) }",
    "throwing": "{ request() { throw new Error('no'); } }",
    "unreadable": """{
        request: (name, options, act) => Promise.resolve().then(act),
        query: () => Promise.reject(new Error('no')),
    }""",
}


@pytest.mark.parametrize("locks", LOCKS.values(), ids=LOCKS)
@pytest.mark.parametrize("channel", ["BroadcastChannel", "class { constructor() { throw 1; } }"])
async def test_a_page_that_may_not_share_reads_alone(
    tmp_path: Path, locks: str, channel: str
) -> None:
    program = f"""
        const define = (name, value) => Object.defineProperty(globalThis, name, {{ value }});
        define("document", {{}});
        define("navigator", {{ locks: {locks} }});
        define("BroadcastChannel", {channel});
        const stream = follow({{ share: "alice", lastEventId: "0" }});
        await until(() => said.events.length >= 2);
        stream.close();
    """
    said, requests = await run(tmp_path, program)
    assert (requests, said["errors"]) == (1, [])


async def test_every_export_has_a_type_and_the_version_is_the_packages(tmp_path: Path) -> None:
    said, _ = await run(
        tmp_path,
        'said.names = Object.keys(await import("./client.mjs")); said.version = VERSION;',
    )
    types = CLIENT.with_name("client.d.ts").read_text()
    typed = re.findall(r"^export (?:declare )?(?:class|const|function) (\w+)", types, re.MULTILINE)
    assert sorted(said["names"]) == sorted(typed)
    assert said["version"] == gateway.__version__
