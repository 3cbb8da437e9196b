from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from gateway.conformance.publisher import Commands
from gateway.errors import ConformanceError

EVIL = "\"; touch pwned; $(touch pwned) `touch pwned` '\\ {type}\n* ~"


async def test_event_data_is_never_executed(tmp_path: Path) -> None:
    folder = shlex.quote(str(tmp_path))
    command = f'cd {folder}; cat >in; printf %s "$EVENT_DATA" >data; printf %s "$EVENT_TYPE" >type'
    async with Commands(command, None, "alice") as publish:
        await publish(EVIL, EVIL)
    assert sorted(os.listdir(tmp_path)) == ["data", "in", "type"]
    for name in ("in", "data", "type"):
        assert (tmp_path / name).read_text() == EVIL


async def test_large_data_is_passed_on_standard_input(tmp_path: Path) -> None:
    output = tmp_path / "out"
    data = "x" * 300_000
    async with Commands(f'cat >{output}; test -z "$EVENT_DATA"', None, None) as publish:
        await publish("t", data)
    assert output.read_text() == data


async def test_json_lines_go_to_one_command_in_order_and_other_data_to_the_other(
    tmp_path: Path,
) -> None:
    lines, single = tmp_path / "lines", tmp_path / "single"
    async with Commands(f"cat >{single}", f"cat >{lines}", "alice") as publish:
        await publish("t", '{"n":  1.0}')
        await publish("t", '{"n":\n2}')
        await publish("t", '{"n": 3}')
    first, second = lines.read_text().splitlines()
    assert '"data": {"n":  1.0}' in first
    assert json.loads(second) == {"user_id": "alice", "event_type": "t", "data": {"n": 3}}
    assert single.read_text() == '{"n":\n2}'


async def test_a_failed_command_is_reported_with_its_last_line() -> None:
    async with Commands(
        "echo first >&2; echo connection refused >&2; exit 7", None, None
    ) as publish:
        with pytest.raises(ConformanceError, match=r"exit code 7 of .*: connection refused$"):
            await publish("t", "{}")


async def test_data_that_does_not_fit_into_a_line_needs_the_other_command() -> None:
    async with Commands(None, "cat", None) as publish:
        with pytest.raises(ConformanceError, match="give --publish too"):
            await publish("t", "no json")
