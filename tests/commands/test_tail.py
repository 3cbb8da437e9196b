from __future__ import annotations

import json
import signal
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.child import Child
from tests.commands.command import gateway, settings_of
from tests.conftest import Broker, MakeTopics, StartWorker
from tests.eventually import eventually
from tests.tokens import SECRET, mint

KEY = {"jwt_secret": SECRET}


async def publish(settings: dict[str, str], *words: str) -> None:
    finished = await gateway("publish", *words, settings=settings)
    assert finished.code == 0, finished.err


async def test_history_is_printed_as_json_lines_with_resumable_ids(
    broker: Broker, topics: MakeTopics, start_worker: StartWorker
) -> None:
    made = await topics()
    worker = await start_worker(made)
    settings = settings_of(broker, made)
    begin = time.time()
    for number in range(3):
        await publish(settings, "alice", "import.progress", f'{{"n":  {number}.0}}')
    since = str(int(begin * 1000) - 1000)
    tail = ("tail", "alice", "--url", worker.url, "--json")
    finished = await gateway(*tail, "--since", since, "--count", "3", settings=KEY)
    assert finished.code == 0, finished.err
    events = [json.loads(line) for line in finished.out.splitlines()]
    assert [event["event"] for event in events] == ["import.progress"] * 3
    assert [event["data"] for event in events] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert '"data":{"n":2.0}' in finished.out
    times = [datetime.fromisoformat(event["time"]).timestamp() for event in events[1:]]
    assert begin - 1 <= times[0] < times[1] <= time.time()

    resumed = await gateway(*tail, "--id", events[1]["id"], "--count", "1", settings=KEY)
    assert [json.loads(line)["data"] for line in resumed.out.splitlines()] == [{"n": 2}]
    assert "resumed from the last id" in resumed.err


async def test_terminal_output_has_columns_and_gaps_until_ctrl_c(
    broker: Broker, topics: MakeTopics, start_worker: StartWorker, tmp_path: Path
) -> None:
    made = await topics()
    worker = await start_worker(made)
    words = ("--url", worker.events_url, "--token", mint("alice"), "--id", "no id")
    tail = Child([sys.executable, "-m", "gateway", "tail", *words], tmp_path / "output")
    try:
        await eventually("a gap is shown", lambda: "gap: the id could not be read" in tail.log())
        await publish(settings_of(broker, made), "alice", "import.completed", '{"rows": 7}')
        await eventually("the event is shown", lambda: '{"rows": 7}\n' in tail.log())
        tail.signal(signal.SIGINT)
        assert tail.wait() == 130
    finally:
        tail.end()
    _, *columns = tail.log().splitlines()[-1].split(maxsplit=3)
    assert columns == ["import", "import.completed", '{"rows": 7}']


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--categories", "nope"], "400 Bad Request: unknown category nope"),
        (["--types", "ai.response.*,import*"], "400 Bad Request: types: type import* has a *"),
        (["--since", "soon"], "400 Bad Request: since"),
        (["--token", "abc"], "401 Unauthorized"),
    ],
)
async def test_refusal_of_the_gateway_is_printed_verbatim(
    topics: MakeTopics, start_worker: StartWorker, words: list[str], text: str
) -> None:
    worker = await start_worker(await topics())
    finished = await gateway("tail", "alice", "--url", worker.url, *words, settings=KEY)
    assert finished.code == 1
    assert finished.err.startswith(f"error: {text}")
